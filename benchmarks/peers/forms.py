"""Forms of a request: how rows are written for an address, and how scores are read from its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from benchmarks.peers.subject import feature_names

_JSON = {"content-type": "application/json"}
_encode = msgspec.json.encode
Answer = tuple[Mapping[str, str], bytes]
"""Headers (names in lower case) and body."""


@dataclass(frozen=True)
class Form:
    """One way to ask.

    ``write`` turns rows of shape (n, features) into headers and a body; ``read`` an answer into scores of shape (n,).
    """

    name: str
    path: str
    write: Callable[[np.ndarray], tuple[dict[str, str], bytes]]
    read: Callable[[Answer], np.ndarray]
    binary: bool = field(default=False)

    def request(self, rows: np.ndarray, authority: str) -> bytes:
        """The whole HTTP request."""
        headers, body = self.write(rows)
        lines = [f"POST {self.path} HTTP/1.1", f"Host: {authority}", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def v2_columns(path: str) -> Form:
    """V2, a tensor a feature."""

    def write(rows: np.ndarray) -> tuple[dict[str, str], bytes]:
        shape = [len(rows)]
        tensors = [
            {"name": name, "shape": shape, "datatype": "FP64", "data": rows[:, at].tolist()}
            for at, name in enumerate(feature_names())
        ]
        return dict(_JSON), _encode({"inputs": tensors})

    return Form("V2, a tensor a feature", path, write, _read_v2)


def v2_matrix(path: str, read: Callable[[Answer], np.ndarray] | None = None) -> Form:
    """V2, one tensor of shape [n, features]."""

    def write(rows: np.ndarray) -> tuple[dict[str, str], bytes]:
        data = rows.ravel().tolist()
        tensor = {"name": "input", "shape": list(rows.shape), "datatype": "FP64", "data": data}
        return dict(_JSON), _encode({"inputs": [tensor]})

    return Form("V2, one tensor", path, write, read or _read_v2)


def v2_binary(path: str) -> Form:
    """V2, one binary tensor of shape [n, features] in, binary tensors out."""

    def write(rows: np.ndarray) -> tuple[dict[str, str], bytes]:
        data = np.ascontiguousarray(rows, dtype="<f8").tobytes()
        parameters = {"binary_data_size": len(data)}
        tensor = {"name": "input", "shape": list(rows.shape), "datatype": "FP64", "parameters": parameters}
        head = _encode({"parameters": {"binary_data_output": True}, "inputs": [tensor]})
        headers = {
            "content-type": "application/octet-stream",
            "inference-header-content-length": str(len(head)),
        }
        return headers, head + data

    return Form("V2, binary tensor", path, write, _read_v2, binary=True)


def instances(path: str, key: str = "instances") -> Form:
    """``{"instances": [[...]]}``."""

    def write(rows: np.ndarray) -> tuple[dict[str, str], bytes]:
        return dict(_JSON), _encode({key: rows.tolist()})

    return Form(f"`{key}`", path, write, _read_plain)


def raw_doubles(path: str) -> Form:
    """Nothing but float64 values, in and out."""

    def write(rows: np.ndarray) -> tuple[dict[str, str], bytes]:
        return {"content-type": "application/octet-stream"}, np.ascontiguousarray(rows, dtype="<f8").tobytes()

    def read(answer: Answer) -> np.ndarray:
        return np.frombuffer(answer[1], dtype="<f8")

    return Form("raw float64", path, write, read, binary=True)


def data_frame(path: str) -> Form:
    """MLflow's ``dataframe_split``."""

    def write(rows: np.ndarray) -> tuple[dict[str, str], bytes]:
        return dict(_JSON), _encode({"dataframe_split": {"columns": feature_names(), "data": rows.tolist()}})

    return Form("`dataframe_split`", path, write, _read_plain)


def _read_plain(answer: Answer) -> np.ndarray:
    """``[s]``, ``{"predictions": [s]}``, of scores, of rows of two probabilities, or of objects with a score."""
    found: Any = msgspec.json.decode(answer[1])
    values = found["predictions"] if isinstance(found, dict) else found
    if values and isinstance(values[0], dict):
        values = [value["score"] for value in values]
    return _last_column(np.asarray(values, dtype=np.float64))


def _read_v2(answer: Answer) -> np.ndarray:
    headers, body = answer
    length = int(headers.get("inference-header-content-length", len(body)))
    place = length
    for output in msgspec.json.decode(body[:length])["outputs"]:
        size = (output.get("parameters") or {}).get("binary_data_size", 0)
        if output["name"] in ("score", "predict_proba"):
            if output.get("data"):
                return _last_column(np.asarray(output["data"], dtype=np.float64).reshape(output["shape"]))
            return _last_column(np.frombuffer(body[place : place + size], dtype="<f8").reshape(output["shape"]))
        place += size
    raise ValueError(f"the answer has no output 'score': {body[:300]!r}")


def _last_column(values: np.ndarray) -> np.ndarray:
    """Scores of shape (n,), also where both probabilities (n, 2) or a column (n, 1) came."""
    return values if values.ndim == 1 else values.reshape(len(values), -1)[:, -1]
