"""The notebook retrains a model both ways against a running stack, and reads the result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from deployments.apply import apply
from trimtab.ledger import Ledger
from trimtab.records import Cause, Release, Retraining
from trimtab.services import Supervisor
from trimtab.settings import Settings

ROOT = Path(__file__).parents[2]
PARAMETERS = """
from datetime import UTC, datetime
MODEL, AS_OF, LATER = "loan", datetime(2024, 2, 20, tzinfo=UTC), datetime(2024, 3, 12, tzinfo=UTC)
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A stack with the loan model; a process finds it by TRIMTAB_HOME alone."""
    env = {
        "TRIMTAB_HOME": str(tmp_path),
        "TRIMTAB_MODELS_DIR": str(ROOT / "tests" / "models"),
        "TRIMTAB_SUITES_DIR": str(ROOT / "tests" / "expectations"),
        "TRIMTAB_RUNTIME": "process",
        **{f"TRIMTAB_{name}_URL": "http://127.0.0.1:0" for name in ("PREFECT", "MLFLOW", "GATEWAY", "REPORTS")},
    }
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    with Supervisor(Settings.from_env(env)) as supervisor:
        apply(supervisor.settings)
        yield supervisor.settings


@pytest.mark.timeout(480)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq", "ignore::DeprecationWarning:jupyter_client")
def test_the_notebook_retrains_both_ways_and_reads_what_came_of_it(settings: Settings) -> None:
    """Every cell runs; two retrainings are on record, one caused by each way."""
    notebook = nbformat.read(ROOT / "notebooks" / "retrain.ipynb", as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = PARAMETERS
    NotebookClient(notebook, timeout=180, resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()

    ledger = Ledger(settings.ledger)
    causes = [ledger.find(Cause, each.cause_id) for each in ledger.records(Retraining, "loan")]
    assert [cause and cause.reason for cause in causes] == ["tried out in a notebook", "asked for in a notebook"]
    release = ledger.latest(Release, "loan")
    assert release is not None
    assert release.version == "2"
    ledger.verify()
