"""V2's infer requests: a tensor a feature, or all features as one tensor of shape [rows, features]; JSON or binary."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from trimtab.errors import RequestError
from trimtab.serving.protocol.columns import check_columns, check_datatype, is_datatype
from trimtab.serving.protocol.rows import ALL_AS_JSON, Asked, Rows, decode, event_times
from trimtab.serving.routes import Route
from trimtab.wire.tensors import AskedOutput, InputParameters, Shape, TensorError, split_body, take_binary


class Tensor(msgspec.Struct):
    """One input; its data are JSON, or among the bytes after it."""

    name: str
    shape: Shape
    datatype: str
    data: list[Any] | None = None
    parameters: InputParameters = InputParameters()


class InferRequest(msgspec.Struct):
    """The JSON of a request."""

    inputs: list[Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[AskedOutput] = []


OUTPUTS = ("score", "label", "prediction_id")
_decoder = msgspec.json.Decoder(InferRequest)


def parse_infer(body: bytes, header_length: bytes | None, route: Route, max_rows: int, now_us: int) -> Rows:
    """Check a V2 request against a route.

    Parameters
    ----------
    body
        As received.
    header_length
        The header ``Inference-Header-Content-Length``, if there is one.
    route, max_rows, now_us
        What answers, the most rows in a request, and the time that rows without one get (microseconds).

    Raises
    ------
    RequestError
        400 or 413.
    """
    try:
        text, binary = split_body(body, header_length)
        request = decode(_decoder, text, lambda r: check_columns(route, _columns(r, route, {}), max_rows))
        sizes = [each.parameters.binary_data_size for each in request.inputs]
        for each, size in zip(request.inputs, sizes, strict=True):
            if size is not None and each.data is not None:
                raise TensorError(f"input {each.name!r} has data and binary_data_size {size}; it must have one of them")
        arrays = take_binary(
            [(each.name, each.datatype, each.shape, size) for each, size in zip(request.inputs, sizes, strict=True)],
            binary,
        )
    except TensorError as error:
        raise RequestError(400, str(error)) from error
    matrix = _plain_matrix(request, route, arrays, max_rows)
    if matrix is not None:
        n = len(matrix)
        times = event_times(request.parameters.get("event_time"), n, now_us)
        asked = asked_outputs(request.outputs, request.parameters, route)
        return Rows([], n, times, matrix.ravel(), request.id, asked=asked)
    columns, n = check_columns(route, _columns(request, route, arrays), max_rows)
    if not _is_matrix(request, route):
        for tensor in request.inputs:
            check_datatype(route, tensor.name, tensor.datatype, tensor.data)
    times = event_times(request.parameters.get("event_time"), n, now_us)
    return Rows(columns, n, times, None, request.id, asked=asked_outputs(request.outputs, request.parameters, route))


def asked_outputs(outputs: list[AskedOutput], parameters: dict[str, Any], route: Route) -> Asked:
    """Which outputs a request wants.

    Raises
    ------
    RequestError
        400 if the model has no such output.
    """
    every = parameters.get("binary_data_output") is True
    if not outputs and not every:
        return ALL_AS_JSON
    there = OUTPUTS if route.kind != "regression" else ("score", "prediction_id")
    for output in outputs:
        if output.name not in there:
            raise RequestError(400, f"there is no output {output.name!r}; model {route.model!r} answers {list(there)}")
    if len({output.name for output in outputs}) < len(outputs):
        raise RequestError(400, f"an output is asked for more than once; ask for each of {list(there)} once at most")
    if not outputs:
        return Asked(None, frozenset(there))
    binary = {
        each.name for each in outputs if (every if each.parameters.binary_data is None else each.parameters.binary_data)
    }
    return Asked(tuple(each.name for each in outputs), frozenset(binary))


def _is_matrix(request: InferRequest, route: Route) -> bool:
    """Whether the one input holds all features, in their order, as [rows, features]."""
    if len(request.inputs) != 1:
        return False
    tensor = request.inputs[0]
    return len(tensor.shape) == 2 and (len(route.features) > 1 or tensor.name != route.features[0].name)


def _plain_matrix(request: InferRequest, route: Route, arrays: dict[str, Any], max_rows: int) -> np.ndarray | None:
    """Finite numbers of shape [rows, features] that came as bytes: checked all at once. None: look closer."""
    if not arrays or not _is_matrix(request, route) or not all(feature.type == "number" for feature in route.features):
        return None
    (tensor,) = request.inputs
    values = arrays[tensor.name]
    rows, width = tensor.shape
    if not isinstance(values, np.ndarray) or width != len(route.features) or not 0 < rows <= max_rows:
        return None
    if values.dtype.kind not in "fiu":
        return None
    floats = values.astype(np.float64, copy=False)
    return floats.reshape(rows, width) if np.isfinite(floats).all() else None


def _columns(request: InferRequest, route: Route, arrays: dict[str, Any]) -> list[tuple[str, Any]]:
    if _is_matrix(request, route):
        return _matrix_columns(request.inputs[0], route, arrays)
    found = []
    for tensor in request.inputs:
        values = arrays.get(tensor.name, tensor.data)
        if values is None:
            raise RequestError(400, f"column {tensor.name!r} has no data; give data, or its bytes and binary_data_size")
        n = len(values)
        if tensor.shape not in ([n], [n, 1]):
            raise RequestError(
                400, f"column {tensor.name!r} has shape {tensor.shape} but {n} values in data; shape must be [{n}]"
            )
        if (
            tensor.shape == [n, 1]
            and n
            and isinstance(values, list)
            and all(type(v) is list and len(v) == 1 for v in values)
        ):
            values = [value for (value,) in values]
        found.append((tensor.name, values))
    return found


def _matrix_columns(tensor: Tensor, route: Route, arrays: dict[str, Any]) -> list[tuple[str, Any]]:
    names = [feature.name for feature in route.features]
    rows, width = tensor.shape
    if width != len(names):
        raise RequestError(
            400, f"input {tensor.name!r} has shape {tensor.shape}; it must be [rows, {len(names)}], the columns {names}"
        )
    if odd := [feature.name for feature in route.features if feature.type not in ("number", "integer")]:
        raise RequestError(
            400, f"columns {odd} are no numbers, so model {route.model!r} takes an input for each of {names}, not one"
        )
    if not is_datatype(tensor.datatype) or tensor.datatype in ("BOOL", "BYTES"):
        raise RequestError(400, f"input {tensor.name!r} has datatype {tensor.datatype!r}; it must be FP64")
    values = arrays.get(tensor.name, tensor.data)
    if values is None:
        raise RequestError(400, f"input {tensor.name!r} has no data; give data, or its bytes and binary_data_size")
    if isinstance(values, np.ndarray):
        # A column a line, each in one piece.
        block = np.ascontiguousarray(values.reshape(rows, width).T)
        return list(zip(names, block, strict=True))
    flat = values
    if values and all(type(row) is list for row in values):
        for number, row in enumerate(values):
            if len(row) != width:
                raise RequestError(400, f"row {number} has {len(row)} values; it must have {width}, one a column")
        flat = [value for row in values for value in row]
    if len(flat) != rows * width:
        raise RequestError(
            400, f"input {tensor.name!r} of shape {tensor.shape} has {len(flat)} values; it must have {rows * width}"
        )
    return [(name, flat[position::width]) for position, name in enumerate(names)]
