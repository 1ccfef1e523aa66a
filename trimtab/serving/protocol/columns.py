"""Whether columns are what a route's features take, and the words for what is wrong with them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from trimtab.errors import RequestError
from trimtab.serving.routes import Route, RouteFeature
from trimtab.wire.tensors import DTYPES

_INT64 = 2**63
_SHOWN = 60
_SHOWN_NAMES = 10
_NONE = type(None)

DATATYPES: Mapping[str, tuple[str, ...]] = {
    "number": ("FP", "INT", "UINT"),
    "integer": ("INT", "UINT", "FP"),
    "category": ("BYTES",),
    "boolean": ("BOOL",),
}
"""How the V2 datatypes begin under which each type of feature may be sent."""
_MEANT: Mapping[str, str] = {
    "number": "a finite number",
    "integer": "a whole number of 64 bits",
    "category": "a string",
    "boolean": "true or false",
}
SCORER_DATATYPES: Mapping[str, str] = {"number": "FP64", "integer": "INT64", "category": "BYTES", "boolean": "BOOL"}
"""The V2 datatype under which each type of feature is sent to a scorer."""


def check_columns(route: Route, given: list[tuple[str, Any]], max_rows: int) -> tuple[list[Any], int]:
    """The columns in the order of the features, and the number of rows.

    Parameters
    ----------
    given
        Each column's name, and a list of its values or a flat array, in which NaN stands for null.

    Raises
    ------
    RequestError
        400 or 413, naming column, row, value and what would be right.
    """
    by_name = dict(given)
    names = [feature.name for feature in route.features]
    if not given or all(len(values) == 0 for values in by_name.values()):
        raise RequestError(400, f"the request holds no rows; it must hold at least one, with the columns {names}")
    if len(by_name) != len(given):
        counts = Counter(name for name, _ in given)
        twice = some_names(sorted(name for name, count in counts.items() if count > 1))
        raise RequestError(400, f"columns {twice} are there more than once; each must be there once")
    if by_name.keys() != set(names):
        missing = some_names([name for name in names if name not in by_name])
        extra = some_names(sorted(by_name.keys() - set(names)))
        problem = " and ".join(
            text
            for text, odd in ((f"lacks columns {missing}", missing), (f"has unknown columns {extra}", extra))
            if odd != "[]"
        )
        raise RequestError(400, f"the request {problem}; model {route.model!r} takes exactly {names}")
    columns = [by_name[name] for name in names]
    n = len(columns[0])
    for name, values in zip(names, columns, strict=True):
        if len(values) != n:
            raise RequestError(
                400, f"column {name!r} has {len(values)} rows, {names[0]!r} has {n}; all must have as many"
            )
    check_count(n, max_rows)
    return [_check_column(feature, values) for feature, values in zip(route.features, columns, strict=True)], n


def check_count(n: int, max_rows: int) -> None:
    """Refuse too many rows; to be called before much is done with them.

    Raises
    ------
    RequestError
        413.
    """
    if n > max_rows:
        raise RequestError(413, f"the request has {n} rows; at most {max_rows} are taken at once: send several")


def _check_column(feature: RouteFeature, values: Any) -> Any:
    """The values, if they are what the feature takes; refused otherwise."""
    return _check_array(feature, values) if isinstance(values, np.ndarray) else _check_list(feature, values)


def _check_array(feature: RouteFeature, values: np.ndarray) -> Any:
    """As `_check_list`: float64 or int64 for numbers, a list for all else."""
    if feature.type == "number" and values.dtype.kind in "fiu":
        floats = values.astype(np.float64)
        sound = np.isfinite(floats) if not feature.nullable else ~np.isinf(floats)
        if not sound.all():
            _refuse_at(feature, int(np.argmin(sound)), values)
        return floats
    if feature.type == "integer" and values.dtype.kind in "iu":
        if values.dtype == np.uint64 and (odd := values > np.uint64(_INT64 - 1)).any():
            _refuse_at(feature, int(np.argmax(odd)), values)
        return values.astype(np.int64)
    given = values.tolist()
    return _check_list(feature, [None if value != value else value for value in given])


def _check_list(feature: RouteFeature, values: list[Any]) -> list[Any]:
    types = set(map(type, values))
    if _NONE in types:
        types.discard(_NONE)
        if not feature.nullable:
            _refuse(feature, values)
    if feature.type == "category":
        sound = types <= {str}
    elif feature.type == "boolean":
        sound = types <= {bool}
    elif types <= {int, float}:
        if feature.type == "number" and int in types:
            return _as_floats(feature, values)
        sound = all(_is_sound(feature, value) for value in values) if len(values) == 1 else _all_sound(feature, values)
        if sound and feature.type == "integer" and float in types:
            return [None if value is None else int(value) for value in values]
    else:
        sound = False
    if not sound:
        _refuse(feature, values)
    return values


def _as_floats(feature: RouteFeature, values: list[Any]) -> list[Any]:
    """The nearest floats of numbers: Arrow takes no whole number beyond 2**53 for one that is not the same."""
    try:
        floats = [None if value is None else float(value) for value in values]
    except OverflowError:  # a whole number beyond all floats
        _refuse(feature, values)
    if not _all_sound(feature, floats):
        _refuse(feature, values)
    return floats


def _all_sound(feature: RouteFeature, values: list[Any]) -> bool:
    """As `_is_sound` of each, faster: a sum is finite only if all that it adds is."""
    if feature.type == "number":
        try:
            if math.isfinite(sum(value for value in values if value is not None)):
                return True
        except OverflowError:
            pass
    return all(_is_sound(feature, value) for value in values)


def _is_sound(feature: RouteFeature, value: Any) -> bool:
    if value is None:
        return feature.nullable
    kind = type(value)
    if feature.type == "category":
        return kind is str
    if feature.type == "boolean":
        return kind is bool
    if kind is not int and kind is not float:
        return False
    try:
        if not math.isfinite(value):
            return False
    except OverflowError:  # a whole number beyond all floats
        return False
    return feature.type == "number" or (-_INT64 <= value < _INT64 and value == int(value))


def _refuse(feature: RouteFeature, values: list[Any]) -> NoReturn:
    _refuse_at(feature, next(row for row, value in enumerate(values) if not _is_sound(feature, value)), values)


def _refuse_at(feature: RouteFeature, row: int, values: Any) -> NoReturn:
    value = values[row].item() if isinstance(values, np.ndarray) else values[row]
    null = " or null" if feature.nullable else ", and not null"
    raise RequestError(
        400,
        f"column {feature.name!r}, row {row}: the value is {shown(value)}; it must be {_MEANT[feature.type]}{null}",
    )


def check_datatype(route: Route, name: str, datatype: str, values: Sequence[Any] | None) -> None:
    """Refuse a V2 tensor whose datatype is not one of its feature's, unless it holds nulls only."""
    feature = next(feature for feature in route.features if feature.name == name)
    has_values = values is None or any(value is not None for value in values)
    if has_values and not (is_datatype(datatype) and datatype.startswith(DATATYPES[feature.type])):
        raise RequestError(
            400, f"column {name!r} has datatype {datatype!r}; it must be {SCORER_DATATYPES[feature.type]}"
        )


def is_datatype(name: str) -> bool:
    """Whether V2 has such a datatype, and it is read here: FP8, INT4 and BF16 are not."""
    return name in DTYPES or name == "BYTES"


def some_names(names: Sequence[str]) -> str:
    """The first few of a caller's names, for a message; it may have sent a million."""
    few = ", ".join(repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "...") for name in names[:_SHOWN_NAMES])
    return f"[{few}]" if len(names) <= _SHOWN_NAMES else f"[{few}, and {len(names) - _SHOWN_NAMES} more]"


def shown(value: Any) -> str:
    """A value as JSON, for a message; cut if it is long."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} that is nested too deep to be shown"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
