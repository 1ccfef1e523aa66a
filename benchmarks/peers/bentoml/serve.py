"""BentoML with adaptive batching, one service, as its documentation writes it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import bentoml
import joblib
import numpy as np

WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))


@bentoml.service(
    workers=WORKERS, traffic={"timeout": 60, "max_concurrency": 1024}, logging={"access": {"enabled": False}}
)
class Score:
    """The service."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["BENCH_MODEL"])

    @bentoml.api(batchable=True, max_batch_size=4000, max_latency_ms=10_000)
    def predict(self, instances: np.ndarray) -> np.ndarray:
        """Scores of rows."""
        return self.model.predict_proba(np.asarray(instances, dtype=np.float64))[:, 1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", required=True)
    parser.add_argument("--workers", required=True)
    asked = parser.parse_args()
    os.environ.update(BENCH_MODEL=asked.model, BENCH_WORKERS=asked.workers, BENTOML_DO_NOT_TRACK="True")
    here = Path(__file__).parent
    command = ["serve", "serve:Score", "--working-dir", str(here), "--host", "127.0.0.1", "--port", asked.port]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *command])
