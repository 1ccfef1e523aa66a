"""Make the Prefect server match the plan: ``python -m deployments.apply``.

Idempotent: what is already as planned is not touched. What carries our mark, in our work pool, and is not planned any
more is removed. A schedule or automation that someone has paused by hand stays paused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessWorker

from deployments.automations import automations_of, find_blocks, match_automations
from deployments.form import form
from deployments.plan import MARK, Plan, PlannedDeployment, plan
from trimtab.errors import ServiceUnavailableError, TrimtabError
from trimtab.models import load_models
from trimtab.settings import Settings

_ANSWER_WITHIN_S = 5


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done, by full name (``retrain/loan``, ``work pool trimtab``, ``trimtab: retrain loan when ...``)."""

    created: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(f"{len(getattr(self, name))} {name}" for name in self.__slots__)


def apply(settings: Settings) -> Applied:
    """Make the server that the settings name match the specs in ``settings.models_dir``.

    Raises
    ------
    SpecError
        If a spec is wrong, or names a notification block that the server does not have; nothing is touched.
    ServiceUnavailableError
        If the server does not answer, within seconds.
    """
    wanted = plan(model.spec for model in load_models(settings.models_dir).values())
    # What Prefect's own models refuse is refused here, before anything is written.
    payloads = {planned.full_name: _payload(planned, settings.work_pool) for planned in wanted.deployments}
    done: dict[str, str] = {}
    with prefect_client(settings) as client:
        blocks = find_blocks(client, wanted, settings.prefect_url)
        automations_of(wanted, settings.work_pool, {name: UUID(int=0) for name in payloads}, blocks)
        done[f"work pool {settings.work_pool}"] = _match_work_pool(client, settings.work_pool)
        ids = _match_deployments(client, wanted, payloads, settings.work_pool, done)
        match_automations(client, automations_of(wanted, settings.work_pool, ids, blocks), settings.work_pool, done)
    return Applied(*(tuple(sorted(name for name, what in done.items() if what == each)) for each in Applied.__slots__))


@contextmanager
def prefect_client(settings: Settings) -> Iterator[SyncPrefectClient]:
    """A client of the settings' Prefect server; flows that are called inside run there, too.

    Raises
    ------
    ServiceUnavailableError
        If the server does not answer, also later on. Errors of other servers pass through as they are.
    """
    url = settings.prefect_api_url
    hint = (
        f"no Prefect server answers at {settings.prefect_url}: start one with `trimtab up`, or set TRIMTAB_PREFECT_URL"
    )
    try:
        httpx.get(f"{url}/health", timeout=_ANSWER_WITHIN_S).raise_for_status()
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            yield client
    except httpx.TransportError as error:
        if not _is_from(error, url):
            raise
        if isinstance(error, httpx.ReadTimeout):
            raise ServiceUnavailableError(
                f"Prefect at {settings.prefect_url} is there, but has not answered in time: it may be busy; try again"
            ) from error
        raise ServiceUnavailableError(f"{hint} ({error})") from error
    except httpx.HTTPStatusError as error:
        if not _is_from(error, url):
            raise
        if error.response.is_client_error:
            detail = error.response.text[:500]
            raise TrimtabError(
                f"Prefect at {settings.prefect_url} refuses {error.request.method} {error.request.url.path}: {detail}"
            ) from error
        raise ServiceUnavailableError(f"{hint} (status {error.response.status_code})") from error


def _is_from(error: httpx.TransportError | httpx.HTTPStatusError, url: str) -> bool:
    try:
        return str(error.request.url).startswith(url)
    except RuntimeError:  # httpx's way to say that the error knows no request
        return True


def _match_work_pool(client: SyncPrefectClient, name: str) -> str:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=name, type="process", description="Runs trimtab's flows", base_job_template=template)
        )
        return "created"
    return "unchanged"


def _match_deployments(
    client: SyncPrefectClient,
    wanted: Plan,
    payloads: Mapping[str, dict[str, Any]],
    work_pool: str,
    done: dict[str, str],
) -> dict[str, UUID]:
    ids: dict[str, UUID] = {}
    for planned in wanted.deployments:
        flow_id = client.create_flow_from_name(planned.flow)
        payload = payloads[planned.full_name]
        try:
            known = client.read_deployment_by_name(planned.full_name)
        except ObjectNotFound:
            known = None
        if known is not None and _stated(known) == _comparable(payload):
            ids[planned.full_name], done[planned.full_name] = known.id, "unchanged"
        else:
            ids[planned.full_name] = client.create_deployment(flow_id=flow_id, name=planned.name, **payload)
            done[planned.full_name] = "created" if known is None else "updated"
    for stale in _ours(client, work_pool):
        if stale.id not in ids.values():
            client.delete_deployment(stale.id)
            done[f"{client.read_flow(stale.flow_id).name}/{stale.name}"] = "removed"
    return ids


def _ours(client: SyncPrefectClient, work_pool: str) -> list[DeploymentResponse]:
    marked = DeploymentFilter(tags=DeploymentFilterTags(all_=[MARK]))
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(deployment_filter=marked, limit=200, offset=len(found)):
        found.extend(page)
    return [deployment for deployment in found if deployment.work_pool_name == work_pool]


def _payload(planned: PlannedDeployment, work_pool: str) -> dict[str, Any]:
    """The planned deployment in Prefect's words."""
    schedules = [CronSchedule(cron=planned.cron, timezone="UTC")] if planned.cron else []
    enqueue = ConcurrencyOptions(collision_strategy="ENQUEUE") if planned.concurrency_limit else None
    return {
        "entrypoint": planned.entrypoint,
        "description": planned.description,
        "tags": sorted(planned.tags),
        "parameters": dict(planned.parameters),
        "parameter_openapi_schema": form(planned),
        "enforce_parameter_schema": True,
        "schedules": [DeploymentScheduleCreate(schedule=schedule) for schedule in schedules],
        "concurrency_limit": planned.concurrency_limit,
        "concurrency_options": enqueue,
        "work_pool_name": work_pool,
    }


def _comparable(payload: Mapping[str, Any]) -> dict[str, Any]:
    options = payload["concurrency_options"]
    return {
        **payload,
        "schedules": [(each.schedule.cron, each.schedule.timezone) for each in payload["schedules"]],
        "concurrency_options": options and options.collision_strategy,
    }


def _stated(known: DeploymentResponse) -> dict[str, Any]:
    """The server's deployment, in the form of :func:`_comparable`."""
    limit = known.global_concurrency_limit.limit if known.global_concurrency_limit else None
    options = known.concurrency_options
    return {
        "entrypoint": known.entrypoint,
        "description": known.description,
        "tags": sorted(known.tags),
        "parameters": known.parameters,
        "parameter_openapi_schema": known.parameter_openapi_schema,
        "enforce_parameter_schema": known.enforce_parameter_schema,
        "schedules": [
            (getattr(each.schedule, "cron", None), getattr(each.schedule, "timezone", None)) for each in known.schedules
        ],
        "concurrency_limit": limit,
        "concurrency_options": options and options.collision_strategy,
        "work_pool_name": known.work_pool_name,
    }


def main() -> int:
    """Apply, and say what changed."""
    try:
        applied = apply(Settings.from_env())
    except TrimtabError as error:
        print(f"trimtab: {error}", file=sys.stderr)
        return 1
    for what in ("created", "updated", "removed"):
        for name in getattr(applied, what):
            print(f"{what}  {name}")
    print(applied)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
