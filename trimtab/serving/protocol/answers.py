"""Answers, put together from what a route fixes and what a request adds."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from trimtab.predictions.schema import ID_CHARACTERS
from trimtab.serving.protocol.infer import OUTPUTS
from trimtab.serving.protocol.rows import ALL_AS_JSON, Rows
from trimtab.serving.routes import Route
from trimtab.wire.tensors import write_tensor

_encode = msgspec.json.Encoder().encode
_LENGTH = np.dtype("<u4")
_DATATYPES = {"score": "FP64", "label": "INT64", "prediction_id": "BYTES"}


class Answers:
    """What is answered for one route."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._labelled = route.kind == "binary"
        self._base = {
            "model_name": route.model,
            "model_version": route.version,
            "parameters": {"release_id": route.release_id},
        }
        # The usual answer is one of JSON, with all outputs: its fixed parts are encoded once.
        self._head = _encode(self._base)[:-1] + b',"outputs":['
        self._score = b'{"name":"score","datatype":"FP64","shape":[%d],"data":%b},'
        self._label = b'{"name":"label","datatype":"INT64","shape":[%d],"data":%b},'
        self._ids = b'{"name":"prediction_id","datatype":"BYTES","shape":[%d],"data":%b}]'

    @property
    def outputs(self) -> list[tuple[str, str]]:
        """Name and datatype of each output."""
        return [(name, _DATATYPES[name]) for name in (OUTPUTS if self._labelled else ("score", "prediction_id"))]

    def infer(self, rows: Rows, ids: bytes, scores: np.ndarray) -> tuple[bytes, int | None]:
        """The V2 answer: ``score``, ``label`` of a binary model, ``prediction_id``.

        Parameters
        ----------
        rows : Rows
        ids
            Of n rows, as `id_characters` writes them.
        scores
            float64 of shape (n,).

        Returns
        -------
        tuple
            The body, and the length of its JSON part if binary tensors follow.
        """
        if rows.asked is not ALL_AS_JSON:
            return self._as_asked(rows, ids, scores)
        n = len(scores)
        values = scores.tolist()
        parts = [self._head, self._score % (n, _encode(values))]
        if self._labelled:
            parts.append(self._label % (n, _encode(self._labels(values))))
        parts.append(self._ids % (n, _json_texts(ids)))
        parts.append(b',"id":' + _encode(rows.request_id) + b"}" if rows.request_id else b"}")
        return b"".join(parts), None

    def invocation(self, ids: bytes, scores: np.ndarray) -> bytes:
        """MLflow's answer: a ``predictions`` list with an object a row. The parameters are those of :meth:`infer`."""
        texts, values = _texts(ids), scores.tolist()
        if self._labelled:
            predictions: list[dict[str, Any]] = [
                {"score": score, "label": label, "prediction_id": text}
                for score, label, text in zip(values, self._labels(values), texts, strict=True)
            ]
        else:
            predictions = [{"score": s, "prediction_id": text} for s, text in zip(values, texts, strict=True)]
        route = self._route
        return _encode(
            {
                "predictions": predictions,
                "model_version": route.version,
                "model_name": route.model,
                "release_id": route.release_id,
            }
        )

    def _as_asked(self, rows: Rows, ids: bytes, scores: np.ndarray) -> tuple[bytes, int | None]:
        names = rows.asked.names or [name for name, _ in self.outputs]
        answer: dict[str, Any] = dict(self._base)
        if rows.request_id:
            answer["id"] = rows.request_id
        if "prediction_id" not in names:
            # Whoever asks for the score alone can still name the prediction later.
            answer["parameters"] = {"release_id": self._route.release_id, "prediction_ids": _texts(ids)}
        outputs, tensors = [], []
        for name in names:
            output: dict[str, Any] = {"name": name, "datatype": _DATATYPES[name], "shape": [len(scores)]}
            if name in rows.asked.binary:
                tensors.append(self._tensor(name, ids, scores))
                output["parameters"] = {"binary_data_size": len(tensors[-1])}
            elif name == "prediction_id":
                output["data"] = _texts(ids)
            else:
                output["data"] = scores.tolist() if name == "score" else self._labels(scores.tolist())
            outputs.append(output)
        text = _encode({**answer, "outputs": outputs})
        return (b"".join([text, *tensors]), len(text)) if tensors else (text, None)

    def _tensor(self, name: str, ids: bytes, scores: np.ndarray) -> bytes:
        if name == "prediction_id":
            return _id_tensor(ids)
        return write_tensor(scores if name == "score" else scores >= self._route.decision_threshold, _DATATYPES[name])

    def _labels(self, scores: list[float]) -> list[int]:
        threshold = self._route.decision_threshold
        return [1 if score >= threshold else 0 for score in scores]


def _texts(ids: bytes) -> list[str]:
    text = ids.decode("ascii")
    return [text[start : start + ID_CHARACTERS] for start in range(0, len(text), ID_CHARACTERS)]


def _json_texts(ids: bytes) -> bytes:
    """The JSON of the list of ids."""
    if len(ids) == ID_CHARACTERS:
        return b'["%b"]' % ids
    lines = np.frombuffer(ids, np.uint8).reshape(-1, ID_CHARACTERS)
    quoted = np.empty((len(lines), ID_CHARACTERS + 3), np.uint8)
    quoted[:, 0] = quoted[:, -2] = ord('"')
    quoted[:, -1] = ord(",")
    quoted[:, 1:-2] = lines
    return b"[%b]" % quoted.tobytes()[:-1]


def _id_tensor(ids: bytes) -> bytes:
    """The BYTES tensor of the ids: each after its length."""
    lines = np.frombuffer(ids, np.uint8).reshape(-1, ID_CHARACTERS)
    elements = np.empty((len(lines), _LENGTH.itemsize + ID_CHARACTERS), np.uint8)
    elements[:, : _LENGTH.itemsize] = np.frombuffer(_LENGTH.type(ID_CHARACTERS).astype(_LENGTH).tobytes(), np.uint8)
    elements[:, _LENGTH.itemsize :] = lines
    return elements.tobytes()
