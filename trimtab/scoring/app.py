"""The scorer: one artifact behind the Open Inference Protocol (V2), as a raw ASGI application.

It stands behind the gateway, which sends it micro-batches; it checks every tensor all the same, for it can be called by
anyone who can reach it. Scoring happens on the event loop: one request at a time, one thread, no queue that could grow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal

import msgspec
import numpy as np

from trimtab.scoring.model import Artifact, ArtifactError, FeatureColumn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY_BYTES = 64 * 1024 * 1024

_DATATYPES = {
    "number": ("FP64", "FP32", "INT64", "INT32", "INT16", "INT8"),
    # Whole numbers come as FP64 from columns that also hold nulls, as data frames have them.
    "integer": ("INT64", "INT32", "INT16", "INT8", "FP64", "FP32"),
    "category": ("BYTES",),
    "boolean": ("BOOL",),
}
"""The datatypes that a tensor of each type of feature may have; metadata names the first."""

_ELEMENTS: dict[str, Any] = {"number": float, "integer": int, "category": str, "boolean": bool}


class Tensor(msgspec.Struct):
    """One input tensor; its data stays unparsed until the feature says what they must be."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw


class InferRequest(msgspec.Struct):
    """The body of an infer request; fields that the protocol allows and the scorer does not need are skipped."""

    inputs: list[Tensor]
    id: str = ""


class BadRequestError(Exception):
    """A request that is refused, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ScorerApp:
    """The ASGI application of one artifact.

    Parameters
    ----------
    artifact : Artifact
    version : str
        The model version that answers name.
    """

    def __init__(self, artifact: Artifact, version: str) -> None:
        self._artifact = artifact
        self._name = artifact.manifest.model
        self._version = version
        self._features = {feature.name: feature for feature in artifact.manifest.features}
        self._decoders = {feature.name: _decoder(feature) for feature in artifact.manifest.features}
        self._request = msgspec.json.Decoder(InferRequest)
        model = f"/v2/models/{self._name}"
        live, ready = msgspec.json.encode({"live": True}), msgspec.json.encode({"ready": True})
        metadata = msgspec.json.encode(self._metadata())
        self._pages = {
            "/v2": msgspec.json.encode({"name": "trimtab-scorer", "version": version, "extensions": []}),
            "/v2/health/live": live,
            "/v2/health/ready": ready,
        }
        self._infer_paths = {f"{model}/infer", f"{model}/versions/{version}/infer"}
        for path in (model, f"{model}/versions/{version}"):
            self._pages[path] = metadata
            self._pages[f"{path}/ready"] = msgspec.json.encode({"name": self._name, "ready": True})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the scorer speaks HTTP only, not {scope['type']!r}")
        try:
            status, body = 200, await self._answer(scope["method"], scope["path"], receive)
        except BadRequestError as error:
            status, body = error.status, msgspec.json.encode({"error": str(error)})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def infer(self, body: bytes) -> bytes:
        """Answer an infer request: its JSON in, the answer's JSON out.

        Raises
        ------
        BadRequestError
            400 if the body is not a request for this model's features; 500 if the model returns what is no number.
        """
        try:
            request = self._request.decode(body)
        except msgspec.DecodeError as error:
            raise BadRequestError(400, f"the body is no V2 infer request: {error}") from error
        columns, rows = self._columns(request.inputs)
        try:
            scores = self._artifact.predict(self._artifact.encode(columns))
        except (ArtifactError, OverflowError) as error:
            raise BadRequestError(400, str(error)) from error
        if scores.shape != (rows,) or not np.isfinite(scores).all():
            raise BadRequestError(500, f"model {self._name} {self._version} returned scores that are no numbers")
        output = {"name": "score", "datatype": "FP64", "shape": [rows], "data": scores.tolist()}
        answer: dict[str, Any] = {"model_name": self._name, "model_version": self._version, "outputs": [output]}
        if request.id:
            answer["id"] = request.id
        return msgspec.json.encode(answer)

    async def _answer(self, method: str, path: str, receive: Receive) -> bytes:
        wanted: Literal["GET", "POST"]
        if path in self._infer_paths:
            wanted = "POST"
        elif path in self._pages:
            wanted = "GET"
        else:
            raise BadRequestError(404, f"there is no {path} here; this scorer serves /v2/models/{self._name}")
        if method != wanted:
            raise BadRequestError(405, f"{path} answers {wanted}, not {method}")
        return self.infer(await _read_body(receive)) if wanted == "POST" else self._pages[path]

    def _columns(self, inputs: list[Tensor]) -> tuple[dict[str, Any], int]:
        columns: dict[str, Any] = {}
        for tensor in inputs:
            decoder = self._decoders.get(tensor.name)
            if decoder is None:
                raise BadRequestError(
                    400, f"input {tensor.name!r} is no feature of this model; it takes {list(self._features)}"
                )
            if tensor.name in columns:
                raise BadRequestError(400, f"input {tensor.name!r} is sent twice; each feature is sent once")
            try:
                values = decoder.decode(tensor.data)
            except msgspec.DecodeError as error:
                values = _second_look(self._features[tensor.name], tensor, error)
            _check_tensor(self._features[tensor.name], tensor, len(values))
            columns[tensor.name] = values
        if missing := [name for name in self._features if name not in columns]:
            raise BadRequestError(400, f"inputs {missing} are missing; the model needs {list(self._features)}")
        lengths = {name: len(values) for name, values in columns.items()}
        rows = next(iter(lengths.values()))
        if rows == 0 or any(length != rows for length in lengths.values()):
            raise BadRequestError(400, f"inputs have {lengths} rows; all must have the same number, at least 1")
        return columns, rows

    def _metadata(self) -> dict[str, Any]:
        manifest = self._artifact.manifest
        inputs = [
            {"name": feature.name, "datatype": _DATATYPES[feature.type][0], "shape": [-1]}
            for feature in manifest.features
        ]
        return {
            "name": self._name,
            "versions": [self._version],
            "platform": f"trimtab_{manifest.format}",
            "inputs": inputs,
            "outputs": [{"name": "score", "datatype": "FP64", "shape": [-1]}],
            "artifact_digest": self._artifact.digest,
            "kind": manifest.kind,
        }


async def _read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequestError(400, "the caller went away before the body was complete")
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise BadRequestError(413, f"the body is larger than {MAX_BODY_BYTES} bytes; send fewer rows")
        if not message.get("more_body", False):
            return part if not parts else b"".join((*parts, part))
        parts.append(part)


def _decoder(feature: FeatureColumn) -> msgspec.json.Decoder[Any]:
    element = _ELEMENTS[feature.type]
    wanted: Any = element | None if feature.nullable else element
    return msgspec.json.Decoder(list[wanted])


def _second_look(feature: FeatureColumn, tensor: Tensor, error: msgspec.DecodeError) -> list[Any]:
    """Whole numbers written as 3.0 are integers too; anything else is refused with the value that is wrong."""
    try:
        values = msgspec.json.decode(tensor.data)
    except msgspec.DecodeError:
        raise BadRequestError(400, f"the data of input {feature.name!r} are no JSON: {error}") from error
    if not isinstance(values, list):
        raise BadRequestError(400, f"the data of input {feature.name!r} are {values!r}; they must be a list") from error
    for position, value in enumerate(values):
        if not _is_element(feature, value):
            allowed = f"{feature.type} or null" if feature.nullable else f"{feature.type}, not null"
            raise BadRequestError(
                400, f"input {feature.name!r} has {value!r} at position {position}; it must be {allowed}"
            ) from error
    return values


def _is_element(feature: FeatureColumn, value: Any) -> bool:
    if value is None:
        return feature.nullable
    if feature.type == "integer":
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    if feature.type == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, _ELEMENTS[feature.type])


def _check_tensor(feature: FeatureColumn, tensor: Tensor, rows: int) -> None:
    allowed = _DATATYPES[feature.type]
    if tensor.datatype not in allowed:
        raise BadRequestError(
            400,
            f"input {feature.name!r} has datatype {tensor.datatype!r}; a {feature.type} must be one of {list(allowed)}",
        )
    if tensor.shape != [rows] and tensor.shape != [rows, 1]:
        raise BadRequestError(
            400, f"input {feature.name!r} has shape {tensor.shape} and {rows} values; its shape must be [{rows}]"
        )
