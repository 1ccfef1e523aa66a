"""What a request may look like, and its answer: Open Inference (V2) and MLflow's ``/invocations``.

Whatever is wrong is refused with 400, naming column, row, value and what would be right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from trimtab.errors import RequestError
from trimtab.predictions.schema import id_text, microseconds
from trimtab.serving.columns import check_columns, check_datatype, shown
from trimtab.serving.routes import Route

T = TypeVar("T")


class Rows(msgspec.Struct):
    """A checked request: ``columns`` holds a list of n values for each of the route's features, in their order.

    ``event_times`` are microseconds since 1970, of each row.
    """

    columns: list[list[Any]]
    n: int
    event_times: list[int]
    request_id: str = ""
    caller: str = ""


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class _InferRequest(msgspec.Struct):
    inputs: list[_Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}


class _Split(msgspec.Struct):
    columns: list[str]
    data: list[list[Any]]


class _Invocation(msgspec.Struct):
    dataframe_split: _Split | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    inputs: dict[str, list[Any]] | None = None
    params: dict[str, Any] = {}


class OutcomeBody(msgspec.Struct, forbid_unknown_fields=True):
    """One outcome as it is posted."""

    prediction_id: str
    value: bool | float
    observed_at: str | None = None
    correction: bool = False


class OutcomesBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a post of outcomes."""

    outcomes: list[OutcomeBody]


_infer_decoder = msgspec.json.Decoder(_InferRequest)
_invocation_decoder = msgspec.json.Decoder(_Invocation)
_encode = msgspec.json.Encoder().encode


def parse_infer(body: bytes, route: Route, max_rows: int, now_us: int) -> Rows:
    """Check a V2 request against a route.

    Raises
    ------
    RequestError
        400 or 413.
    """

    def columns_of(request: _InferRequest) -> list[tuple[str, list[Any]]]:
        for tensor in request.inputs:
            n = len(tensor.data)
            if tensor.shape not in ([n], [n, 1]):
                raise RequestError(
                    400, f"column {tensor.name!r} has shape {tensor.shape} but {n} values in data; shape must be [{n}]"
                )
        return [(tensor.name, tensor.data) for tensor in request.inputs]

    request = decode(_infer_decoder, body, lambda r: check_columns(route, columns_of(r), max_rows))
    columns, n = check_columns(route, columns_of(request), max_rows)
    for tensor in request.inputs:
        check_datatype(route, tensor.name, tensor.datatype, tensor.data)
    return Rows(columns, n, _event_times(request.parameters.get("event_time"), n, now_us), request.id)


def parse_invocation(body: bytes, route: Route, max_rows: int, now_us: int) -> Rows:
    """Check an MLflow request (``dataframe_split``, ``dataframe_records`` or ``inputs``) against a route.

    Raises
    ------
    RequestError
        400 or 413.
    """
    request = decode(_invocation_decoder, body, lambda r: check_columns(route, _invocation_columns(r), max_rows))
    columns, n = check_columns(route, _invocation_columns(request), max_rows)
    return Rows(columns, n, _event_times(request.params.get("event_time"), n, now_us))


def infer_answer(route: Route, rows: Rows, ids: Sequence[bytes], scores: Sequence[float]) -> bytes:
    """The V2 answer: ``score``, ``label`` of a binary model, ``prediction_id``."""
    n = len(scores)
    outputs = [{"name": "score", "datatype": "FP64", "shape": [n], "data": scores}]
    if route.kind == "binary":
        outputs.append({"name": "label", "datatype": "INT64", "shape": [n], "data": _labels(route, scores)})
    texts = [id_text(key) for key in ids]
    outputs.append({"name": "prediction_id", "datatype": "BYTES", "shape": [n], "data": texts})
    answer = {
        "model_name": route.model,
        "model_version": route.version,
        "parameters": {"release_id": route.release_id},
        "outputs": outputs,
    }
    if rows.request_id:
        answer["id"] = rows.request_id
    return _encode(answer)


def invocation_answer(route: Route, rows: Rows, ids: Sequence[bytes], scores: Sequence[float]) -> bytes:
    """MLflow's answer: a ``predictions`` list with an object a row."""
    texts = map(id_text, ids)
    if route.kind == "binary":
        labels = _labels(route, scores)
        predictions: list[dict[str, Any]] = [
            {"score": score, "label": label, "prediction_id": text}
            for score, label, text in zip(scores, labels, texts, strict=True)
        ]
    else:
        predictions = [{"score": s, "prediction_id": text} for s, text in zip(scores, texts, strict=True)]
    return _encode(
        {
            "predictions": predictions,
            "model_version": route.version,
            "model_name": route.model,
            "release_id": route.release_id,
        }
    )


def decode(decoder: msgspec.json.Decoder[T], body: bytes, explain: Callable[[T], object] | None = None) -> T:
    """Decode a body, or refuse it.

    Parameters
    ----------
    decoder
        For the type that the body must have.
    body
        As received.
    explain
        Called with what a body means that holds NaN or Infinity, which are not JSON: it raises with their place.
    """
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if explain is not None:
            _explain_numbers(decoder, body, explain)
        raise RequestError(400, f"the body is not the JSON that is asked for: {error}") from error


def _explain_numbers(decoder: msgspec.json.Decoder[T], body: bytes, explain: Callable[[T], object]) -> None:
    try:
        lenient = msgspec.convert(json.loads(body), decoder.type)
    except (ValueError, RecursionError):  # covers msgspec's, json's and Unicode's errors: it is no JSON at all
        return
    explain(lenient)


def parse_time(text: Any, where: str) -> int:
    """Microseconds since 1970 of an ISO 8601 time with a timezone.

    Raises
    ------
    RequestError
        400, naming the place and the value.
    """
    try:
        moment = datetime.fromisoformat(text)
        # A time that a timezone moves out of the calendar would be stored, and then be read by nothing.
        return microseconds(moment.astimezone(UTC) if moment.tzinfo else moment)
    except (ValueError, TypeError, OverflowError) as error:
        raise RequestError(
            400,
            f"{where} is {shown(text)}; it must be an ISO 8601 time with a timezone, such as 2024-01-31T12:00:00Z, "
            "and in UTC of the years 1 to 9999",
        ) from error


def _event_times(given: Any, n: int, now_us: int) -> list[int]:
    if given is None:
        return [now_us] * n
    if not isinstance(given, list):
        return [parse_time(given, "event_time")] * n
    if len(given) != n:
        raise RequestError(400, f"event_time has {len(given)} values; it must be one time, or one for each of {n} rows")
    return [parse_time(text, f"event_time, row {row}") for row, text in enumerate(given)]


def _invocation_columns(request: _Invocation) -> list[tuple[str, list[Any]]]:
    forms = (request.dataframe_split, request.dataframe_records, request.inputs)
    if sum(form is not None for form in forms) != 1:
        raise RequestError(
            400, "the body must hold exactly one of dataframe_split, dataframe_records and inputs, and may hold params"
        )
    if request.inputs is not None:
        return list(request.inputs.items())
    if request.dataframe_split is not None:
        names, rows = request.dataframe_split.columns, request.dataframe_split.data
        for number, row in enumerate(rows):
            if len(row) != len(names):
                raise RequestError(400, f"row {number} has {len(row)} values; it must have {len(names)}, one a column")
        return [(name, [row[i] for row in rows]) for i, name in enumerate(names)]
    records = request.dataframe_records or []
    names = list(records[0]) if records else []
    for number, record in enumerate(records):
        if odd := record.keys() ^ set(names):
            raise RequestError(
                400, f"row {number} and row 0 differ in columns {sorted(odd)}; all rows must have the same"
            )
    return [(name, [record[name] for record in records]) for name in names]


def _labels(route: Route, scores: Sequence[float]) -> list[int]:
    return [int(score >= route.decision_threshold) for score in scores]
