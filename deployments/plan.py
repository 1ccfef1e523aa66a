"""What should be deployed, as values: a function of the model specs alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from trimtab.spec import ModelSpec

MARK = "trimtab"
"""Tag of all that apply makes, so that it removes nothing else."""

DEBOUNCE = timedelta(seconds=5)
"""Events of one model within this time start one run."""

FAILED = "FAILED"
"""What an alert calls a failed run, beside the actions of rulings."""
TEST = "TEST"
"""A change that is none: every alert on a model's state tells it, so that people see whether it would reach them."""
_UNATTENDED = ("retrain", "rollback", "watch", "profile")
"""Flows that run with nobody looking on."""

_DESCRIPTIONS: Mapping[str, str] = {
    "retrain": "Trains {model} anew, and releases the result if every gate passes; the old release serves until then.",
    "watch": "Judges the latest window of {model}'s live predictions, and asks for what follows from it.",
    "profile": "Counts {model}'s sealed predictions once, so that windows of long ago are judged without a scan.",
    "rollback": "Brings the previous release of {model}, or a named version, back into service.",
    "close-breaker": "Closes {model}'s breaker: after retrainings in vain, decay may retrain it again.",
}

PARAMETERS: Mapping[str, str] = {
    "model": "Name of the model.",
    "as_of": "The moment to act as of (UTC); now if left empty.",
    "reason": "Why; it goes on record.",
    "cause": "The ruling that asks for this, as its event tells it; left empty by people.",
    "to_version": "The version to bring back; the one before if left empty.",
    "prediction_id": "The id that the prediction was answered with (a UUID).",
}
"""What the run form says of a parameter where the flow's own docstring says nothing."""


@dataclass(frozen=True, slots=True)
class PlannedDeployment:
    """A flow made runnable by name.

    Parameters
    ----------
    flow, name : str
        Together the name in Prefect: ``<flow>/<name>``.
    entrypoint : str
        Module path of the flow, such as ``flows.retrain.retrain``.
    parameters : mapping
        Defaults of the form in the Prefect UI.
    fixed : tuple of str
        Parameters that may have no other value than their default.
    cron : str or None
        When it runs by itself (UTC).
    concurrency_limit : int or None
        Runs at once; the others wait their turn.
    """

    flow: str
    name: str
    entrypoint: str
    description: str
    tags: tuple[str, ...]
    parameters: Mapping[str, Any]
    fixed: tuple[str, ...] = ()
    cron: str | None = None
    concurrency_limit: int | None = None

    @property
    def full_name(self) -> str:
        """``<flow>/<name>``, as Prefect says it."""
        return f"{self.flow}/{self.name}"


@dataclass(frozen=True, slots=True)
class PlannedAutomation:
    """A deployment that an event starts, with these parameters (templates are filled in by Prefect)."""

    name: str
    description: str
    tags: tuple[str, ...]
    event: str
    resource: str
    deployment: str
    parameters: Mapping[str, Any]
    within: timedelta = DEBOUNCE


@dataclass(frozen=True, slots=True)
class PlannedAlert:
    """A message that a change of a model's state sends through a notification block.

    Parameters
    ----------
    block : str
        ``<block type>/<block name>``; a person makes it, apply only looks it up.
    changes : tuple of str
        Patterns of changes (``NONE>ALERT``), any of which sends it.
    subject, body : str
        Templates that Prefect fills in from the event.
    """

    name: str
    description: str
    tags: tuple[str, ...]
    event: str
    resource: str
    block: str
    changes: tuple[str, ...]
    subject: str = "{{ event.payload.subject }}"
    body: str = "{{ event.payload.body }}"


@dataclass(frozen=True, slots=True)
class PlannedFailureAlert:
    """A message that a run of these deployments sends when it fails, crashes or takes too long.

    Parameters
    ----------
    block : str
        As that of `PlannedAlert`.
    deployments : tuple of str
        Full names.
    subject, body : str
        Templates that Prefect fills in from the run.
    """

    name: str
    description: str
    tags: tuple[str, ...]
    block: str
    deployments: tuple[str, ...]
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the Prefect server should hold of ours."""

    deployments: tuple[PlannedDeployment, ...]
    automations: tuple[PlannedAutomation, ...]
    alerts: tuple[PlannedAlert, ...] = ()
    failure_alerts: tuple[PlannedFailureAlert, ...] = ()


def plan(specs: Iterable[ModelSpec]) -> Plan:
    """What these models need on the Prefect server, and the one dossier deployment that serves them all."""
    specs = sorted(specs, key=lambda spec: spec.name)
    return Plan(
        deployments=(*(each for spec in specs for each in _deployments(spec)), _dossier()),
        automations=tuple(each for spec in specs for each in _automations(spec)),
        alerts=tuple(each for spec in specs for each in _alerts(spec)),
        failure_alerts=tuple(each for spec in specs for each in _failure_alerts(spec)),
    )


def _deployments(spec: ModelSpec) -> tuple[PlannedDeployment, ...]:
    return (
        _deployment(spec, "retrain", cron=spec.schedule.retrain, concurrency_limit=1),
        _deployment(spec, "watch", cron=spec.schedule.watch, concurrency_limit=1),
        _deployment(spec, "rollback", concurrency_limit=1),
        _deployment(spec, "profile", concurrency_limit=1),
        _deployment(spec, "close-breaker", concurrency_limit=1),
    )


def _deployment(
    spec: ModelSpec, flow: str, cron: str | None = None, concurrency_limit: int | None = None
) -> PlannedDeployment:
    function = flow.replace("-", "_")
    lines = [_DESCRIPTIONS[flow].format(model=spec.name), spec.description, spec.owner and f"Owner: {spec.owner}"]
    return PlannedDeployment(
        flow=flow,
        name=spec.name,
        entrypoint=f"flows.{function}.{function}",
        description="\n\n".join(line for line in lines if line),
        tags=(MARK, spec.name),
        parameters={"model": spec.name},
        fixed=("model",),
        cron=cron,
        concurrency_limit=concurrency_limit,
    )


def _dossier() -> PlannedDeployment:
    return PlannedDeployment(
        flow="dossier",
        name="dossier",
        entrypoint="flows.dossier.dossier",
        description="Everything that led to one prediction, on a page that opens offline.",
        tags=(MARK,),
        parameters={},
    )


def _automations(spec: ModelSpec) -> tuple[PlannedAutomation, ...]:
    return tuple(
        PlannedAutomation(
            name=f"{MARK}: {action} {spec.name} when a ruling asks for it",
            description=f"A {action.upper()} ruling on {spec.name} starts {action}/{spec.name}, with itself as cause.",
            tags=(MARK, spec.name),
            event=f"trimtab.ruling.{action}",
            resource=f"trimtab.model.{spec.name}",
            deployment=f"{action}/{spec.name}",
            parameters={"model": spec.name, **reason, "cause": "{{ event.payload }}"},
        )
        for action, reason in (
            ("retrain", {}),
            # Rollback asks for a reason; a template that finds none would fail the action without a word.
            ("rollback", {"reason": "{{ event.payload.reason | default('a ruling asked for it') }}"}),
        )
    )


def _alerts(spec: ModelSpec) -> Iterator[PlannedAlert]:
    for alert in spec.alerts:
        actions = [action for action in alert.on if action != FAILED]
        if actions:
            yield PlannedAlert(
                name=f"{MARK}: tell {alert.block} of {spec.name}",
                description=f"Sends a message when {spec.name} comes to {' or '.join(actions)}, and when that is over.",
                tags=(MARK, spec.name),
                event="trimtab.state.changed",
                resource=f"trimtab.model.{spec.name}",
                block=alert.block,
                changes=(*(each for action in actions for each in (f"*>{action}", f"{action}>*")), TEST),
            )


def _failure_alerts(spec: ModelSpec) -> Iterator[PlannedFailureAlert]:
    for alert in spec.alerts:
        if FAILED in alert.on:
            yield PlannedFailureAlert(
                name=f"{MARK}: tell {alert.block} of failed runs of {spec.name}",
                description=f"Sends a message when a run of {', '.join(_UNATTENDED)} of {spec.name} fails.",
                tags=(MARK, spec.name),
                block=alert.block,
                deployments=tuple(f"{flow}/{spec.name}" for flow in _UNATTENDED),
                subject=f"{MARK}: {spec.name} {{{{ flow.name }}}} failed",
                body="The run '{{ flow_run.name }}' ended as {{ flow_run.state.name }}: {{ flow_run.state.message }}\n"
                "What served before still serves.\nRun: {{ flow_run|ui_url }}",
            )
