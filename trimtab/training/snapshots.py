"""Snapshots: a model's rows as its spec promises them, in one Parquet file that is known by its digest."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.answers import class_name
from trimtab.errors import SourceError, TrimtabError
from trimtab.models import Model
from trimtab.records import Snapshot
from trimtab.spec import ModelSpec, Target

if TYPE_CHECKING:
    import pandas as pd

EVENT_TIME = pa.timestamp("us", tz="UTC")


def load_rows(model: Model, start: datetime, end: datetime, as_of: datetime) -> object:
    """What a model's source returns for [start, end), as it was known at ``as_of``: whatever that is.

    Raises
    ------
    SourceError
        If it fails; its own error is the cause.
    """
    load = model.function(model.spec.source)
    try:
        return load(start, end, as_of)
    except TrimtabError:
        raise
    except Exception as error:
        hint = ""
        if "datetime" in str(error) and "compar" in str(error):
            hint = "; start, end and as_of are in UTC: make the times of the data so, with dt.tz_localize('UTC')"
        raise SourceError(
            f"source {model.spec.source!r} of {model.spec.name} failed on [{start}, {end}): "
            f"{type(error).__name__}: {error}{hint}"
        ) from error


def conform(spec: ModelSpec, frame: Any, start: datetime, end: datetime, minimum_rows: int) -> pa.Table:
    """Check what a source returned, and give it the one form that its rows have.

    Columns are the event time, the key if the spec names one, the features and the target; others are left out. Rows
    are sorted, so that the same rows give the same file however the source ordered them.

    Parameters
    ----------
    spec
        What the source promises.
    frame
        What it returned: a pandas DataFrame.
    start, end
        The span that was asked for; ``end`` is exclusive.
    minimum_rows
        How many rows are needed.

    Raises
    ------
    SourceError
        If it is something else than promised; the message names column and value, and what would be right.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise SourceError(f"source {spec.source!r} returned {type(frame).__name__}; it must be a pandas DataFrame")
    if missing := [name for name in spec.columns if name not in frame.columns]:
        raise SourceError(
            f"source {spec.source!r} returned no columns {missing}; it returned {list(map(str, frame.columns))}"
        )
    if len(frame) < minimum_rows:
        raise SourceError(
            f"source {spec.source!r} returned {len(frame)} rows for [{start}, {end}); "
            f"at least {minimum_rows} are needed"
        )
    _check_span(spec, frame[spec.event_time], start, end)
    table = pa.table(typed_columns(spec, frame))
    return table.sort_by([(name, "ascending") for name in table.column_names])


def typed_columns(spec: ModelSpec, frame: pd.DataFrame) -> dict[str, pa.Array]:
    """The columns of a frame in the types that its rows have in a snapshot, in the frame's order.

    Raises
    ------
    SourceError
        As in :func:`conform`.
    """
    columns = {spec.event_time: _event_time(spec, frame[spec.event_time])}
    if spec.key:
        columns[spec.key] = pa.array(frame[spec.key].astype(str), type=pa.string())
    for feature in spec.features:
        columns[feature.name] = _CONVERT[feature.type](feature.name, frame[feature.name])
    columns[spec.target.name] = _target(spec, frame[spec.target.name])
    return columns


def write_table(table: pa.Table, folder: Path) -> tuple[str, Path]:
    """Write a table under its digest, atomically; returns the digest (SHA-256 of the file, hex) and the path."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        pq.write_table(table.replace_schema_metadata(None), temporary, compression="zstd", row_group_size=65_536)
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        path = folder / f"{digest}.parquet"
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest, path


def read_snapshot(snapshot: Snapshot) -> pa.Table:
    """The rows of a snapshot.

    Raises
    ------
    SourceError
        If the file is missing, or is not the one that was recorded.
    """
    path = Path(snapshot.uri)
    if not path.is_file():
        raise SourceError(f"the file of {snapshot.id} is missing: {path}")
    content = path.read_bytes()
    if (digest := hashlib.sha256(content).hexdigest()) != snapshot.digest:
        raise SourceError(f"{path} was altered: its digest is {digest}; on record is {snapshot.digest}")
    return pq.read_table(pa.BufferReader(content))


def feature_columns(spec: ModelSpec, table: pa.Table) -> dict[str, list[Any]]:
    """The features of a table as lists by name, as :meth:`trimtab.scoring.model.Artifact.encode` takes them."""
    return {name: table.column(name).to_pylist() for name in spec.feature_names}


def _event_time(spec: ModelSpec, values: pd.Series[Any]) -> pa.Array:
    if getattr(values.dtype, "tz", None) is None:
        raise SourceError(
            f"column {spec.event_time!r} has type {values.dtype}; "
            "it must be a timezone-aware time (UTC), such as 2024-03-01 08:30:00+00:00"
        )
    if bool(values.isna().any()):
        raise SourceError(
            f"column {spec.event_time!r} has {int(values.isna().sum())} rows without a time; each needs one"
        )
    # pandas makes nanoseconds of many a source; a snapshot has microseconds.
    return pa.array(values.dt.floor("us"), type=EVENT_TIME)


def _check_span(spec: ModelSpec, values: pd.Series[Any], start: datetime, end: datetime) -> None:
    if getattr(values.dtype, "tz", None) is None:
        # Refused with its type where it is converted: it cannot be compared.
        return
    outside = values[(values < start) | (values >= end)]
    if len(outside):
        raise SourceError(
            f"column {spec.event_time!r} holds {outside.iloc[0].isoformat()} ({len(outside)} such rows); "
            f"the source was asked for [{start.isoformat()}, {end.isoformat()}) only"
        )


def _number(name: str, values: pd.Series[Any]) -> pa.Array:
    numbers = _floats(name, values, "numbers")
    return pa.array(numbers, type=pa.float64(), mask=np.isnan(numbers))


def _integer(name: str, values: pd.Series[Any]) -> pa.Array:
    numbers = _floats(name, values, "whole numbers")
    missing = np.isnan(numbers)
    broken = ~missing & (numbers != np.floor(numbers))
    if broken.any():
        raise SourceError(f"column {name!r} holds {numbers[broken][0]}; it must hold whole numbers or null")
    return pa.array(np.where(missing, 0, numbers).astype(np.int64), mask=missing)


def _category(name: str, values: pd.Series[Any]) -> pa.Array:
    listed = [None if missing else value for value, missing in zip(values, values.isna(), strict=True)]
    wrong = next((value for value in listed if value is not None and not isinstance(value, str)), None)
    if wrong is not None:
        raise SourceError(f"column {name!r} holds {wrong!r} ({type(wrong).__name__}); it must hold strings or null")
    return pa.array(listed, type=pa.string())


def _boolean(name: str, values: pd.Series[Any]) -> pa.Array:
    listed = [None if missing else value for value, missing in zip(values, values.isna(), strict=True)]
    wrong = next((value for value in listed if value is not None and value not in (True, False)), None)
    if wrong is not None:
        raise SourceError(f"column {name!r} holds {wrong!r}; it must hold true, false or null")
    return pa.array([None if value is None else bool(value) for value in listed], type=pa.bool_())


def _target(spec: ModelSpec, values: pd.Series[Any]) -> pa.Array:
    name = spec.target.name
    if spec.target.classes:
        return _class(spec.target, values)
    numbers = _floats(name, values, "numbers")
    if np.isnan(numbers).any():
        raise SourceError(
            f"target {name!r} is missing in {int(np.isnan(numbers).sum())} of {len(numbers)} rows; "
            "the source must return only rows whose target was known"
        )
    if spec.target.kind == "regression":
        return pa.array(numbers, type=pa.float64())
    wrong = numbers[(numbers != 0) & (numbers != 1)]
    if len(wrong):
        raise SourceError(
            f"target {name!r} holds {wrong[0]:g} ({len(wrong)} such rows); a binary target is 0 or 1: other numbers "
            "are of kind regression, classes of kind multiclass"
        )
    return pa.array(numbers.astype(np.int64))


def _class(target: Target, values: pd.Series[Any]) -> pa.Array:
    names = [None if missing else class_name(value) for value, missing in zip(values, values.isna(), strict=True)]
    if count := names.count(None):
        raise SourceError(
            f"target {target.name!r} is missing in {count} of {len(names)} rows; "
            "the source must return only rows whose target was known"
        )
    if unknown := sorted(set(names) - set(target.classes)):  # type: ignore[type-var]
        rows = sum(name in unknown for name in names)
        raise SourceError(
            f"target {target.name!r} holds {unknown[0]!r} ({rows} such rows); it must be one of {list(target.classes)}"
        )
    return pa.array(names, type=pa.string())


def _floats(name: str, values: pd.Series[Any], expected: str) -> np.ndarray:
    try:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise SourceError(
            f"column {name!r} has type {values.dtype}; it must hold {expected} or null: {error}"
        ) from error
    if np.isinf(numbers).any():
        raise SourceError(
            f"column {name!r} holds {numbers[np.isinf(numbers)][0]}; it must hold finite {expected} or null"
        )
    return numbers


_CONVERT: dict[str, Callable[[str, Any], pa.Array]] = {
    "number": _number,
    "integer": _integer,
    "category": _category,
    "boolean": _boolean,
}
