"""What is kept of the log, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from trimtab.ledger import Ledger
from trimtab.models import load_model
from trimtab.predictions import PredictionLog
from trimtab.predictions.retention import prune
from trimtab.records import Pruned
from trimtab.settings import Settings


@task(task_run_name="prune the log of {model}", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def prune_log(model: str, as_of: datetime) -> list[Pruned]:
    """Delete what the model's retention says and no hold covers; returns what is gone. Idempotent.

    A watch of another day deletes by that day; one of a day to come deletes by now.

    Raises
    ------
    UnknownModelError
        If there is no such model.
    PredictionLogError
        If a segment cannot be deleted; the next call goes on.
    LedgerError
        If it cannot be recorded; then nothing is deleted.
    """
    settings = Settings.from_env()
    spec = load_model(settings.models_dir, model).spec
    log, ledger = PredictionLog(settings.predictions_dir / spec.name, settings), Ledger(settings.ledger)
    by = min(as_of, datetime.now(UTC))
    return prune(log, ledger, spec.name, spec.retention_days, by, flow_run.get_id() or "")
