"""Automations as Prefect says them: an event starts a run, or sends a message through a person's notification block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.events import RunDeployment, SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger
from prefect.exceptions import ObjectNotFound

from deployments.plan import MARK, Plan, PlannedAlert, PlannedAutomation, PlannedFailureAlert
from trimtab.errors import SpecError

FAILED_STATES = ("Failed", "Crashed", "TimedOut")
"""Ends of a run that are told of."""


def find_blocks(client: SyncPrefectClient, wanted: Plan, server: str) -> dict[str, UUID]:
    """Ids of the notification blocks that the plan's alerts name.

    Raises
    ------
    SpecError
        If one is not there, or cannot send messages; it names all that are wrong.
    """
    found: dict[str, UUID] = {}
    wrong: list[str] = []
    named = {alert.block: alert.name for alert in (*wanted.failure_alerts, *wanted.alerts)}
    for block, alert in named.items():
        slug, _, name = block.partition("/")
        try:
            document = client.read_block_document_by_name(name, slug)
        except ObjectNotFound:
            wrong.append(f"{block} ({alert}) is not there")
            continue
        if "notify" not in (document.block_schema.capabilities if document.block_schema else ()):
            wrong.append(f"{block} ({alert}) is no notification block")
        found[block] = document.id
    if wrong:
        raise SpecError(
            f"alerts name notification blocks that Prefect at {server} cannot use: {'; '.join(wrong)}. "
            "Make them in its UI under Blocks, or name others (docs/alerts.md)"
        )
    return found


def automations_of(
    wanted: Plan, work_pool: str, deployments: Mapping[str, UUID], blocks: Mapping[str, UUID]
) -> list[AutomationCore]:
    """The plan's automations and alerts in Prefect's words.

    Parameters
    ----------
    wanted
        The plan.
    work_pool
        Tagged with it, so that another stack on the same server leaves them alone.
    deployments
        Ids by full name.
    blocks
        Ids by ``<block type>/<block name>``.
    """
    runs = [_run(planned, work_pool, deployments[planned.deployment]) for planned in wanted.automations]
    changes = [_message(planned, work_pool, blocks[planned.block]) for planned in wanted.alerts]
    return (
        runs
        + changes
        + [
            _failure(planned, work_pool, [deployments[name] for name in planned.deployments], blocks[planned.block])
            for planned in wanted.failure_alerts
        ]
    )


def match_automations(
    client: SyncPrefectClient, wanted: Sequence[AutomationCore], work_pool: str, done: dict[str, str]
) -> None:
    """Make the server's automations those; notes in ``done`` what was done to each. One that is paused stays so."""
    own_tags = {MARK, work_pool}
    ours = [
        each for each in client.read_automations() if each.name.startswith(f"{MARK}: ") and own_tags <= set(each.tags)
    ]
    kept: set[UUID] = set()
    for core in wanted:
        known = next((each for each in ours if each.name == core.name), None)
        if known is None:
            kept.add(client.create_automation(core))
            done[core.name] = "created"
            continue
        kept.add(known.id)
        core = core.model_copy(update={"enabled": known.enabled})
        done[core.name] = "unchanged" if _said(known) == _said(core) else "updated"
        if done[core.name] == "updated":
            # The client sends only what was set by name, the server asks for every field: all are set here.
            client.update_automation(
                known.id, AutomationCore.model_validate(core.model_dump(exclude={"owner_resource"}))
            )
    for stale in ours:
        if stale.id not in kept:
            client.delete_automation(stale.id)
            done[stale.name if stale.name not in done else f"{stale.name} (a copy)"] = "removed"


def _run(planned: PlannedAutomation, work_pool: str, deployment_id: UUID) -> AutomationCore:
    return AutomationCore(
        name=planned.name,
        description=planned.description,
        tags=sorted({*planned.tags, work_pool}),
        trigger=EventTrigger(
            expect={planned.event},
            match={"prefect.resource.id": planned.resource},
            for_each={"prefect.resource.id"},
            threshold=1,
            within=planned.within,
        ),
        actions=[RunDeployment(source="selected", deployment_id=deployment_id, parameters=dict(planned.parameters))],
    )


def _message(planned: PlannedAlert, work_pool: str, block_id: UUID) -> AutomationCore:
    return AutomationCore(
        name=planned.name,
        description=planned.description,
        tags=sorted({*planned.tags, work_pool}),
        trigger=EventTrigger(
            expect={planned.event},
            match={"prefect.resource.id": planned.resource, "trimtab.change": list(planned.changes)},
            threshold=1,
            # Each change is told: none is taken together with one just before.
            within=timedelta(0),
        ),
        actions=[SendNotification(block_document_id=block_id, subject=planned.subject, body=planned.body)],
    )


def _failure(
    planned: PlannedFailureAlert, work_pool: str, deployment_ids: Sequence[UUID], block_id: UUID
) -> AutomationCore:
    runs_of = [f"prefect.deployment.{each}" for each in deployment_ids]
    return AutomationCore(
        name=planned.name,
        description=planned.description,
        tags=sorted({*planned.tags, work_pool}),
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in FAILED_STATES},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "deployment", "prefect.resource.id": runs_of},
            for_each={"prefect.resource.id"},
            threshold=1,
            within=timedelta(0),
        ),
        actions=[SendNotification(block_document_id=block_id, subject=planned.subject, body=planned.body)],
    )


def _said(automation: Automation | AutomationCore) -> dict[str, Any]:
    said = automation.model_dump(mode="json", exclude={"id", "owner_resource"})
    said["tags"] = sorted(said["tags"])
    said["trigger"].pop("id", None)
    said["trigger"]["expect"] = sorted(said["trigger"].get("expect", ()))  # a set, in whatever order
    return said
