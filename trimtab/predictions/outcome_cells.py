"""What the cells of a file or body of outcomes mean: ids, values, times and marks, a column at once.

Each function takes cells as they came, text or typed, and says where one means nothing; it never raises for a cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.answers import class_name
from trimtab.errors import UnknownPredictionError
from trimtab.predictions.schema import ID, TIME, id_bytes, microseconds

Cells: TypeAlias = Any
"""A list, or a pyarrow.ChunkedArray."""

_ID_BYTES = 16
_TEXT_LENGTH = 36
_DASHES = [8, 13, 18, 23]
_DIGITS = [place for place in range(_TEXT_LENGTH) if place not in _DASHES]
_NIBBLES = np.full(256, 255, np.uint8)
for _digit in "0123456789abcdefABCDEF":
    _NIBBLES[ord(_digit)] = int(_digit, 16)
_FIRST_TIME = microseconds(datetime(1, 1, 1, tzinfo=UTC))
_LAST_TIME = microseconds(datetime.max.replace(tzinfo=UTC))
_MARKS: dict[Any, bool] = {
    **dict.fromkeys(("true", "True", "TRUE", "1", True), True),
    **dict.fromkeys(("false", "False", "FALSE", "0", "", None, False), False),
}


def parse_ids(cells: Sequence[Any]) -> pa.Array:
    """Prediction ids (fixed-size binary of 16), null where a cell is none."""
    n = len(cells)
    if n and all(type(cell) is str and len(cell) == _TEXT_LENGTH and cell.isascii() for cell in cells):
        letters = np.frombuffer("".join(cells).encode(), np.uint8).reshape(n, _TEXT_LENGTH)
        nibbles = _NIBBLES[letters[:, _DIGITS]]
        if bool((letters[:, _DASHES] == ord("-")).all()) and bool((nibbles < _ID_BYTES).all()):
            packed = nibbles[:, ::2] << 4 | nibbles[:, 1::2]
            return pa.FixedSizeBinaryArray.from_buffers(ID, n, [None, pa.py_buffer(packed.tobytes())])
    return pa.array([_id(cell) for cell in cells], ID)


def parse_values(cells: Cells, is_text: bool) -> np.ndarray:
    """Values, float64; NaN where a cell is no number. Truth counts as 1 and falsehood as 0.

    ``is_text``: the cells are what was typed; else a text is no number.
    """
    if isinstance(cells, pa.ChunkedArray):
        if pa.types.is_boolean(cells.type) or pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type):
            numbers: np.ndarray = cells.cast(pa.float64(), safe=False).to_numpy()
            return numbers
        cells, is_text = cells.to_pylist(), True
    return np.fromiter((_number(cell, is_text) for cell in cells), np.float64, len(cells))


def parse_classes(cells: Cells, classes: Sequence[str]) -> np.ndarray:
    """The places of classes that cells name, float64; NaN where a cell names none. Whole numbers are their digits."""
    places = {name: float(place) for place, name in enumerate(classes)}
    listed = cells.to_pylist() if isinstance(cells, pa.ChunkedArray) else cells
    return np.fromiter((places.get(class_name(cell), math.nan) for cell in listed), np.float64, len(listed))


def parse_times(cells: Cells | None, n: int, default: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds since 1970, int64, and which cells are times (ISO 8601 with a timezone, years 1 to 9999 in UTC).

    A cell that is empty or null, and every one of a column that is not there, means ``default``; if that is None, it is
    no time.
    """
    if cells is None:
        return np.full(n, default or 0, np.int64), np.full(n, default is not None)
    typed = _typed_times(cells)
    if typed is not None:
        stated = pc.fill_null(typed.cast(TIME, safe=False).cast(pa.int64()), 0).to_numpy()
        given = np.asarray(pc.is_valid(typed).to_numpy(zero_copy_only=False), np.bool_)
        times = np.where(given, stated, default or 0).astype(np.int64)
        return times, (times >= _FIRST_TIME) & (times <= _LAST_TIME) & (given | (default is not None))
    known: dict[Any, int | None] = {None: default, "": default}
    listed = cells.to_pylist() if isinstance(cells, pa.ChunkedArray) else cells
    for cell in listed:
        if _hashable(cell) not in known:
            known[_hashable(cell)] = _moment(cell)
    found = [known[_hashable(cell)] for cell in listed]
    good = np.array([moment is not None for moment in found], np.bool_)
    return np.array([moment or 0 for moment in found], np.int64), good


def parse_marks(cells: Sequence[Any] | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row is marked, and which cells say so or not: true, false, 1, 0, or nothing, which is no mark."""
    if cells is None:
        return np.zeros(n, np.bool_), np.ones(n, np.bool_)
    found = [_MARKS.get(_hashable(cell)) for cell in cells]
    return np.array([mark is True for mark in found]), np.array([mark is not None for mark in found])


def _id(cell: Any) -> bytes | None:
    if isinstance(cell, bytes) and len(cell) == _ID_BYTES:
        return cell
    try:
        return id_bytes(str(cell).strip())
    except UnknownPredictionError:
        return None


def _number(cell: Any, is_text: bool) -> float:
    try:
        if type(cell) is str:
            # Python takes 1_000 for a number; nobody else does.
            return float(cell) if is_text and "_" not in cell else math.nan
        return float(cell)
    except ValueError:
        mark = _MARKS.get(cell.strip()) if cell.strip() else None
        return math.nan if mark is None else float(mark)
    except (TypeError, OverflowError):
        return math.nan


def _typed_times(cells: Cells) -> pa.ChunkedArray | pa.Array | None:
    """The cells as timestamps with a timezone, if all are; None if they must be looked at one by one."""
    if isinstance(cells, pa.ChunkedArray):
        return cells if pa.types.is_timestamp(cells.type) and cells.type.tz is not None else None
    try:
        # Where Arrow reads a time, it reads the same one as Python does, in a tenth of the time.
        texts = pa.array(cells, pa.string())
        return pc.if_else(pc.equal(texts, ""), None, texts).cast(TIME)
    except pa.ArrowException:
        return None


def _moment(cell: Any) -> int | None:
    try:
        moment = cell if isinstance(cell, datetime) else datetime.fromisoformat(cell)
        return microseconds(moment.astimezone(UTC)) if moment.tzinfo else None
    except (ValueError, TypeError, OverflowError):
        return None


def _hashable(cell: Any) -> Any:
    """What JSON and Parquet may nest cannot be a key, and means nothing here."""
    return repr(cell) if isinstance(cell, (dict, list)) else cell
