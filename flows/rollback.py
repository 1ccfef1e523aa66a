"""cause → version → image → start → prove → switch → verify → record → alias → drain: an older version serves again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from tasks import rollout
from tasks.image import build_image
from tasks.lineage import record, recorded
from tasks.registry import promote
from trimtab.errors import SpecError
from trimtab.records import Cause, Release, content_id


@flow(flow_run_name="rollback-{model}", description="Bring an older version of a model back into service.")
def rollback(
    model: str,
    reason: str,
    to_version: str | None = None,
    as_of: datetime | None = None,
    cause: dict[str, Any] | None = None,
) -> Release:
    """Bring back the version that served before, or ``to_version``; what serves goes on serving until it is proved.

    ``cause`` is the payload of the event that a ROLLBACK ruling emits; without it a person asked, and ``reason`` tells.
    """
    why = record(rollback_cause(model, reason, as_of, cause))
    version, candidate = rollout.find_restored(why, to_version)
    image = record(build_image(model, version, candidate))
    release = rollout.plan_release(version, image, why)
    url = rollout.start_release(release, image)
    rollout.check_golden(release, url)
    rollout.switch_route(release, url)
    rollout.verify_serving(release)
    record(release)
    promote(version)
    rollout.drain_previous(release)
    return release


def rollback_cause(model: str, reason: str, as_of: datetime | None, payload: dict[str, Any] | None) -> Cause:
    """Why a rollback runs: the ruling that an event names, or a person's reason."""
    if payload is not None:
        if payload["model"] != model:
            raise SpecError(f"the event is about model {payload['model']!r}; this run is of {model!r}")
        return Cause(
            id=content_id("cause", payload["ruling_id"]),
            model=model,
            trigger="rollback",
            reason=payload.get("reason", reason),
            as_of=payload["as_of"],
            ruling_id=payload["ruling_id"],
        )
    moment = as_of or datetime.now(UTC)
    if moment.tzinfo is None:
        raise SpecError(f"as_of is {moment.isoformat()}; it must have a timezone, such as {moment.isoformat()}+00:00")
    cause_id = content_id("cause", model, "rollback", flow_run.get_id() or moment)
    if known := recorded(Cause, cause_id):
        return known
    return Cause(
        id=cause_id,
        model=model,
        trigger="rollback",
        reason=reason,
        as_of=moment,
    )
