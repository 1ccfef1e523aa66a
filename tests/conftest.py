"""What many tests need: settings of an empty home with the synthetic loan model, and a real MLflow server."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Read once, as numpy and scikit-learn are imported. The test processes share the cores: of a second thread for a few
# hundred rows nothing comes but waiting, 0.4 s of CPU time where 0.02 s do (as trimtab.services does for its own).
os.environ.setdefault("OMP_NUM_THREADS", "1")

import httpx
import hypothesis
import pytest
from xdist.remote import Producer

from tests.scheduling import ByFile, position
from trimtab.services import Service, Supervisor, stack_services
from trimtab.settings import Settings

TESTS = Path(__file__).parent
_ANSWER_WITHIN_S = 120
_DRAIN_S = 10

# No example fails for being slow, nor for being slowly made: a busy machine would fail tests that hold.
hypothesis.settings.register_profile("trimtab", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("trimtab")


# Nor does a call for being answered late: httpx waits 5 s for each part of an answer unless it is told otherwise.
_by_default = inspect.signature(httpx.get).parameters["timeout"].default
assert isinstance(_by_default, httpx.Timeout)
_by_default.connect = _by_default.read = _by_default.write = _by_default.pool = _ANSWER_WITHIN_S


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: position(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="module", autouse=True)
def prefect_is_done() -> Iterator[None]:
    """Prefect's clients in this process end with the module: they would go on asking its server in the next.

    Bounded: one that the garbage collector ended wakes nobody who waits for it.
    """
    yield
    if worker := sys.modules.get("prefect.events.worker"):
        worker.EventsWorker.drain_all(timeout=_DRAIN_S)  # of all services, not of events alone


@pytest.fixture
def settings_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """This process's settings: an empty home, the test models and suites, local processes as runtime."""
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRIMTAB_MODELS_DIR", str(TESTS / "models"))
    monkeypatch.setenv("TRIMTAB_SUITES_DIR", str(TESTS / "expectations"))
    monkeypatch.setenv("TRIMTAB_RUNTIME", "process")
    return Settings.from_env()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow tracking server and registry, on a free port, with a database of its own."""
    home = tmp_path_factory.mktemp("mlflow")
    settings = Settings.from_env({"TRIMTAB_HOME": str(home), "TRIMTAB_MLFLOW_URL": "http://127.0.0.1:0"})

    def only_mlflow(settings: Settings, worker: str) -> list[Service]:
        return [service for service in stack_services(settings, worker) if service.name == "mlflow"]

    with Supervisor(settings, services=only_mlflow) as supervisor:
        yield supervisor.settings.mlflow_url
