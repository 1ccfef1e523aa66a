"""Dossiers: read from the log and the ledger, published as Prefect artifacts and pages."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from trimtab.ledger import Ledger
from trimtab.lineage import Node, to_html, to_markdown, trace_logged
from trimtab.pages.document import write_document
from trimtab.pages.front import write_front_page
from trimtab.settings import Settings


@task(task_run_name="trace {prediction_id}")
def trace_prediction(prediction_id: str) -> Node:
    """The chain behind a prediction, from a ledger whose hashes hold.

    Raises
    ------
    UnknownPredictionError
        If no prediction of that id is on record, or the text is no id.
    LedgerTamperedError
        If the ledger was altered.
    """
    settings = Settings.from_env()
    ledger = Ledger(settings.ledger)
    ledger.verify()
    return trace_logged(ledger, settings.predictions_dir, prediction_id)


@task
def publish_dossier(chain: Node) -> str:
    """Make the markdown artifact with the graph, the page under the reports, and a link to it; returns its address."""
    settings = Settings.from_env()
    name = f"dossiers/{chain.id}.html"
    write_document(settings.reports_dir / name, to_html(chain, f"Dossier of {chain.title}"))
    write_front_page(settings)
    url = f"{settings.reports_url.rstrip('/')}/{name}"
    create_markdown_artifact(to_markdown(chain), key=f"dossier-{chain.id}", description=f"Dossier of {chain.title}")
    create_link_artifact(url, link_text="the dossier as a page", key=f"dossier-page-{chain.id}")
    return url
