"""The scorer: one artifact behind the Open Inference Protocol (V2), with its binary tensor extension.

It stands behind the gateway, which sends it micro-batches; it checks every tensor all the same, for it can be called by
anyone who can reach it. Scoring happens on the event loop: one request at a time, one thread, no queue that could grow.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from trimtab.scoring.model import Artifact, ArtifactError, FeatureColumn
from trimtab.wire.http import Exchange, Request, error_body
from trimtab.wire.tensors import (
    EXTENSION,
    HEADER_LENGTH,
    MATRIX_EXTENSION,
    AskedOutput,
    Input,
    TensorError,
    split_body,
    take_binary,
    write_tensor,
)

_DATATYPES = {
    "number": ("FP64", "FP32", "INT64", "INT32", "INT16", "INT8"),
    # Whole numbers come as FP64 from columns that also hold nulls, as data frames have them.
    "integer": ("INT64", "INT32", "INT16", "INT8", "FP64", "FP32"),
    "category": ("BYTES",),
    "boolean": ("BOOL",),
}
"""The datatypes that a tensor of each type of feature may have; metadata names the first."""

_ELEMENTS: dict[str, Any] = {"number": float, "integer": int, "category": str, "boolean": bool}
_JSON = b"application/json"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises of text that is no JSON, is not UTF-8, or is nested without end."""
_BINARY = b"application/octet-stream"


class InferParameters(msgspec.Struct, frozen=True):
    """What may be said of a request."""

    binary_data_output: bool = False


class InferRequest(msgspec.Struct):
    """The JSON of an infer request; fields that the protocol allows and the scorer does not need are skipped."""

    inputs: list[Input]
    id: str = ""
    parameters: InferParameters = InferParameters()
    outputs: list[AskedOutput] = []


class BadRequestError(Exception):
    """A request that is refused, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ScorerApp:
    """The application of one artifact.

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
        # All features as one tensor, if they are numbers: a tensor a feature costs more than to score a few rows.
        self._takes_matrix = all(feature.type in ("number", "integer") for feature in self._features.values())
        extensions = [EXTENSION, *([MATRIX_EXTENSION] if self._takes_matrix else [])]
        model = f"/v2/models/{self._name}"
        live, ready = msgspec.json.encode({"live": True}), msgspec.json.encode({"ready": True})
        metadata = msgspec.json.encode(self._metadata())
        self._pages = {
            "/v2": msgspec.json.encode({"name": "trimtab-scorer", "version": version, "extensions": extensions}),
            "/v2/health/live": live,
            "/v2/health/ready": ready,
        }
        self._infer_paths = {f"{model}/infer", f"{model}/versions/{version}/infer"}
        for path in (model, f"{model}/versions/{version}"):
            self._pages[path] = metadata
            self._pages[f"{path}/ready"] = msgspec.json.encode({"name": self._name, "ready": True})

    def __call__(self, request: Request, exchange: Exchange) -> None:
        """Answer a request."""
        try:
            if request.head.path in self._infer_paths and request.head.method == "POST":
                body, json_length = self.infer(request.body, request.head.header(HEADER_LENGTH))
                if json_length is None:
                    exchange.answer(200, body)
                else:
                    exchange.answer(200, body, _BINARY, [(HEADER_LENGTH, b"%d" % json_length)])
            else:
                exchange.answer(200, self._page(request.head.method, request.head.path))
        except BadRequestError as error:
            exchange.answer(error.status, error_body(str(error)))

    def infer(self, body: bytes, header_length: bytes | None = None) -> tuple[bytes, int | None]:
        """Answer an infer request.

        Parameters
        ----------
        body
            JSON, or JSON and binary tensors.
        header_length
            The header ``Inference-Header-Content-Length``, of a body with binary tensors.

        Returns
        -------
        tuple
            The answer's body, and the length of its JSON part if the scores follow in binary.

        Raises
        ------
        BadRequestError
            400 if the body is not a request for this model's features; 500 if the model returns what is no number.
        """
        try:
            text, binary = split_body(body, header_length)
            request = self._request.decode(text)
            arrays = take_binary(
                [(each.name, each.datatype, each.shape, each.parameters.binary_data_size) for each in request.inputs],
                binary,
            )
        except _UNREADABLE as error:
            raise BadRequestError(400, f"the body is no V2 infer request: {error}") from error
        except TensorError as error:
            raise BadRequestError(400, str(error)) from error
        try:
            matrix, rows = self._matrix(request.inputs, arrays)
            scores = self._artifact.predict(matrix)
        except (ArtifactError, OverflowError) as error:
            raise BadRequestError(400, str(error)) from error
        if scores.shape != self._artifact.manifest.shape(rows) or not np.isfinite(scores).all():
            raise BadRequestError(500, f"model {self._name} {self._version} returned scores that are no numbers")
        return self._answer(request, scores)

    def _answer(self, request: InferRequest, scores: np.ndarray) -> tuple[bytes, int | None]:
        output: dict[str, Any] = {"name": "score", "datatype": "FP64", "shape": scores.shape}
        answer: dict[str, Any] = {"model_name": self._name, "model_version": self._version, "outputs": [output]}
        if request.id:
            answer["id"] = request.id
        asked = [each.parameters.binary_data for each in request.outputs if each.name == "score"]
        if not (request.parameters.binary_data_output if not asked or asked[0] is None else asked[0]):
            output["data"] = scores.tolist()
            return msgspec.json.encode(answer), None
        binary = write_tensor(scores, "FP64")
        output["parameters"] = {"binary_data_size": len(binary)}
        text = msgspec.json.encode(answer)
        return text + binary, len(text)

    def _page(self, method: str, path: str) -> bytes:
        if path not in self._pages and path not in self._infer_paths:
            raise BadRequestError(404, f"there is no {path} here; this scorer serves /v2/models/{self._name}")
        if path in self._infer_paths or method not in ("GET", "HEAD"):
            wanted = "POST" if path in self._infer_paths else "GET"
            raise BadRequestError(405, f"{path} answers {wanted}, not {method}")
        return self._pages[path]

    def _columns(self, inputs: list[Input], arrays: dict[str, Any]) -> tuple[dict[str, Any], int]:
        columns: dict[str, Any] = {}
        for tensor in inputs:
            decoder = self._decoders.get(tensor.name)
            if decoder is None:
                raise BadRequestError(
                    400, f"input {tensor.name!r} is no feature of this model; it takes {list(self._features)}"
                )
            if tensor.name in columns:
                raise BadRequestError(400, f"input {tensor.name!r} is sent twice; each feature is sent once")
            if tensor.name in arrays:
                values = arrays[tensor.name]
            else:
                try:
                    values = decoder.decode(tensor.data)
                except _UNREADABLE as error:
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

    def _matrix(self, inputs: list[Input], arrays: dict[str, Any]) -> tuple[np.ndarray, int]:
        """What the model sees, and how many rows it has."""
        width = len(self._features)
        if self._takes_matrix and len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].shape[1] == width > 1:
            given = arrays.get(inputs[0].name)
            if not isinstance(given, np.ndarray) or not len(given):
                raise BadRequestError(400, f"input {inputs[0].name!r} must hold its rows as a binary tensor of numbers")
            matrix = np.ascontiguousarray(given.reshape(inputs[0].shape), np.float64)
            if not np.isfinite(matrix).all():
                self._check_arrays(dict(zip(self._features, matrix.T, strict=True)))
        else:
            columns, _ = self._columns(inputs, arrays)
            matrix = self._artifact.encode(columns)
            if not np.isfinite(matrix).all():
                self._check_arrays(arrays)
        return matrix, len(matrix)

    def _check_arrays(self, arrays: dict[str, Any]) -> None:
        """Binary tensors have no null: NaN stands for it."""
        for name, values in arrays.items():
            feature = self._features[name]
            if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
                continue
            if np.isinf(values).any():
                raise BadRequestError(400, f"input {name!r} holds an infinity; a {feature.type} is finite")
            if not feature.nullable and np.isnan(values).any():
                raise BadRequestError(400, f"input {name!r} holds NaN, which stands for null; it must not be null")

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
            "outputs": [{"name": "score", "datatype": "FP64", "shape": manifest.shape(-1)}],
            "artifact_digest": self._artifact.digest,
            "kind": manifest.kind,
            **({"classes": manifest.classes} if manifest.classes else {}),
        }


def _decoder(feature: FeatureColumn) -> msgspec.json.Decoder[Any]:
    element = _ELEMENTS[feature.type]
    wanted: Any = element | None if feature.nullable else element
    return msgspec.json.Decoder(list[wanted])


def _second_look(feature: FeatureColumn, tensor: Input, error: Exception) -> list[Any]:
    """Whole numbers written as 3.0 are integers too; anything else is refused with the value that is wrong."""
    try:
        values = msgspec.json.decode(tensor.data)
    except _UNREADABLE:
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


def _check_tensor(feature: FeatureColumn, tensor: Input, rows: int) -> None:
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
