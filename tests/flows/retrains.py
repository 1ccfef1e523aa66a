"""Retrain and watch runs that can be killed: each in a fork of one warm process, on a real Prefect, MLflow and gateway.

Run as a module it is that process: it reads a request a line, forks, and answers how the fork ended. A fork kills
itself with SIGKILL right after the first task that is not among those it is told to let pass.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from trimtab.ledger import Ledger
from trimtab.records import Retraining, Ruling
from trimtab.services.definitions import environment
from trimtab.serving.client import GatewayClient
from trimtab.settings import Settings


@dataclass
class Outcome:
    """How a run ended: completed, failed with an error, or killed; and the tasks that completed before.

    What it returned is in ``retraining`` or, of a watch, in ``ruling``.
    """

    ended: str
    error: str
    tasks: list[str]
    retraining: Retraining | None
    ruling: Ruling | None = None


class Retrains:
    """Starts retrain runs of the stack that the settings name."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ledger = Ledger(settings.ledger)
        self.gateway = GatewayClient(settings)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.retrains"],
            env={**os.environ, **environment(self.settings), "PREFECT_LOGGING_LEVEL": "INFO"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self.gateway.close()

    def run(
        self,
        as_of: datetime,
        key: str,
        let_pass: list[str] | None = None,
        env: dict[str, str] | None = None,
        model: str = "loan",
    ) -> Outcome:
        """Retrain a model for the manual cause of that key.

        With ``let_pass`` the run is killed after the first task that is not in it; ``env`` are variables of this run
        alone.
        """
        return self._ask({"as_of": as_of.isoformat(), "key": key, "let_pass": let_pass, "env": env or {}}, model)

    def watch(self, model: str, as_of: datetime, env: dict[str, str] | None = None) -> Outcome:
        """Judge the window of a model that ends at ``as_of``; ``env`` are variables of this run alone."""
        return self._ask({"as_of": as_of.isoformat(), "key": None, "let_pass": None, "env": env or {}}, model)

    def _ask(self, request: dict[str, Any], model: str) -> Outcome:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {**request, "model": model}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        retraining, ruling = (answer.pop(name) for name in ("retraining", "ruling"))
        return Outcome(
            **answer,
            retraining=None if retraining is None else Retraining.model_validate_json(retraining),
            ruling=None if ruling is None else Ruling.model_validate_json(ruling),
        )


def _serve() -> None:
    for heavy in (
        "great_expectations",
        "mlflow.pyfunc",
        "sklearn.ensemble",
        "skops.io",
        "treelite",
        "onnxruntime",
        "flows.retrain",
    ):
        importlib.import_module(heavy)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _run(request, writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            lines = pipe.read().splitlines()
        _, status = os.waitpid(child, 0)
        last: dict[str, Any] = {"ended": "killed", "error": "", "retraining": None, "ruling": None}
        if os.WIFEXITED(status) and lines:
            last = json.loads(lines.pop())
        answers.write(json.dumps({**last, "tasks": lines}) + "\n")
        answers.flush()


def _run(request: dict[str, Any], writing: int) -> None:
    os.environ.update(request["env"])
    from flows.retrain import retrain

    completed = _Completed(writing, request["let_pass"])
    logging.getLogger("prefect.task_runs").addHandler(completed)
    last: dict[str, Any] = {"ended": "completed", "error": "", "retraining": None, "ruling": None}
    model, as_of = request["model"], datetime.fromisoformat(request["as_of"])
    try:
        if request["key"] is None:
            from flows.watch import watch

            ruling = watch(model, as_of)
            last["ruling"] = ruling and ruling.model_dump_json()
        else:
            last["retraining"] = retrain(model, as_of, cause={"key": request["key"]}).model_dump_json()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
        last.update(ended="failed", error=f"{type(error).__name__}: {error}")
    os.write(writing, (json.dumps(last) + "\n").encode())
    os._exit(0)


class _Completed(logging.Handler):
    """Writes each task that completed, numbered where a name comes again, and kills this process as it is told to."""

    def __init__(self, writing: int, let_pass: list[str] | None) -> None:
        super().__init__()
        self._writing, self._let_pass, self._seen = writing, let_pass, Counter[str]()

    def emit(self, record: logging.LogRecord) -> None:
        if "Completed()" not in record.getMessage():
            return
        name = str(getattr(record, "task_run_name", "?"))
        self._seen[name] += 1
        label = name if self._seen[name] == 1 else f"{name} ({self._seen[name]})"
        os.write(self._writing, f"{label}\n".encode())
        if self._let_pass is not None and label not in self._let_pass:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    _serve()
