"""Who takes part, each in its own natural and fastest honest form.

How many workers each has, and the sizes and times of its batches, were tried on two cores at 64 connections and with
1,000 rows; what was fastest at 64 connections stands here.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import forms
from benchmarks.peers.environments import HERE, PeerError, python_of, version_of
from benchmarks.peers.forms import Form
from benchmarks.peers.processes import Server, free_port
from benchmarks.peers.subject import Subject


@dataclass(frozen=True)
class Peer:
    """One server.

    Parameters
    ----------
    name : str
        For people and ``--peers``.
    environment : str
        Its folder here, and its environment.
    package : str
        Whose version is shown.
    setup : str
        How it is set up, in a few words.
    arguments : tuple of str
        For its ``serve.py``, beside model and port.
    forms : tuple of Form
        The ways to ask it; the first is its natural one.
    saved : str
        Name of what ``prepare.py`` saved that it serves; empty: the estimator's file.
    threads : int
        Threads that the numeric libraries may use in each process.
    """

    name: str
    environment: str
    package: str
    setup: str
    arguments: tuple[str, ...]
    forms: tuple[Form, ...]
    saved: str = ""
    threads: int = 1

    @property
    def version(self) -> str:
        """Of its package."""
        return version_of(self.environment, self.package)

    def prepare(self, subject: Subject, scratch: Path) -> None:
        """Install its packages, and save the model in its own format if it has one."""
        python = python_of(self.environment)
        script, folder = HERE / self.environment / "prepare.py", self._saved_dir(scratch)
        if not script.exists() or folder.exists():
            return
        done = subprocess.run(
            [python, script, subject.path, folder], env=_environment(1), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise PeerError(f"{self.name}: the model cannot be saved: {done.stderr[-800:]}")

    def start(self, subject: Subject, scratch: Path, server: Server) -> str:
        """Start it; returns its address at once."""
        model, port = self._saved_dir(scratch) / self.saved if self.saved else subject.path, free_port()
        command = [str(python_of(self.environment)), str(HERE / self.environment / "serve.py")]
        command += ["--model", str(model), "--port", str(port), *self.arguments]
        folder = scratch / f"{self.name}-run"
        folder.mkdir(exist_ok=True)
        server.start(command, {**_environment(self.threads), "BENCH_SCRATCH": str(folder)}, folder)
        return f"http://127.0.0.1:{port}"

    def _saved_dir(self, scratch: Path) -> Path:
        return scratch / f"{self.environment}-models"


def _environment(threads: int) -> dict[str, str]:
    """Ours, less what would point a peer at our packages or services, and with telemetry off."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "TRIM"))}
    counts = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL")}
    quiet = {"DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**kept, **counts, **quiet}


PEERS: tuple[Peer, ...] = (
    Peer(
        name="mlflow-frame",
        environment="mlflow",
        package="mlflow",
        setup="mlflow models serve, signature of columns, 2 workers",
        arguments=("--workers", "2"),
        forms=(forms.data_frame("/invocations"),),
        saved="columns",
    ),
    Peer(
        name="mlflow",
        environment="mlflow",
        package="mlflow",
        setup="mlflow models serve, signature of a tensor, 2 workers",
        arguments=("--workers", "2"),
        forms=(forms.instances("/invocations", "inputs"),),
        saved="tensor",
    ),
    Peer(
        name="fastapi",
        environment="fastapi",
        package="fastapi",
        setup="async def, msgspec, 2 workers of uvicorn with uvloop",
        arguments=("--workers", "2"),
        forms=(forms.instances("/predict"), forms.raw_doubles("/predict")),
    ),
    Peer(
        name="mlserver",
        environment="mlserver",
        package="mlserver",
        setup="scikit-learn runtime, adaptive batching (64 requests, 1 ms), in process",
        arguments=("--workers", "0"),
        forms=(forms.v2_matrix("/v2/models/bench/infer"),),
    ),
    Peer(
        name="bentoml",
        environment="bentoml",
        package="bentoml",
        setup="adaptive batching, 2 workers",
        arguments=("--workers", "2"),
        forms=(forms.instances("/predict"),),
    ),
    Peer(
        name="litserve",
        environment="litserve",
        package="litserve",
        setup="batching (64 requests, 1 ms), 1 worker",
        arguments=("--workers", "1"),
        forms=(forms.instances("/predict"),),
    ),
    Peer(
        name="kserve",
        environment="kserve",
        package="kserve",
        setup="custom model, 1 worker (2 cost it three times the processor time)",
        arguments=("--workers", "1"),
        forms=(forms.v2_matrix("/v2/models/bench/infer"), forms.v2_binary("/v2/models/bench/infer")),
    ),
)
