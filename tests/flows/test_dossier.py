"""The dossier flow publishes the chain behind a prediction."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.dossier import dossier
from tests.chain import home_with_predictions
from trimtab.errors import LedgerTamperedError, UnknownPredictionError
from trimtab.settings import Settings

pytestmark = pytest.mark.usefixtures("prefect")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, list[str]]:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    return home_with_predictions(tmp_path)


def test_a_dossier_is_an_artifact_and_a_page_that_opens_offline(home: tuple[Settings, list[str]]) -> None:
    """Both hold every record of the chain; the address that is returned leads to the page."""
    settings, ids = home
    url = dossier(ids[0])
    page = (settings.reports_dir / url.removeprefix(f"{settings.reports_url}/")).read_text()
    with get_client(sync_client=True) as client:
        keys = ArtifactFilterKey(any_=[f"dossier-{ids[0]}", f"dossier-page-{ids[0]}"])
        artifacts = {each.key: each for each in client.read_artifacts(artifact_filter=ArtifactFilter(key=keys))}
    markdown = str(artifacts[f"dossier-{ids[0]}"].data)
    for record in ("release-2", "decision-2", "snapshot-training-2", "ruling-1", "release-1", "cause-1"):
        assert record in page
        assert record in markdown
    assert "```mermaid" in markdown
    assert url in str(artifacts[f"dossier-page-{ids[0]}"].data)
    assert '<a href="dossiers/">Dossiers</a>' in (settings.reports_dir / "index.html").read_text()


@pytest.mark.parametrize("wrong", ["abc", "01929f0e-7b1a-7c3e-9d55-0d4f1c1e2a3b"])
def test_an_unknown_id_makes_a_red_run_and_no_page(home: tuple[Settings, list[str]], wrong: str) -> None:
    """The run fails with the id in its message."""
    with pytest.raises(UnknownPredictionError, match=wrong):
        dossier(wrong)
    assert not (home[0].reports_dir / "dossiers").exists()


def test_nothing_is_published_from_a_ledger_that_was_altered(home: tuple[Settings, list[str]]) -> None:
    """A dossier is made of proof; a broken chain proves nothing."""
    settings, ids = home
    with closing(sqlite3.connect(settings.home / "ledger.db")) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE ledger SET body = replace(body, '0.49', '0.99') WHERE id = 'decision-2'")
    connection.close()
    with pytest.raises(LedgerTamperedError, match="decision-2"):
        dossier(ids[0])
