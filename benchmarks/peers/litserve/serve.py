"""LitServe with batching."""

from __future__ import annotations

import argparse

import joblib
import litserve
import numpy as np


class Score(litserve.LitAPI):
    """Rows in, scores out; a batch is a list of requests, each of one or more rows."""

    path: str

    def setup(self, device: str) -> None:
        self.model = joblib.load(self.path)

    def decode_request(self, request: dict) -> np.ndarray:
        return np.asarray(request["instances"], dtype=np.float64)

    def batch(self, inputs: list[np.ndarray]) -> tuple[np.ndarray, list[int]]:
        return np.concatenate(inputs), [len(each) for each in inputs]

    def predict(self, batch: tuple[np.ndarray, list[int]] | np.ndarray) -> object:
        if isinstance(batch, np.ndarray):
            return self.model.predict_proba(batch)[:, 1]
        return self.model.predict_proba(batch[0])[:, 1], batch[1]

    def unbatch(self, output: tuple[np.ndarray, list[int]]) -> list[np.ndarray]:
        scores, lengths = output
        return np.split(scores, np.cumsum(lengths)[:-1])

    def encode_response(self, output: np.ndarray) -> dict:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--api-servers", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batch-timeout-s", type=float, default=0.001)
    parser.add_argument("--fast-queue", action="store_true")
    asked = parser.parse_args()
    api = Score(max_batch_size=asked.batch_size, batch_timeout=asked.batch_timeout_s)
    api.path = asked.model
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=asked.workers, fast_queue=asked.fast_queue)
    server.run(
        host="127.0.0.1",
        port=asked.port,
        num_api_servers=asked.api_servers,
        log_level="warning",
        generate_client_file=False,
    )
