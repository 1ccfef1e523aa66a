"""Large JSON bodies: simdjson reads their numbers into arrays, and no Python object is made of a value.

Taken are bodies that are exactly as asked, as in ``typed.py``; of any other the answer is None, and ``typed.py`` reads
it, which takes more forms and says what is wrong. Both give the same rows; the property tests hold them to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from trimtab.serving.protocol.columns import DATATYPES, check_columns
from trimtab.serving.protocol.rows import Rows, event_times
from trimtab.serving.routes import Route
from trimtab.wire.tensors import DTYPES

try:
    import simdjson
except ImportError:  # no wheel for this Python (pyproject.toml): typed.py reads all bodies
    simdjson = None  # type: ignore[assignment]

LEAST_BYTES = 64 * 1024
"""Below, msgspec is as fast."""
_TENSOR = ("data", "datatype", "name", "shape")
_DATATYPES = (*DTYPES, "BYTES")


def large_infer(body: bytes, route: Route, max_rows: int, now_us: int) -> Rows | None:
    """The rows of a V2 request: a tensor a feature, or all features as one, its values flat or a list a row.

    Raises
    ------
    RequestError
        400 or 413, of a value, a count or an event time.
    """
    document = _document(body)
    if document is None or not _has(document, ("inputs",), ("id", "parameters")):
        return None
    request_id, parameters = document.get("id", ""), _plain(document.get("parameters", {}))
    if type(request_id) is not str or type(parameters) is not dict or "binary_data_output" in parameters:
        return None
    if not isinstance(document["inputs"], simdjson.Array):
        return None
    tensors = list(document["inputs"])
    if not all(isinstance(tensor, simdjson.Object) and _has(tensor, _TENSOR) for tensor in tensors):
        return None
    lists = 1 + 2 * len(tensors) + _count_lists(parameters)
    if len(tensors) == 1 and len(route.features) > 1:
        n, matrix = _matrix(body, tensors[0], lists, route, max_rows)
        if matrix is None:
            return None
        return Rows([], n, event_times(parameters.get("event_time"), n, now_us), matrix, request_id)
    given = _columns(body, tensors, lists, route)
    if given is None:
        return None
    columns, n = check_columns(route, given, max_rows)
    return Rows(columns, n, event_times(parameters.get("event_time"), n, now_us), None, request_id)


def large_invocation(body: bytes, route: Route, max_rows: int, now_us: int) -> Rows | None:
    """The rows of ``dataframe_split``, of a model that takes numbers alone.

    Raises
    ------
    RequestError
        400, of an event time.
    """
    document = _document(body) if _takes_numbers_alone(route) else None
    if document is None or not _has(document, ("dataframe_split",), ("params",)):
        return None
    split, params = document["dataframe_split"], _plain(document.get("params", {}))
    if type(params) is not dict or not isinstance(split, simdjson.Object) or not _has(split, ("columns", "data")):
        return None
    names = [feature.name for feature in route.features]
    rows = split["data"]
    if _plain(split["columns"]) != names or not isinstance(rows, simdjson.Array) or not 0 < len(rows) <= max_rows:
        return None
    values = _nested_numbers(body, rows, len(names), 2 + _count_lists(params))
    if values is None:
        return None
    return Rows([], len(rows), event_times(params.get("event_time"), len(rows), now_us), values)


def _matrix(body: bytes, tensor: Any, lists: int, route: Route, max_rows: int) -> tuple[int, np.ndarray | None]:
    """The number of rows, and the values of all of them, row by row, of a tensor of shape [rows, features]."""
    shape, data, width = _shape(tensor), tensor["data"], len(route.features)
    if not _takes_numbers_alone(route) or len(shape) != 2 or not isinstance(data, simdjson.Array):
        return 0, None
    n = shape[0]
    if shape[1] != width or not 0 < n <= max_rows or type(tensor["name"]) is not str:
        return 0, None
    if tensor["datatype"] not in DTYPES or tensor["datatype"] == "BOOL":
        return 0, None
    if len(data) == n * width and _brackets(body) == lists:
        values = _numbers(data)
        # simdjson counts no further than to 16,777,215: an array of that length may be a longer one.
        return n, values if values is not None and len(values) == n * width else None
    return n, _nested_numbers(body, data, width, lists) if len(data) == n else None


def _columns(body: bytes, tensors: Sequence[Any], lists: int, route: Route) -> list[tuple[str, Any]] | None:
    """A tensor a feature, in their order."""
    if len(tensors) != len(route.features) or _brackets(body) != lists:
        return None
    columns: list[tuple[str, Any]] = []
    for tensor, feature in zip(tensors, route.features, strict=True):
        data, datatype, shape = tensor["data"], tensor["datatype"], _shape(tensor)
        if tensor["name"] != feature.name or not isinstance(data, simdjson.Array):
            return None
        if datatype not in _DATATYPES or not datatype.startswith(DATATYPES[feature.type]):
            return None
        n = len(data)
        if shape not in ([n], [n, 1]):
            return None
        values = _numbers(data) if feature.type == "number" else None
        columns.append((feature.name, data.as_list() if values is None else values))
    return columns


def _nested_numbers(body: bytes, rows: Any, width: int, lists: int) -> np.ndarray | None:
    """The values of lists of `width` numbers, one after the other; ``lists`` is how many others the body has."""
    # simdjson flattens whatever is nested. Where there are no more brackets than lists, nothing deeper is.
    if _brackets(body) != lists + len(rows):
        return None
    if not all(isinstance(row, simdjson.Array) and len(row) == width for row in rows):
        return None
    return _numbers(rows)


def _brackets(body: bytes) -> int:
    """As ``body.count(b"[")``, four times as fast."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord("[")))


def _numbers(values: Any) -> np.ndarray | None:
    try:
        return np.frombuffer(values.as_buffer(of_type="d"), np.float64)
    except (TypeError, ValueError):  # a null, or no number
        return None


def _document(body: bytes) -> Any:
    """The body, if it is an object that simdjson takes."""
    if simdjson is None or body[:1] != b"{":
        return None
    try:
        return simdjson.Parser().parse(body)
    except (ValueError, RuntimeError):  # no JSON, or a number or a depth beyond simdjson's
        return None


def _has(given: Any, needed: Sequence[str], others: Sequence[str] = ()) -> bool:
    """Whether an object has each of the needed keys once, each of the others at most once, and no more."""
    keys = list(given)
    return len(set(keys)) == len(keys) and set(needed) <= set(keys) <= {*needed, *others}


def _plain(value: Any) -> Any:
    """A part of the body as Python's values, as msgspec reads it."""
    if not isinstance(value, simdjson.Object | simdjson.Array):
        return value
    return msgspec.json.decode(value.mini)


def _count_lists(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_count_lists, value.values()))
    return 1 + sum(map(_count_lists, value)) if isinstance(value, list) else 0


def _shape(tensor: Any) -> list[int]:
    """A tensor's shape; of what is none, an empty one."""
    given = tensor["shape"]
    shape: list[Any] = given.as_list() if isinstance(given, simdjson.Array) else []
    return shape if all(type(length) is int for length in shape) else []


def _takes_numbers_alone(route: Route) -> bool:
    return all(feature.type == "number" for feature in route.features)
