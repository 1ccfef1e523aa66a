"""MLflow's and SageMaker's ``/invocations``: rows as a data frame, or as ``inputs`` or ``instances``.

Source: MLflow's scoring protocol.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.errors import RequestError
from trimtab.serving.protocol.columns import check_columns, check_count, some_names
from trimtab.serving.protocol.rows import Rows, decode, event_times
from trimtab.serving.routes import Route

_FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")


class Split(msgspec.Struct):
    """A data frame, a list a row."""

    columns: list[str]
    data: list[list[Any]]


class Invocation(msgspec.Struct):
    """The body of a request; exactly one of the forms."""

    dataframe_split: Split | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    inputs: dict[str, list[Any]] | list[Any] | None = None
    instances: list[Any] | None = None
    params: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(Invocation)


def parse_invocation(body: bytes, route: Route, max_rows: int, now_us: int) -> Rows:
    """Check an MLflow request against a route.

    Raises
    ------
    RequestError
        400 or 413.
    """
    request = decode(_decoder, body, lambda r: check_columns(route, _columns(r, route, max_rows), max_rows))
    columns, n = check_columns(route, _columns(request, route, max_rows), max_rows)
    return Rows(columns, n, event_times(request.params.get("event_time"), n, now_us))


def _columns(request: Invocation, route: Route, max_rows: int) -> list[tuple[str, list[Any]]]:
    given = [form for form in _FORMS if getattr(request, form) is not None]
    if len(given) != 1:
        raise RequestError(
            400, f"the body must hold exactly one of {', '.join(_FORMS)}, and may hold params; it has {given}"
        )
    if request.dataframe_split is not None:
        check_count(len(request.dataframe_split.data), max_rows)
        return _by_position(request.dataframe_split.columns, request.dataframe_split.data)
    if request.dataframe_records is not None:
        check_count(len(request.dataframe_records), max_rows)
        return _by_name(request.dataframe_records)
    rows = request.inputs if request.inputs is not None else request.instances
    if isinstance(rows, dict):
        return list(rows.items())
    rows = rows or []
    check_count(len(rows), max_rows)
    if all(isinstance(row, dict) for row in rows):
        return _by_name(rows)
    if not all(isinstance(row, list) for row in rows):
        raise RequestError(400, f"{given[0]} must be a list of objects, or a list of lists with a value a column")
    return _by_position([feature.name for feature in route.features], rows)


def _by_position(names: list[str], rows: list[list[Any]]) -> list[tuple[str, list[Any]]]:
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise RequestError(400, f"row {number} has {len(row)} values; it must have {len(names)}, one a column")
    return [(name, [row[i] for row in rows]) for i, name in enumerate(names)]


def _by_name(records: list[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    names = list(records[0]) if records else []
    for number, record in enumerate(records):
        if odd := record.keys() ^ set(names):
            raise RequestError(
                400, f"row {number} and row 0 differ in columns {some_names(sorted(odd))}; all rows must have the same"
            )
    return [(name, [record[name] for record in records]) for name in names]
