"""The fast way: decoders made for one route, which check a request while they decode it.

A request that is exactly as asked (columns in the features' order, every value of its type) is decoded and checked in
one pass of msgspec's. Any other goes the long way (``infer.py``, ``invocations.py``), which takes more forms and says
what is wrong. Both give the same rows; the property tests hold them to it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Annotated, Any, Literal

import msgspec

from trimtab.serving.protocol.columns import DATATYPES
from trimtab.serving.protocol.infer import InferRequest, parse_infer
from trimtab.serving.protocol.invocations import parse_invocation
from trimtab.serving.protocol.large import LEAST_BYTES, large_infer, large_invocation
from trimtab.serving.protocol.rows import Rows, event_times
from trimtab.serving.routes import Route, RouteFeature
from trimtab.wire.tensors import DTYPES

_ELEMENTS: dict[str, Any] = {
    "number": float,
    "integer": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "category": str,
    "boolean": bool,
}
_IN_JSON = msgspec.defstruct("InJson", [("binary_data_size", None, None)], frozen=True)
_PARAMETERS = ("parameters", _IN_JSON, _IN_JSON())
"""Of an input whose values are JSON; one that says to have bytes too goes the long way, which refuses it."""
_Form = tuple[msgspec.json.Decoder[Any], Callable[[Any], tuple[list[Any], int] | None], bool]
"""A decoder; what takes the values and the number of rows from what it gives; whether they are a matrix."""


class RouteParser:
    """Parses the requests of one route.

    Parameters
    ----------
    route : Route
    max_rows : int
        The most rows in a request.
    """

    def __init__(self, route: Route, max_rows: int) -> None:
        self._route = route
        self._max_rows = max_rows
        self._names = [feature.name for feature in route.features]
        self._infer_forms: list[_Form] = [self._tensors()]
        if len(route.features) > 1 and all(feature.type == "number" for feature in route.features):
            self._infer_forms += [self._matrix(nested=False), self._matrix(nested=True)]
        self._split = self._data_frame()

    def infer(self, body: bytes, header_length: bytes | None, now_us: int) -> Rows:
        """Check a V2 request.

        Raises
        ------
        RequestError
            400 or 413.
        """
        if header_length is None:
            if len(body) >= LEAST_BYTES:
                rows = large_infer(body, self._route, self._max_rows, now_us)
                if rows is not None:
                    return rows
            forms = self._infer_forms
            for place, (decoder, values_of, is_matrix) in enumerate(forms):
                try:
                    request = decoder.decode(body)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    continue
                if place:
                    # Callers keep to one form: the one that fits is tried first from now on.
                    forms.insert(0, forms.pop(place))
                found = values_of(request)
                if found is None or request.outputs or "binary_data_output" in request.parameters:
                    break
                values, n = found
                times = event_times(request.parameters.get("event_time"), n, now_us)
                if is_matrix:
                    return Rows([], n, times, values, request.id)
                return Rows(values, n, times, None, request.id)
        return parse_infer(body, header_length, self._route, self._max_rows, now_us)

    def invocation(self, body: bytes, now_us: int) -> Rows:
        """Check an MLflow request.

        Raises
        ------
        RequestError
            400 or 413.
        """
        if len(body) >= LEAST_BYTES:
            rows = large_invocation(body, self._route, self._max_rows, now_us)
            if rows is not None:
                return rows
        try:
            request = self._split.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            data = request.dataframe_split.data
            if request.dataframe_split.columns == self._names and 0 < len(data) <= self._max_rows:
                times = event_times(request.params.get("event_time"), len(data), now_us)
                return Rows(list(map(list, zip(*data, strict=True))), len(data), times)
        return parse_invocation(body, self._route, self._max_rows, now_us)

    def _tensors(self) -> _Form:
        """A tensor a feature."""
        inputs: Any = tuple.__class_getitem__(tuple(_tensor_type(feature) for feature in self._route.features))
        decoder = msgspec.json.Decoder(_request_type(inputs))

        def values_of(request: Any) -> tuple[list[Any], int] | None:
            columns = [tensor.data for tensor in request.inputs]
            n = len(columns[0])
            if not 0 < n <= self._max_rows:
                return None
            flat, upright = [n], [n, 1]
            for tensor in request.inputs:
                if len(tensor.data) != n or (tensor.shape != flat and tensor.shape != upright):
                    return None
            return columns, n

        return decoder, values_of, False

    def _matrix(self, nested: bool) -> _Form:
        """All features as one tensor of shape [rows, features]."""
        width = len(self._names)
        nullable = all(feature.nullable for feature in self._route.features)
        element = float | None if nullable else float
        data = list[list[element]] if nested else list[element]  # type: ignore[valid-type]
        tensor: Any = msgspec.defstruct(
            "Matrix",
            [("name", str), ("shape", tuple[int, int]), ("datatype", Literal[_numeric()]), ("data", data), _PARAMETERS],
        )
        decoder = msgspec.json.Decoder(_request_type(tuple.__class_getitem__(tensor)))

        def values_of(request: Any) -> tuple[list[Any], int] | None:
            (tensor,) = request.inputs
            n, given = tensor.shape
            values = tensor.data
            if given != width or not 0 < n <= self._max_rows:
                return None
            if nested:
                if len(values) != n or any(len(row) != width for row in values):
                    return None
                values = values[0] if n == 1 else list(chain.from_iterable(values))
            if len(values) != n * width:
                return None
            return values, n

        return decoder, values_of, True

    def _data_frame(self) -> msgspec.json.Decoder[Any]:
        row: Any = tuple.__class_getitem__(tuple(_element(feature) for feature in self._route.features))
        split = msgspec.defstruct("Split", [("columns", list[str]), ("data", list[row])])
        fields: list[Any] = [
            ("dataframe_split", split),
            ("params", dict[str, Any], msgspec.field(default_factory=dict)),
        ]
        return msgspec.json.Decoder(msgspec.defstruct("Frame", fields, forbid_unknown_fields=True))


def _request_type(inputs: Any) -> type[msgspec.Struct]:
    """As `InferRequest`, with inputs of this type."""
    others = [field for field in msgspec.structs.fields(InferRequest) if field.name != "inputs"]
    defaults = {
        "id": "",
        "parameters": msgspec.field(default_factory=dict),
        "outputs": msgspec.field(default_factory=list),
    }
    fields: list[Any] = [("inputs", inputs), *((field.name, field.type, defaults[field.name]) for field in others)]
    return msgspec.defstruct("Request", fields)


def _tensor_type(feature: RouteFeature) -> type[msgspec.Struct]:
    datatypes = tuple(name for name in (*DTYPES, "BYTES") if name.startswith(DATATYPES[feature.type]))
    fields: list[Any] = [
        ("name", Literal[feature.name]),
        ("shape", list[int]),
        ("datatype", Literal[datatypes]),
        ("data", list[_element(feature)]),  # type: ignore[misc]
        _PARAMETERS,
    ]
    return msgspec.defstruct("Tensor", fields)


def _element(feature: RouteFeature) -> Any:
    element = _ELEMENTS[feature.type]
    return element | None if feature.nullable else element


def _numeric() -> tuple[str, ...]:
    return tuple(name for name in DTYPES if name != "BOOL")
