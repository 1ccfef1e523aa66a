"""The notebook retrains a model both ways against a running stack, and reads the result."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.loop.stack import Stack
from trimtab.records import Cause, Release

ROOT = Path(__file__).parents[2]
PARAMETERS = """
from datetime import UTC, datetime
MODEL, AS_OF, LATER = {name!r}, datetime(2024, 2, 20, tzinfo=UTC), datetime(2024, 3, 12, tzinfo=UTC)
"""


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq", "ignore::DeprecationWarning:jupyter_client")
def test_the_notebook_retrains_both_ways_and_reads_what_came_of_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell runs; two retrainings are on record, one caused by each way."""
    notebook = nbformat.read(ROOT / "notebooks" / "retrain.ipynb", as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = PARAMETERS.format(name=stack.name)
    # A process finds the stack by its home alone.
    monkeypatch.setenv("TRIMTAB_HOME", str(stack.settings.home))
    NotebookClient(notebook, timeout=400, resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()

    ledger = stack.ledger
    causes = [ledger.find(Cause, each.cause_id) for each in stack.retrainings()]
    assert [cause and cause.reason for cause in causes] == ["tried out in a notebook", "asked for in a notebook"]
    release = ledger.latest(Release, stack.name)
    assert release is not None
    assert release.version == "2"
    ledger.verify()
