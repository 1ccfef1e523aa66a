"""Telling people, through Prefect's notification blocks, when a model's state changes: once, and not window by window.

deployments/plan.py turns the event into messages; what a message says is put together here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from trimtab.decay.policy.state import Change, changes
from trimtab.ledger import Ledger
from trimtab.pages.front import PICTURE
from trimtab.records import Action, Release, Ruling, Signal, StateChange, content_id
from trimtab.settings import Settings

EVENT = "trimtab.state.changed"
LATE = timedelta(days=8)
"""A change that was ruled longer ago by the clock is not told any more: a weekly watch catches up on its last run."""
_KEPT_WITHIN_S = 30
_TOLD_SIGNALS = 20
"""Numbers in a message: chats refuse long ones (Teams from 28 KB on), and one that is refused is lost."""


@task(task_run_name="tell of changes of {model}", retries=2, retry_delay_seconds=2, cache_policy=NO_CACHE)
def tell_changes(model: str, now: datetime) -> list[StateChange]:
    """Give the Prefect server an event for each change of the model's state that it has not taken yet. Idempotent.

    What the server has taken goes on record; a run that was killed in between, or that met no server, leaves the change
    to the next watch, and the event's id follows from the ruling, so that none is told twice.

    Parameters
    ----------
    model
        Name of the model.
    now
        By the clock, not in event time.

    Returns
    -------
    list of StateChange
        What was told, oldest first.

    Raises
    ------
    httpx.HTTPError
        If the server does not take it, after retries.
    """
    ledger, told = Ledger(Settings.from_env().ledger), []
    for change in _untold(ledger, model, now):
        event_id = str(uuid5(NAMESPACE_URL, f"trimtab:{change.ruling.id}"))
        _give(event_id, change)
        stated = StateChange(
            id=content_id("state-change", change.ruling.id),
            model=model,
            ruling_id=change.ruling.id,
            action_before=change.before.action,
            action=change.after.action,
            families_before=change.before.families,
            families=change.after.families,
            event_id=event_id,
        )
        ledger.append(stated, flow_run_id=flow_run.get_id() or "")
        told.append(stated)
    return told


def message(change: Change, version: str, settings: Settings, run_id: str) -> dict[str, str]:
    """What the event carries: subject and body of the message, and its parts for whoever makes an own one."""
    ruling = change.ruling
    report = f"{settings.reports_url}/{ruling.report}"
    has_report = bool(ruling.report) and (settings.reports_dir / ruling.report).is_file()
    picture = f"{report.rpartition('/')[0]}/{PICTURE}"
    has_picture = bool(ruling.report) and (settings.reports_dir / ruling.report).with_name(PICTURE).is_file()
    word = "recovered" if change.after.action is Action.NONE else str(change.after.action)
    reason = ruling.reason[:1].upper() + ruling.reason[1:] + "."
    since = f", since {change.since.as_of:%Y-%m-%d %H:%M} UTC" if change.since else ""
    run = settings.flow_run_url(run_id) if run_id else ""
    breached = [signal for signal in ruling.signals if signal.breached]
    left_out = len(breached) - _TOLD_SIGNALS
    lines = [
        reason,
        f"Before: {_told(change.before.action, change.before.families)}{since}. "
        f"Now: {_told(change.after.action, change.after.families)}.",
        *(_line(signal) for signal in breached[:_TOLD_SIGNALS]),
        *([f"- and {left_out} more: see the report and the run"] if left_out > 0 else []),
        f"Window {ruling.start:%Y-%m-%d %H:%M} to {ruling.end:%Y-%m-%d %H:%M} UTC, version {version}, "
        f"ruling {ruling.id}.",
        *([f"Report: {report}"] if has_report else []),
        *([f"Picture: {picture}"] if has_picture else []),
        *([f"Run: {run}"] if run else []),
    ]
    return {
        "subject": f"trimtab: {ruling.model} {word}",
        "body": "\n".join(lines),
        "action": str(change.after.action),
        "action_before": str(change.before.action),
        "reason": ruling.reason,
        "ruling_id": ruling.id,
        "model": ruling.model,
        "as_of": ruling.as_of.isoformat(),
        "report": report if has_report else "",
        "picture": picture if has_picture else "",
        "run": run,
    }


def _untold(ledger: Ledger, model: str, now: datetime) -> Iterator[Change]:
    entries = ledger.entries(Ruling, model)
    recorded_at = {entry.record.id: entry.recorded_at for entry in entries}
    told = {change.ruling_id for change in ledger.records(StateChange, model)}
    for change in changes(entry.record for entry in entries if isinstance(entry.record, Ruling)):
        if change.ruling.id not in told and now - recorded_at[change.ruling.id] < LATE:
            yield change


def _give(event_id: str, change: Change) -> None:
    """Send the event and see that the server keeps it, unless it has it already.

    One that has taken it and does not show it within `_KEPT_WITHIN_S`, as a slow one, is believed.
    """
    from prefect.client.orchestration import get_client

    settings = Settings.from_env()
    entry = Ledger(settings.ledger).get(change.ruling.id)
    release = Ledger(settings.ledger).find(Release, change.ruling.release_id)
    event = {
        "id": event_id,
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {
            "prefect.resource.id": f"trimtab.model.{change.ruling.model}",
            "prefect.resource.name": change.ruling.model,
            "trimtab.change": f"{change.before.action}>{change.after.action}",
        },
        "payload": message(change, release.version if release else "unknown", settings, entry.flow_run_id),
    }
    with get_client(sync_client=True) as client:
        if not _has(client, event_id):
            client.request("POST", "/events", json=[event]).raise_for_status()
            # A server that is killed before it has written down what it took, forgets it: it takes seconds to write.
            end = time.monotonic() + _KEPT_WITHIN_S
            while not _has(client, event_id) and time.monotonic() < end:
                time.sleep(0.5)


def _has(client: Any, event_id: str) -> bool:
    answer = client.request("POST", "/events/filter", json={"filter": {"id": {"id": [event_id]}}, "limit": 1})
    answer.raise_for_status()
    return bool(answer.json()["events"])


def _told(action: Action, families: tuple[str, ...]) -> str:
    return f"{action} ({', '.join(families)})" if families else str(action)


def _line(signal: Signal) -> str:
    interval = "" if signal.low is None or signal.high is None else f" ({signal.low:.4g} to {signal.high:.4g})"
    detail = f"; {signal.detail}" if signal.detail else ""
    return f"- {signal.name}: {signal.value:.4g}{interval}, limit {signal.threshold:.4g}, {signal.rows:,} rows{detail}"
