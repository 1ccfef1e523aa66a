"""The KServe SDK: a custom model that speaks V2, as its documentation writes it."""

from __future__ import annotations

import argparse

import joblib
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer, logging
from kserve.utils.utils import generate_uuid


class Score(Model):
    """One tensor [n, features] in, one tensor of scores out; binary where the request asks for it."""

    def __init__(self, path: str) -> None:
        super().__init__("bench")
        self.path = path
        self.load()

    def load(self) -> bool:
        self.model = joblib.load(self.path)
        self.ready = True
        return True

    async def predict(self, payload: InferRequest, headers: dict | None = None, response_headers=None) -> InferResponse:
        scores = self.model.predict_proba(payload.inputs[0].as_numpy())[:, 1]
        output = InferOutput("score", [len(scores)], "FP64")
        output.set_data_from_numpy(scores, binary_data=bool(payload.use_binary_outputs))
        return InferResponse(generate_uuid(), self.name, [output], use_binary_outputs=bool(payload.use_binary_outputs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    asked = parser.parse_args()
    logging.configure_logging()
    ModelServer(
        http_port=asked.port,
        workers=asked.workers,
        enable_grpc=False,
        enable_docs_url=False,
        enable_latency_logging=False,
        access_log_format=None,
    ).start([Score(asked.model)])
