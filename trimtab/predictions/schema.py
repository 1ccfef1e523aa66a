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
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from trimtab.answers import LABEL, SCORE, answer_names, classes_of, score_names
from trimtab.errors import PredictionLogError, UnknownPredictionError

ID = pa.binary(16)
ID_CHARACTERS = 36
TIME = pa.timestamp("us", tz="UTC")
_LOW = (1 << 62) - 1
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

SCORE_FIELD = pa.field(SCORE, pa.float64(), nullable=False)
"""The column that stands after them: P(1) of a binary model, the value of a regression."""


def answer_fields(classes: Sequence[str]) -> list[pa.Field]:
    """The columns that stand after the features: ``score``, or of several classes a score each and the ``label``."""
    if not classes:
        return [SCORE_FIELD]
    scores = [pa.field(name, pa.float64(), nullable=False) for name in score_names(classes)]
    return [*scores, pa.field(LABEL, pa.string(), nullable=False)]


FEATURE_TYPES: Mapping[str, pa.DataType] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "category": pa.string(),
    "boolean": pa.bool_(),
}
"""The Arrow type of each type of feature."""


def log_schema(features: Iterable[tuple[str, str]], classes: Sequence[str] = ()) -> pa.Schema:
    """The columns of a batch, given the (name, type) of each feature, and the classes of a model of several."""
    of_features = (pa.field(name, FEATURE_TYPES[type_]) for name, type_ in features)
    return pa.schema([*BASE_FIELDS, *of_features, *answer_fields(classes)])


def check_schema(schema: pa.Schema) -> None:
    """Refuse a batch without the log's own columns.

    Raises
    ------
    PredictionLogError
        Naming the column, what it is and what it must be.
    """
    for wanted in (*BASE_FIELDS, *answer_fields(classes_of(schema.names))):
        index = schema.get_field_index(wanted.name)
        found = schema.field(index).type if index >= 0 else "missing"
        if found != wanted.type:
            raise PredictionLogError(f"column {wanted.name!r} of the batch is {found}; it must be {wanted.type}")


def merge_schemas(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """One schema for rows of several feature sets: columns in order of first appearance, what was said
    last.

    A column that changed its type is read as float64 where all its types are numbers, else as text.
    """
    types: dict[str, pa.DataType] = {field.name: field.type for field in BASE_FIELDS}
    answers: dict[str, None] = {}
    for schema in schemas:
        answers |= dict.fromkeys(answer_names(classes_of(schema.names)))
        for field in schema:
            types[field.name] = _common_type(types.get(field.name, field.type), field.type)
    for name in answers or {SCORE: None}:
        types[name] = types.pop(name, SCORE_FIELD.type)
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

    def take(self, n: int) -> bytes:
        with self._lock:
            draw = self._random.getrandbits
            # 48 bits of milliseconds above 74 random ones; each id adds a random step to the one before.
            first = max(time.time_ns() // 1_000_000 << 74 | draw(73), self._last + 1 + draw(32))
            if (first & _LOW) + (n << 32) > _LOW:
                # The steps would run over into the upper half, which all ids of one call share.
                first = ((first >> 62) + 1) << 62
            if n == 1:
                self._last = first
                return _alone(first)
            steps = np.frombuffer(draw(32 * n).to_bytes(4 * n, "little"), "<u4").astype(np.uint64) + 1
            steps[0] = 0
            low = np.cumsum(steps) + np.uint64(first & _LOW)
            self._last = first - (first & _LOW) + int(low[-1])
        return _with_version(first, low)


def _with_version(first: int, low: np.ndarray) -> bytes:
    """Spread 122 bits (48 of time, 12, and ``low``'s 62) around the version 7 and the variant (RFC 9562, 5.7)."""
    halves = np.empty((len(low), 2), ">u8")
    halves[:, 0] = (first >> 74) << 16 | 0x7000 | (first >> 62 & 0xFFF)
    halves[:, 1] = low | np.uint64(1 << 63)
    return halves.tobytes()


def _alone(id_bits: int) -> bytes:
    """The same of one id, without the arrays."""
    high = (id_bits >> 74) << 16 | 0x7000 | (id_bits >> 62 & 0xFFF)
    return (high << 64 | 1 << 63 | id_bits & _LOW).to_bytes(16, "big")


_clock = _Clock()


def new_prediction_ids(n: int) -> list[bytes]:
    """``n`` new prediction ids as 16 bytes each, ascending, above all that this process gave before."""
    packed = new_packed_ids(n)
    return [packed[start : start + 16] for start in range(0, len(packed), 16)]


def new_packed_ids(n: int) -> bytes:
    """As :func:`new_prediction_ids`, one after the other in ``16 * n`` bytes."""
    return _clock.take(n) if n else b""


def id_characters(packed: bytes) -> bytes:
    """The usual text form of ids that lie one after the other, each in `ID_CHARACTERS`, in ASCII."""
    if len(packed) == 16:
        return id_text(packed).encode()
    digits = np.frombuffer(packed.hex().encode(), np.uint8).reshape(-1, 32)
    texts = np.full((len(digits), ID_CHARACTERS), ord("-"), np.uint8)
    for given, start, end in ((0, 0, 8), (8, 9, 13), (12, 14, 18), (16, 19, 23), (20, 24, 36)):
        texts[:, start:end] = digits[:, given : given + end - start]
    return texts.tobytes()


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
