"""Start a deployment's run and follow it to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags, FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from deployments.apply import prefect_client
from deployments.plan import MARK
from trimtab.errors import SpecError
from trimtab.settings import Settings


@dataclass(frozen=True, slots=True)
class Run:
    """A flow run as it stands: ``state`` for people, ``succeeded`` None until it has ended."""

    id: UUID
    name: str
    state: str
    message: str
    succeeded: bool | None
    url: str


def start_run(settings: Settings, deployment: str, parameters: Mapping[str, Any]) -> Run:
    """Ask Prefect for a run of ``<flow>/<name>``; returns at once.

    Raises
    ------
    SpecError
        If the server has no such deployment.
    ServiceUnavailableError
        If the server does not answer.
    TrimtabError
        If it refuses the parameters.
    """
    with prefect_client(settings) as client:
        try:
            known = client.read_deployment_by_name(deployment)
        except ObjectNotFound as error:
            flow = deployment.partition("/")[0]
            same = DeploymentFilter(tags=DeploymentFilterTags(all_=[MARK]))
            there = client.read_deployments(
                flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])), deployment_filter=same
            )
            names = ", ".join(sorted(f"{flow}/{each.name}" for each in there)) or "none of its kind"
            raise SpecError(
                f"Prefect at {settings.prefect_url} has no deployment {deployment!r}; it has {names}. "
                "If the model is new, run `trimtab apply`"
            ) from error
        return _run(settings, client.create_flow_run_from_deployment(known.id, parameters=dict(parameters)))


def follow_run(settings: Settings, run: Run, changed: Callable[[Run], None], poll_s: float = 0.5) -> Run:
    """Wait for the end of a run, telling each new state.

    Raises
    ------
    ServiceUnavailableError
        If the server goes away.
    """
    with prefect_client(settings) as client:
        seen = run
        while seen.succeeded is None:
            time.sleep(poll_s)
            now = _run(settings, client.read_flow_run(run.id))
            if now.state != seen.state:
                changed(now)
            seen = now
        return seen


def _run(settings: Settings, run: FlowRun) -> Run:
    state = run.state
    final = state is not None and state.is_final()
    return Run(
        id=run.id,
        name=run.name,
        state=state.name if state else "Scheduled",
        message=(state.message or "") if state else "",
        succeeded=state.is_completed() if state and final else None,
        url=f"{settings.prefect_url.rstrip('/')}/runs/flow-run/{run.id}",
    )
