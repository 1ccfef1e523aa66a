"""What the orchestration of a retraining costs, how fast the loop closes, and what the services weigh.

One stack with a real Prefect server, MLflow, gateway and worker in a home of its own. In this one warm process the
retrain flow and the same steps as plain function calls (each task's own function, no engine) take turns; both read,
validate, train, evaluate, register, build, roll out and record, on moments a step apart, so that nothing is reused.
Every gate is opened so that each of them ends in a release. Then an event is emitted as `watch` does, and the clock
runs until the gateway serves the new version.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import psutil

from benchmarks.figures import Figures, Table
from trimtab.ledger import Ledger
from trimtab.records import Action, Release, Ruling
from trimtab.services import Supervisor, environment
from trimtab.serving.client import GatewayClient
from trimtab.settings import Settings

ROOT = Path(__file__).parents[1]
SUBJECTS = {
    "flight-delay": ("deployments/models/flight_delay", "expectations", datetime(2013, 6, 1, tzinfo=UTC)),
    "loan": ("tests/models/loan", "tests/expectations", datetime(2024, 2, 10, tzinfo=UTC)),
}
OPEN_GATES = """
from .closed import SPEC as CLOSED

_OPEN = {"minimum_gain": -1e9, "floors": {}, "ceilings": {}, "maximum_slice_loss": None}
SPEC = CLOSED.model_copy(update={"gates": CLOSED.gates.model_copy(update=_OPEN)})
"""


@dataclass
class Bench:
    """The stack under measurement; ``moment`` moves on with each retraining."""

    model: str
    moment: datetime
    settings: Settings
    supervisor: Supervisor

    def next_moment(self) -> datetime:
        self.moment += timedelta(hours=12)
        return self.moment


def run(arguments: list[str]) -> Figures:
    """Measure; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="benchmarks loop", description=__doc__)
    parser.add_argument("--model", choices=sorted(SUBJECTS), default="flight-delay")
    parser.add_argument("--pairs", type=int, default=5, help="turns of flow and plain calls (default %(default)s)")
    parser.add_argument("--runtime", choices=("process", "docker"), default="process")
    asked = parser.parse_args(arguments)
    with _stack(asked.model, asked.runtime) as bench:
        # Once each unmeasured: imports, the environment's cache, the first of everything.
        _flow(bench)
        _plain(bench)
        turns = []
        for turn in range(asked.pairs):
            print(f"turn {turn + 1} of {asked.pairs}")
            turns.append((_flow(bench), _plain(bench)) if turn % 2 == 0 else (_plain(bench), _flow(bench))[::-1])
        memory = _memory(bench)
        print("decay event to new version in service")
        closing = _close_the_loop(bench)
    return _figures(asked, turns, closing, memory)


@contextlib.contextmanager
def _stack(model: str, runtime: str) -> Iterator[Bench]:
    folder, suites, moment = SUBJECTS[model]
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as scratch:
        models = Path(scratch) / "models"
        own = models / model.replace("-", "_")
        shutil.copytree(ROOT / folder, own, ignore=shutil.ignore_patterns("__pycache__"))
        (own / "spec.py").rename(own / "closed.py")
        (own / "spec.py").write_text(OPEN_GATES)
        urls = {f"TRIMTAB_{name}_URL": "http://127.0.0.1:0" for name in ("PREFECT", "MLFLOW", "GATEWAY", "REPORTS")}
        places = {"TRIMTAB_HOME": f"{scratch}/home", "TRIMTAB_MODELS_DIR": str(models)}
        settings = Settings.from_env(
            {**urls, **places, "TRIMTAB_SUITES_DIR": str(ROOT / suites), "TRIMTAB_RUNTIME": runtime}
        )
        with Supervisor(settings) as supervisor:
            os.environ.update(environment(supervisor.settings))
            # Only now: Prefect reads its settings when it is imported.
            from deployments.apply import apply

            apply(supervisor.settings)
            yield Bench(model, moment, supervisor.settings, supervisor)


@dataclass(frozen=True)
class Timing:
    """Seconds of the whole, and of each step by its task's name."""

    total_s: float
    steps_s: dict[str, float]


def _flow(bench: Bench) -> Timing:
    from prefect import Task

    from flows.retrain import retrain

    with _timed_calls(Task.__call__) as steps:
        start = time.perf_counter()
        done = retrain(bench.model, as_of=bench.next_moment(), reason="benchmark")
        total = time.perf_counter() - start
    assert done.release_id, "every gate is open: a benchmark's retraining must end in a release"
    return Timing(total, dict(steps))


def _plain(bench: Bench) -> Timing:
    from prefect.logging import disable_run_logger

    from flows.retrain import retrain

    def plain(task: Any, *arguments: Any, **named: Any) -> Any:
        return task.fn(*arguments, **named)

    cause = {"key": f"benchmark {bench.next_moment()}"}
    with disable_run_logger(), _timed_calls(plain) as steps:
        start = time.perf_counter()
        done = retrain.fn(bench.model, as_of=bench.moment, reason="benchmark", cause=cause)
        total = time.perf_counter() - start
    assert done.release_id, "every gate is open: a benchmark's retraining must end in a release"
    return Timing(total, dict(steps))


@contextlib.contextmanager
def _timed_calls(call: Any) -> Iterator[dict[str, float]]:
    """Within it tasks are called by ``call``, and the seconds of each are added up by its name."""
    from prefect import Task

    steps: dict[str, float] = defaultdict(float)

    def timed(task: Any, *arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(task, *arguments, **named)
        finally:
            steps[task.name] += time.perf_counter() - start

    with mock.patch.object(Task, "__call__", timed):
        yield steps


def _close_the_loop(bench: Bench) -> dict[str, float]:
    """Rule, emit, and wait until the gateway serves another version; seconds of each stretch."""
    ledger = Ledger(bench.settings.ledger)
    before = ledger.latest(Release, bench.model)
    assert before is not None
    ruling = Ruling(
        **{"id": "ruling-benchmark", "model": bench.model, "release_id": before.id, "validation_id": None},
        **{"start": bench.moment, "end": bench.next_moment(), "as_of": bench.moment, "policy_digest": "benchmark"},
        **{"action": Action.RETRAIN, "reason": "benchmark", "signals": ()},
    )
    ledger.append(ruling)
    payload = {"ruling_id": ruling.id, "model": bench.model, "as_of": ruling.as_of.isoformat(), "reason": "benchmark"}
    from prefect.events import emit_event

    resource = {"prefect.resource.id": f"trimtab.model.{bench.model}", "prefect.resource.name": bench.model}
    emitted = datetime.now(UTC)
    emit_event("trimtab.ruling.retrain", resource=resource, payload=payload)
    with GatewayClient(bench.settings) as gateway:
        deadline = time.monotonic() + 300
        while gateway.metadata(bench.model)["route"]["version"] == before.version:
            if time.monotonic() > deadline:
                raise TimeoutError("no new version came into service within 300 s of the event")
            time.sleep(0.02)
    serving = datetime.now(UTC)
    run = _automated_run(bench)
    training = _task_seconds(bench, run["id"], "train")
    created, started = (datetime.fromisoformat(run[name]) for name in ("created", "start_time"))
    return {
        "event_to_run_s": (created - emitted).total_seconds(),
        "run_to_flow_body_s": (started - created).total_seconds(),
        "run_to_serving_s": (serving - created).total_seconds(),
        "training_s": training,
        "run_to_serving_less_training_s": (serving - created).total_seconds() - training,
    }


def _automated_run(bench: Bench) -> dict[str, Any]:
    wanted = {"flow_runs": {"parent_task_run_id": None}, "deployments": {"name": {"any_": [bench.model]}}}
    runs = _prefect(bench, "/flow_runs/filter", wanted)
    return next(run for run in runs if (run["created_by"] or {}).get("type") == "AUTOMATION")


def _task_seconds(bench: Bench, run_id: str, name: str) -> float:
    """Seconds of a run's tasks of that name, once Prefect has recorded them."""
    deadline = time.monotonic() + 30
    while True:
        found = _prefect(bench, "/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run_id]}}})
        own = [each for each in found if each["task_key"].split("-")[0].endswith(name) or each["name"].startswith(name)]
        if own and all(each["end_time"] for each in own):
            return sum(each["total_run_time"] for each in own)
        if time.monotonic() > deadline:
            raise TimeoutError(f"Prefect has no ended task {name!r} of run {run_id}; it has {json.dumps(found)[:500]}")
        time.sleep(0.2)


def _prefect(bench: Bench, path: str, body: dict[str, Any]) -> Any:
    return httpx.post(f"{bench.settings.prefect_api_url}{path}", json=body, timeout=30).raise_for_status().json()


def _memory(bench: Bench) -> dict[str, float]:
    """Resident MiB of each service with its children, and of the scorer."""

    def resident(process: psutil.Process) -> float:
        return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 2**20

    weights = {name: resident(psutil.Process(pid)) for name, pid in bench.supervisor.process_ids().items()}
    scorers = [
        each
        for each in psutil.process_iter(["cmdline"])
        if "trimtab.scoring" in (each.info["cmdline"] or [])
        and str(bench.settings.home) in " ".join(each.info["cmdline"])
    ]
    if scorers:
        weights["scorer"] = sum(resident(each) for each in scorers)
    return weights


def _figures(
    asked: argparse.Namespace, turns: list[tuple[Timing, Timing]], closing: dict[str, float], memory: dict[str, float]
) -> Figures:
    flow_s = statistics.median(flow.total_s for flow, _ in turns)
    plain_s = statistics.median(plain.total_s for _, plain in turns)
    names = sorted({name for _, plain in turns for name in plain.steps_s})

    def step(index: int, name: str) -> float:
        return statistics.median(turn[index].steps_s.get(name, 0.0) for turn in turns)

    rest = (flow_s - sum(step(0, name) for name in names), plain_s - sum(step(1, name) for name in names))
    steps = {name: (step(0, name), step(1, name)) for name in sorted(names, key=lambda name: -step(1, name))}
    rows = [*steps.items(), ("(between the steps)", rest), ("whole", (flow_s, plain_s))]
    tables = (
        Table(
            f"retrain {asked.model}, {asked.runtime} releases, median of {asked.pairs}",
            ("step", "flow s", "plain s", "part of plain"),
            tuple((name, f"{a:.3f}", f"{b:.3f}", f"{b / plain_s:.0%}") for name, (a, b) in rows),
        ),
        Table("decay event to service", ("stretch", "s"), tuple((name, f"{s:.2f}") for name, s in closing.items())),
        Table("memory", ("service", "MiB"), tuple((name, f"{mib:.0f}") for name, mib in memory.items())),
    )
    values = {
        **{"flow_s": [flow.total_s for flow, _ in turns], "plain_s": [plain.total_s for _, plain in turns]},
        "steps_s": {name: {"flow": a, "plain": b} for name, (a, b) in steps.items()},
        **{"closing": closing, "memory_mib": memory},
    }
    notes = ("aims: the ratio at most 1.15; run_to_serving_less_training_s at most 20 s with the environment cached",)
    return Figures(
        tables, values, "retrain flow's wall time over that of the same steps as plain calls", flow_s / plain_s, notes
    )
