"""cause → version → image → start → prove → switch → verify → record → alias → drain: an older version serves again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.causes import refused, rollback_cause
from tasks.image import build_image
from tasks.lineage import record
from tasks.registry import promote
from tasks.rollout import steps as rollout
from trimtab.records import Release


@flow(flow_run_name="rollback {model}", description="Bring an older version of a model back into service.")
def rollback(
    model: str,
    reason: str,
    to_version: str | None = None,
    as_of: datetime | None = None,
    cause: dict[str, Any] | None = None,
) -> Release | State[Any]:
    """Bring back the version that served before, or ``to_version``; what serves goes on serving until it is proved.

    ``cause`` is the payload of the event that a ROLLBACK ruling emits; without it a person asked, and ``reason`` tells.
    A ruling's run does nothing, and ends as Skipped, when what was ruled on no longer serves.
    """
    why = rollback_cause(model, as_of, reason, cause or {})
    if skipped := refused(why):
        return skipped
    record(why)
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
