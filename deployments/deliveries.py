"""Did people get the alerts: what Prefect says of each message of the last days, and a message to try the alerts with.

Prefect says of a message that it was sent (``executed``), or that it was not and why (``failed``). Of a webhook that
cannot be reached or does not answer with success it says neither: four attempts in seconds, a line in its server's log,
and that was all. A message of which nothing is said in time is therefore a lost one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from typing import Any
from uuid import uuid4

from prefect.client.orchestration import SyncPrefectClient

from deployments.apply import prefect_client
from deployments.automations import FAILED_STATES
from deployments.plan import MARK, TEST, PlannedAlert, PlannedFailureAlert, plan
from trimtab.errors import SpecError
from trimtab.ledger import Ledger
from trimtab.records import StateChange
from trimtab.settings import Settings
from trimtab.spec import ModelSpec

LOOKED_BACK = timedelta(days=6)
"""Prefect keeps its events for seven days by default."""
UNDER_WAY_FOR = timedelta(minutes=2)
"""How long a message may take: four attempts at a webhook that hangs are 40 s, and two of them hold up all others."""

_POLL_S = 0.5
_MESSAGES = 20
"""Newest messages of an alert that are looked at."""
_NOT_SAID = (
    "Prefect does not say why, as of a webhook that cannot be reached or does not answer with success, or of a server "
    "that was stopped meanwhile: see its server's log"
)
_EXECUTED, _FAILED = "prefect.automation.action.executed", "prefect.automation.action.failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message: ``lost`` is why it was not delivered, empty if it was, None while it is under way."""

    asked_at: datetime
    lost: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """An alert, its messages of the last days, oldest first, and what keeps it from sending any (empty: nothing)."""

    alert: str
    deliveries: tuple[Delivery, ...] = ()
    hindrance: str = ""


def deliveries(settings: Settings, specs: Sequence[ModelSpec]) -> list[Told]:
    """What became of the messages of each alert that these models name, since the alert is as it is.

    Raises
    ------
    ServiceUnavailableError
        If Prefect does not answer.
    LedgerError
        If the ledger does not answer.
    """
    wanted, ledger = plan(specs), Ledger(settings.ledger)
    with prefect_client(settings) as client:
        known = _automations(client, settings)
        return [
            *(_told(client, alert, known, partial(_changes, ledger, alert)) for alert in wanted.alerts),
            *(_told(client, alert, known, partial(_failures, client)) for alert in wanted.failure_alerts),
        ]


def send_test(settings: Settings, spec: ModelSpec) -> list[Told]:
    """Have Prefect send a message through every alert on the model's state, and wait for what becomes of each.

    Raises
    ------
    SpecError
        If the model has no such alert.
    ServiceUnavailableError
        If Prefect does not answer.
    """
    alerts = plan([spec]).alerts
    if not alerts:
        has = (
            f"those of its spec tell {[list(each.on) for each in spec.alerts]}" if spec.alerts else "its spec has none"
        )
        raise SpecError(f"{spec.name} has no alert on its state: {has} (docs/alerts.md)")
    asked_at, event_id = datetime.now(UTC), str(uuid4())
    event = {
        **{"id": event_id, "event": alerts[0].event, "occurred": asked_at.isoformat()},
        "resource": {"prefect.resource.id": alerts[0].resource, "trimtab.change": TEST},
        "payload": {
            "subject": f"{MARK}: {spec.name} test",
            "body": f"A test: messages about {spec.name} reach you. Nothing has happened.",
        },
    }
    with prefect_client(settings) as client:
        known = _automations(client, settings)
        client.request("POST", "/events", json=[event]).raise_for_status()
        while True:
            told = [_told(client, alert, known, lambda _: {event_id: asked_at}) for alert in alerts]
            if all(delivery.lost is not None for each in told for delivery in each.deliveries):
                return told
            time.sleep(_POLL_S)


def _told(
    client: SyncPrefectClient,
    alert: PlannedAlert | PlannedFailureAlert,
    automations: Mapping[str, Mapping[str, Any]],
    asked_of: Callable[[Mapping[str, Any]], Mapping[str, datetime]],
) -> Told:
    automation = automations.get(alert.name)
    if automation is None or TEST not in automation["trigger"]["match"].get("trimtab.change", TEST):
        return Told(alert.name, hindrance="its automation is not there, or not as planned: run `trimtab apply`")
    if not automation["enabled"]:
        return Told(alert.name, hindrance="its automation is paused in Prefect")
    return Told(alert.name, _became(client, automation, asked_of(automation), datetime.now(UTC)))


def _newest(asked: Mapping[str, datetime], since: datetime) -> dict[str, datetime]:
    return {each: at for at, each in sorted((at, each) for each, at in asked.items() if at >= since)[-_MESSAGES:]}


def _since(automation: Mapping[str, Any]) -> datetime:
    return max(datetime.now(UTC) - LOOKED_BACK, datetime.fromisoformat(automation["updated"]))


def _changes(ledger: Ledger, alert: PlannedAlert, automation: Mapping[str, Any]) -> dict[str, datetime]:
    """Ids of the events that the server has taken and the alert is to tell of, as the ledger knows them."""
    entries = [(entry, entry.record) for entry in ledger.entries(StateChange, alert.resource.rpartition(".")[2])]
    asked = {
        change.event_id: entry.recorded_at
        for entry, change in entries
        if isinstance(change, StateChange)
        and any(fnmatchcase(f"{change.action_before}>{change.action}", pattern) for pattern in alert.changes)
    }
    return _newest(asked, _since(automation))


def _failures(client: SyncPrefectClient, automation: Mapping[str, Any]) -> dict[str, datetime]:
    """Ids of the events of failed runs that the alert is to tell of."""
    names = [f"prefect.flow-run.{state}" for state in FAILED_STATES]
    of = {"related": {"id": automation["trigger"]["match_related"]["prefect.resource.id"], "role": ["deployment"]}}
    since = _since(automation)
    found = _events(client, names, since, of)
    return _newest({each["id"]: datetime.fromisoformat(each["received"]) for each in found}, since)


def _became(
    client: SyncPrefectClient, automation: Mapping[str, Any], asked: Mapping[str, datetime], now: datetime
) -> tuple[Delivery, ...]:
    if not asked:
        return ()
    own = {
        "resource": {"id": [f"prefect.automation.{automation['id']}"]},
        "related": {"id": [f"prefect.event.{each}" for each in asked]},
    }
    said: dict[str, str] = {}
    for event in _events(client, [_EXECUTED, _FAILED], now - 2 * LOOKED_BACK, own):
        log = ": ".join(event["payload"][key] for key in ("reason", "notification_log") if event["payload"].get(key))
        for related in event["related"]:
            if related["prefect.resource.role"] == "triggering-event":
                asked_by = related["prefect.resource.id"].removeprefix("prefect.event.")
                # Of several attempts one that succeeded counts.
                said[asked_by] = "" if event["event"] == _EXECUTED else said.get(asked_by, log)
    return tuple(
        Delivery(at, said.get(each, _NOT_SAID if now - at >= UNDER_WAY_FOR else None)) for each, at in asked.items()
    )


def _automations(client: SyncPrefectClient, settings: Settings) -> dict[str, dict[str, Any]]:
    """Ours, by name, as the server has them: the client's own model lacks when they were made."""
    body = {"automations": {"tags": {"all_": [MARK, settings.work_pool]}}, "limit": 200}
    found = client.request("POST", "/automations/filter", json=body)
    return {each["name"]: each for each in found.raise_for_status().json()}


def _events(
    client: SyncPrefectClient, names: Sequence[str], since: datetime, others: Mapping[str, Any]
) -> list[dict[str, Any]]:
    wanted = {"event": {"name": list(names)}, "occurred": {"since": since.isoformat()}, **others}
    answer = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 50})
    return list(answer.raise_for_status().json()["events"])
