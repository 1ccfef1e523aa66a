"""Telling Prefect what was ruled, and starting what that should have started but did not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.monitoring.window import Window
from trimtab.decay.on_record import refusal
from trimtab.decay.policy import retrain_cause_id
from trimtab.ledger import Ledger
from trimtab.records import Action, Retraining, Ruling
from trimtab.settings import Settings

FLOWS: Mapping[Action, str] = {Action.RETRAIN: "retrain", Action.ROLLBACK: "rollback"}
GRACE = timedelta(minutes=2)
"""How long after its ruling a run may take to appear before it counts as missed."""
_NEXT_WATCH_LATE_BY = timedelta(days=1)


@task(task_run_name="announce {ruling.action} of {ruling.model}", cache_policy=NO_CACHE)
def announce(ruling: Ruling) -> bool:
    """Emit the ruling's event, unless it is NONE; the ruling must be on record. Does not wait for its delivery.

    Returns
    -------
    bool
        Whether an event was emitted.
    """
    from prefect.events import emit_event

    if ruling.action is Action.NONE:
        return False
    emit_event(
        event=f"trimtab.ruling.{ruling.action.lower()}",
        resource={"prefect.resource.id": f"trimtab.model.{ruling.model}", "prefect.resource.name": ruling.model},
        payload=payload(ruling),
    )
    return True


@task(task_run_name="reconcile {window.spec.name}", retries=2, retry_delay_seconds=2, cache_policy=NO_CACHE)
def reconcile(window: Window, now: datetime) -> str | None:
    """Start the run that a ruling on this release asked for, if no automation did. Idempotent.

    A ruling counts as missed when it is older than `GRACE`, asked for a retraining or a rollback no more than a window
    and a day ago in event time (the next watch of a schedule comes a window later, and seconds or hours late), nothing
    on record follows from it, its run would not be refused, and Prefect has no run with it as cause. Of several the
    newest counts.

    Parameters
    ----------
    window
        The window that is being watched.
    now
        By the clock, not in event time.

    Returns
    -------
    str or None
        Id of the run that was started.
    """
    missed = _missed(window, now)
    if missed is None:
        return None
    run_id = _start_once(missed)
    if run_id is not None:
        get_run_logger().warning("%s had started no run; %s was started now", missed.id, run_id)
    return run_id


def payload(ruling: Ruling) -> dict[str, str]:
    """What the event says: the cause of the run that it starts."""
    return {
        "ruling_id": ruling.id,
        "model": ruling.model,
        "as_of": ruling.as_of.isoformat(),
        "reason": ruling.reason,
        "action": str(ruling.action),
    }


def _missed(window: Window, now: datetime) -> Ruling | None:
    ledger, spec = Ledger(Settings.from_env().ledger), window.spec
    ended = {retraining.cause_id for retraining in ledger.records(Retraining, spec.name)}
    for entry in reversed(ledger.entries(Ruling, spec.name)):
        ruling = entry.record
        assert isinstance(ruling, Ruling)
        if (
            ruling.action in FLOWS
            and ruling.release_id == window.release.id
            and retrain_cause_id(ruling.id) not in ended
            and now - entry.recorded_at >= GRACE
            and window.as_of - ruling.as_of <= spec.window + _NEXT_WATCH_LATE_BY
            and refusal(spec, ledger, ruling) is None
        ):
            return ruling
    return None


def _start_once(ruling: Ruling) -> str | None:
    """Create the run that the ruling asks for, unless there is one or no such deployment."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(f"{FLOWS[ruling.action]}/{ruling.model}")
        except ObjectNotFound:
            return None
        runs = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=200,
        )
        if any((run.parameters.get("cause") or {}).get("ruling_id") == ruling.id for run in runs):
            return None
        parameters: dict[str, Any] = {"model": ruling.model, "cause": payload(ruling)}
        if ruling.action is Action.ROLLBACK:
            parameters["reason"] = ruling.reason
        run = client.create_flow_run_from_deployment(
            deployment.id, parameters=parameters, idempotency_key=ruling.id, name=f"reconciled-{ruling.id}"
        )
        return str(run.id)
