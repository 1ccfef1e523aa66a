"""One stack for all tests here, each with a synthetic loan model of its own: real Prefect, MLflow, gateway, worker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deployments.apply import apply
from tests.loop.stack import Stack
from trimtab.ledger import Ledger
from trimtab.models import load_model
from trimtab.services import Supervisor
from trimtab.serving.client import GatewayClient
from trimtab.settings import Settings

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The services of an empty home without models, on free ports, with processes as runtime."""
    home = tmp_path_factory.mktemp("stack") / "home"
    wanted = {
        "TRIMTAB_HOME": str(home),
        "TRIMTAB_MODELS_DIR": str(home.with_name("models")),
        "TRIMTAB_SUITES_DIR": str(TESTS / "expectations"),
        "TRIMTAB_RUNTIME": "process",
        **{f"TRIMTAB_{name}_URL": "http://127.0.0.1:0" for name in ("PREFECT", "MLFLOW", "GATEWAY", "REPORTS")},
    }
    home.with_name("models").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("TRIMTAB_", "PREFECT_", "MLFLOW_"))]:
            patch.delenv(name)
        with Supervisor(Settings.from_env(wanted)) as supervisor:
            yield supervisor.settings


@pytest.fixture
def stack(services: Settings, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack, with a loan model deployed that only this file knows: ``loan-storm`` for test_storm.py."""
    name = f"loan-{request.path.stem.removeprefix('test_').replace('_', '-')}"
    folder = services.models_dir / name
    shutil.copytree(TESTS / "models" / "loan", folder, ignore=shutil.ignore_patterns("__pycache__"))
    spec = (folder / "spec.py").read_text()
    assert spec.count('name="loan"') == 1
    (folder / "spec.py").write_text(spec.replace('name="loan"', f'name="{name}"'))
    apply(services)
    with GatewayClient(services) as gateway, httpx.Client(timeout=90, trust_env=False) as http:
        yield Stack(services, Ledger(services.ledger), gateway, http, load_model(services.models_dir, name))
