"""Columns of the prediction log, and prediction ids.

A prediction id is a UUIDv7: its first 48 bits are the milliseconds since 1970, so ids sort by the time at which they
were given, in text as in bytes. Times are microseconds in UTC. ``integer`` features are nullable 64-bit integers.
"""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from trimtab.errors import PredictionLogError, UnknownPredictionError

ID = pa.binary(16)
TIME = pa.timestamp("us", tz="UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

BASE_FIELDS = (
    pa.field("prediction_id", ID, nullable=False),
    pa.field("request_id", pa.string()),
    pa.field("version", pa.string(), nullable=False),
    pa.field("release_id", pa.string(), nullable=False),
    pa.field("event_time", TIME, nullable=False),
    pa.field("logged_at", TIME, nullable=False),
    pa.field("caller", pa.string()),
)
"""Columns that stand before the features."""

SCORE_FIELD = pa.field("score", pa.float64(), nullable=False)
"""The column that stands after them: P(1) of a binary model, the value of a regression."""

FEATURE_TYPES: Mapping[str, pa.DataType] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "category": pa.string(),
    "boolean": pa.bool_(),
}
"""The Arrow type of each type of feature."""


def log_schema(features: Iterable[tuple[str, str]]) -> pa.Schema:
    """The columns of a batch, given the (name, type) of each feature."""
    return pa.schema([*BASE_FIELDS, *(pa.field(name, FEATURE_TYPES[type_]) for name, type_ in features), SCORE_FIELD])


def check_schema(schema: pa.Schema) -> None:
    """Refuse a batch without the log's own columns.

    Raises
    ------
    PredictionLogError
        Naming the column, what it is and what it must be.
    """
    for wanted in (*BASE_FIELDS, SCORE_FIELD):
        index = schema.get_field_index(wanted.name)
        found = schema.field(index).type if index >= 0 else "missing"
        if found != wanted.type:
            raise PredictionLogError(f"column {wanted.name!r} of the batch is {found}; it must be {wanted.type}")


def merge_schemas(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """One schema for rows of several feature sets: columns in order of first appearance, ``score`` last.

    A column that changed its type is read as float64 where all its types are numbers, else as text.
    """
    types: dict[str, pa.DataType] = {field.name: field.type for field in BASE_FIELDS}
    for schema in schemas:
        for field in schema:
            types[field.name] = _common_type(types.get(field.name, field.type), field.type)
    types[SCORE_FIELD.name] = types.pop(SCORE_FIELD.name, SCORE_FIELD.type)
    return pa.schema([pa.field(name, type_) for name, type_ in types.items()])


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table's rows under a merged schema: columns that it lacks are null."""
    if table.schema.equals(schema):
        return table
    present = set(table.column_names)
    columns = [
        table[field.name].cast(field.type, safe=False)
        if field.name in present
        else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other:
        return one
    numbers = (pa.int64(), pa.float64())
    return pa.float64() if one in numbers and other in numbers else pa.string()


class _Clock:
    """Gives UUIDv7s that never go back within a process, also when the machine's clock does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._random = random.Random(os.urandom(32))  # noqa: S311 (ids must be unique, not secret)
        os.register_at_fork(after_in_child=self._reseed)

    def _reseed(self) -> None:
        self._lock = threading.Lock()
        self._random.seed(os.urandom(32))

    def take(self, n: int) -> list[bytes]:
        with self._lock:
            draw = self._random.getrandbits
            # 48 bits of milliseconds above 74 random ones; each id adds a random step to the one before.
            value = max(time.time_ns() // 1_000_000 << 74 | draw(73), self._last + 1 + draw(32))
            ids = []
            for _ in range(n):
                ids.append(_with_version(value))
                value += 1 + draw(32)
            self._last = value
            return ids


def _with_version(value: int) -> bytes:
    """Spread 122 bits (48 of time, 74 of the rest) around the version 7 and the variant (RFC 9562, 5.7)."""
    milliseconds, high, low = value >> 74, value >> 62 & 0xFFF, value & 0x3FFF_FFFF_FFFF_FFFF
    return (milliseconds << 80 | 0x7000 << 64 | high << 64 | 0b10 << 62 | low).to_bytes(16)


_clock = _Clock()


def new_prediction_ids(n: int) -> list[bytes]:
    """``n`` new prediction ids as 16 bytes each, ascending, above all that this process gave before."""
    return _clock.take(n)


def id_text(prediction_id: bytes) -> str:
    """The usual text form of an id."""
    digits = prediction_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def id_bytes(text: str) -> bytes:
    """The 16 bytes of an id.

    Raises
    ------
    UnknownPredictionError
        If the text is no UUID: such a prediction cannot be on record.
    """
    try:
        return uuid.UUID(text).bytes
    except (ValueError, AttributeError, TypeError) as error:
        raise UnknownPredictionError(
            f"no prediction {text!r} is on record; an id is a UUID such as {id_text(bytes(16))}"
        ) from error


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of a timezone-aware time.

    Raises
    ------
    ValueError
        If the time has no timezone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"time {moment.isoformat()} has no timezone; it must have one, such as +00:00")
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """The time in UTC of microseconds since 1970."""
    return _EPOCH + value * _MICROSECOND
