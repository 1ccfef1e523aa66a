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
        self._labelled = route.kind != "regression"
        self._classes = route.classes
        self._datatypes = {**_DATATYPES, "label": "BYTES"} if route.classes else _DATATYPES
        self._parameters = {"release_id": route.release_id} | ({"classes": route.classes} if route.classes else {})
        self._base = {"model_name": route.model, "model_version": route.version, "parameters": self._parameters}
        # The usual answer is one of JSON, with all outputs: its fixed parts are encoded once.
        self._head = _encode(self._base)[:-1] + b',"outputs":['
        self._score = b'{"name":"score","datatype":"FP64","shape":[%d],"data":%b},'
        self._label = b'{"name":"label","datatype":"INT64","shape":[%d],"data":%b},'
        if route.classes:
            self._score = self._score.replace(b"[%d]", b"[%%d,%d]" % len(route.classes))
            self._label = self._label.replace(b"INT64", b"BYTES")
        self._ids = b'{"name":"prediction_id","datatype":"BYTES","shape":[%d],"data":%b}]'
        # Of one row, all of it is: what is left are the score, the label and the id.
        self._single = self._head.replace(b"%", b"%%")
        if not route.classes:
            label = self._label % (1, b"[%d]") if self._labelled else b""
            self._single += self._score % (1, b"[%b]") + label + self._ids % (1, b'["%b"]')

    @property
    def outputs(self) -> list[tuple[str, str, list[int]]]:
        """Name, datatype and shape of each output; -1 is the number of rows."""
        names = OUTPUTS if self._labelled else ("score", "prediction_id")
        return [(name, self._datatypes[name], self._shape(name, -1)) for name in names]

    def infer(self, rows: Rows, ids: bytes, scores: np.ndarray) -> tuple[bytes, int | None]:
        """The V2 answer: ``score`` (a number a row, of several classes a list), ``label`` but of a regression,
        ``prediction_id``.

        Parameters
        ----------
        rows : Rows
        ids
            Of n rows, as `id_characters` writes them.
        scores
            float64 of shape (n,), of several classes (n, classes).

        Returns
        -------
        tuple
            The body, and the length of its JSON part if binary tensors follow.
        """
        if rows.asked is not ALL_AS_JSON:
            return self._as_asked(rows, ids, scores)
        n = len(scores)
        values = scores.tolist()
        end = b',"id":%b}' % _encode(rows.request_id) if rows.request_id else b"}"
        if n == 1 and not self._classes:
            score = repr(values[0]).encode()
            fields = (score, *self._labels(values), ids) if self._labelled else (score, ids)
            return self._single % fields + end, None
        parts = [self._head, self._score % (n, _encode(values))]
        if self._labelled:
            parts.append(self._label % (n, _encode(self._labels(values))))
        parts.append(self._ids % (n, _json_texts(ids)))
        parts.append(end)
        return b"".join(parts), None

    def invocation(self, ids: bytes, scores: np.ndarray) -> bytes:
        """MLflow's answer: a ``predictions`` list with an object a row; ``score`` is by class where there are several.

        The parameters are those of :meth:`infer`.
        """
        texts, values = _texts(ids), scores.tolist()
        if self._labelled:
            predictions: list[dict[str, Any]] = [
                {"score": score, "label": label, "prediction_id": text}
                for score, label, text in zip(self._named(values), self._labels(values), texts, strict=True)
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
        names = rows.asked.names or [name for name, *_ in self.outputs]
        answer: dict[str, Any] = dict(self._base)
        if rows.request_id:
            answer["id"] = rows.request_id
        if "prediction_id" not in names:
            # Whoever asks for the score alone can still name the prediction later.
            answer["parameters"] = {**self._parameters, "prediction_ids": _texts(ids)}
        outputs, tensors = [], []
        for name in names:
            output: dict[str, Any] = {
                "name": name,
                "datatype": self._datatypes[name],
                "shape": self._shape(name, len(scores)),
            }
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
        if name == "score":
            return write_tensor(scores, self._datatypes[name])
        labels = self._labels(scores.tolist()) if self._classes else scores >= self._route.decision_threshold
        return write_tensor(labels, self._datatypes[name])

    def _shape(self, name: str, rows: int) -> list[int]:
        return [rows, len(self._classes)] if name == "score" and self._classes else [rows]

    def _named(self, scores: list[Any]) -> list[Any]:
        return [dict(zip(self._classes, row, strict=True)) for row in scores] if self._classes else scores

    def _labels(self, scores: list[Any]) -> list[Any]:
        """Of each row: its class's name where there are several, else 1 where the threshold is reached and 0."""
        if self._classes:
            return [self._classes[place] for place in np.argmax(scores, axis=1)]
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
