"""A whole stack of its own, with the synthetic loan model deployed: real Prefect, MLflow, gateway and worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.apply import apply
from tests.loop.stack import Stack
from trimtab.ledger import Ledger
from trimtab.models import load_model
from trimtab.services import Supervisor
from trimtab.serving.client import GatewayClient
from trimtab.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A stack in an empty home, on free ports, with processes as runtime."""
    for name in [name for name in os.environ if name.startswith(("TRIMTAB_", "PREFECT_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    wanted = {
        "TRIMTAB_HOME": str(tmp_path / "home"),
        "TRIMTAB_MODELS_DIR": str(ROOT / "tests" / "models"),
        "TRIMTAB_SUITES_DIR": str(ROOT / "tests" / "expectations"),
        "TRIMTAB_RUNTIME": "process",
        **{f"TRIMTAB_{name}_URL": "http://127.0.0.1:0" for name in ("PREFECT", "MLFLOW", "GATEWAY", "REPORTS")},
    }
    with Supervisor(Settings.from_env(wanted)) as supervisor:
        settings = supervisor.settings
        apply(settings)
        with GatewayClient(settings) as gateway:
            yield Stack(settings, Ledger(settings.ledger), gateway, load_model(settings.models_dir, "loan"))
