"""`mlflow models serve` itself, in this environment."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True, help="a folder that prepare.py saved")
parser.add_argument("--port", required=True)
parser.add_argument("--workers", required=True)
asked = parser.parse_args()
command = ["models", "serve", "-m", asked.model, "-p", asked.port, "-w", asked.workers, "--env-manager", "local"]
# `mlflow models serve` starts the uvicorn that it finds on the path.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
os.execv(sys.executable, [sys.executable, "-m", "mlflow", *command])
