"""MLServer with its scikit-learn runtime and adaptive batching."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--workers", type=int, required=True, help="0: score in the server's own process")
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--batch-time-s", type=float, default=0.001)
asked = parser.parse_args()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


folder = Path(tempfile.mkdtemp(prefix="mlserver-", dir=os.environ.get("BENCH_SCRATCH")))
settings = {
    **{"host": "127.0.0.1", "http_port": asked.port, "grpc_port": free_port(), "metrics_port": free_port()},
    **{"parallel_workers": asked.workers, "debug": False, "metrics_dir": str(folder), "metrics_endpoint": None},
    **{"logging_settings": {"version": 1, "root": {"level": "WARNING"}}, "gzip_enabled": False},
}
model = {
    **{"name": "bench", "implementation": "mlserver_sklearn.SKLearnModel"},
    **{"max_batch_size": asked.batch_size, "max_batch_time": asked.batch_time_s},
    "parameters": {"uri": asked.model, "version": "1", "extra": {"predict_fn": "predict_proba"}},
}
(folder / "settings.json").write_text(json.dumps(settings))
(folder / "model-settings.json").write_text(json.dumps(model))
os.chdir(folder)
os.execv(Path(sys.executable).with_name("mlserver"), ["mlserver", "start", str(folder)])
