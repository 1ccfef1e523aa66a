"""Answers, put together from what a route fixes and what a request adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from trimtab.serving.protocol.infer import OUTPUTS
from trimtab.serving.protocol.rows import ALL_AS_JSON, Rows
from trimtab.serving.routes import Route
from trimtab.wire.tensors import write_tensor

_encode = msgspec.json.Encoder().encode
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

    def infer(self, rows: Rows, ids: Sequence[str], scores: Sequence[float]) -> tuple[bytes, int | None]:
        """The V2 answer: ``score``, ``label`` of a binary model, ``prediction_id``.

        Returns
        -------
        tuple
            The body, and the length of its JSON part if binary tensors follow.
        """
        if rows.asked is not ALL_AS_JSON:
            return self._as_asked(rows, ids, scores)
        n = len(scores)
        parts = [self._head, self._score % (n, _encode(scores))]
        if self._labelled:
            parts.append(self._label % (n, _encode(self._labels(scores))))
        parts.append(self._ids % (n, _encode(ids)))
        parts.append(b',"id":' + _encode(rows.request_id) + b"}" if rows.request_id else b"}")
        return b"".join(parts), None

    def invocation(self, ids: Sequence[str], scores: Sequence[float]) -> bytes:
        """MLflow's answer: a ``predictions`` list with an object a row."""
        if self._labelled:
            predictions: list[dict[str, Any]] = [
                {"score": score, "label": label, "prediction_id": text}
                for score, label, text in zip(scores, self._labels(scores), ids, strict=True)
            ]
        else:
            predictions = [{"score": s, "prediction_id": text} for s, text in zip(scores, ids, strict=True)]
        route = self._route
        return _encode(
            {
                "predictions": predictions,
                "model_version": route.version,
                "model_name": route.model,
                "release_id": route.release_id,
            }
        )

    def _as_asked(self, rows: Rows, ids: Sequence[str], scores: Sequence[float]) -> tuple[bytes, int | None]:
        names = rows.asked.names or [name for name, _ in self.outputs]
        answer: dict[str, Any] = dict(self._base)
        if rows.request_id:
            answer["id"] = rows.request_id
        if "prediction_id" not in names:
            # Whoever asks for the score alone can still name the prediction later.
            answer["parameters"] = {"release_id": self._route.release_id, "prediction_ids": list(ids)}
        outputs, binary = [], b""
        for name in names:
            values: Any = {"score": scores, "label": self._labels(scores), "prediction_id": ids}[name]
            output: dict[str, Any] = {"name": name, "datatype": _DATATYPES[name], "shape": [len(scores)]}
            if name in rows.asked.binary:
                tensor = write_tensor(values if name == "prediction_id" else np.asarray(values), _DATATYPES[name])
                output["parameters"] = {"binary_data_size": len(tensor)}
                binary += tensor
            else:
                output["data"] = values
            outputs.append(output)
        text = _encode({**answer, "outputs": outputs})
        return (text + binary, len(text)) if binary else (text, None)

    def _labels(self, scores: Sequence[float]) -> list[int]:
        threshold = self._route.decision_threshold
        return [1 if score >= threshold else 0 for score in scores]
