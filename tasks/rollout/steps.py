"""The steps of rolling a release out, as Prefect tasks; the package says in which order they are taken."""

from __future__ import annotations

from prefect import task

from tasks.rollout.golden import golden_difference
from tasks.rollout.stack import Stack, open_stack
from trimtab.errors import RequestError, RolloutError, ServiceUnavailableError
from trimtab.records import Candidate, Cause, Image, Release, Version, content_id
from trimtab.release.history import version_to_restore


@task(task_run_name="find what {cause.model} goes back to")
def find_restored(cause: Cause, to_version: str | None = None) -> tuple[Version, Candidate]:
    """The version that a rollback brings back, and its candidate; see `trimtab.release.history.version_to_restore`.

    Idempotent for a cause: once its release is recorded, that release's version is found again.

    Raises
    ------
    RolloutError
        If there is nothing to go back to.
    """
    with open_stack() as stack:
        rollbacks = {item.id for item in stack.ledger.records(Cause, cause.model) if item.trigger == "rollback"}
        releases = stack.ledger.records(Release, cause.model)
        number = version_to_restore(releases, rollbacks, cause.id, to_version)
        version_id = next(release.version_id for release in reversed(releases) if release.version == number)
        return stack.version(version_id)


@task(task_run_name="plan release of {version.model} {version.version}")
def plan_release(version: Version, image: Image, cause: Cause) -> Release:
    """State the release that is to be: the recorded one if this was done before, else a new one after the latest.

    ``since`` is the cause's ``as_of``, ``previous_id`` the model's latest recorded release, ``endpoint`` the model's
    address at the gateway, which outlives every scorer. Reads the ledger, writes nothing. Idempotent: the id follows
    from version, image and cause.
    """
    with open_stack() as stack:
        release_id = content_id("release", version.id, image.id, cause.id)
        if (known := stack.ledger.find(Release, release_id)) is not None:
            return known
        latest = stack.ledger.latest(Release, version.model)
        return Release(
            id=release_id,
            model=version.model,
            version=version.version,
            version_id=version.id,
            candidate_id=version.candidate_id,
            image_id=image.id,
            artifact_digest=image.artifact_digest,
            runtime=image.runtime,
            endpoint=f"{stack.settings.gateway_url}/v2/models/{version.model}",
            cause_id=cause.id,
            since=cause.as_of,
            previous_id=latest.id if latest else None,
        )


@task(task_run_name="start {release.model} {release.version}")
def start_release(release: Release, image: Image) -> str:
    """Start the release's scorer, wait until it is ready, and return its base URL.

    Idempotent: a scorer of this release that runs and is ready is left as it is. Blocks for at most the spec's
    ``serving.start_timeout_s``.

    Raises
    ------
    RolloutError
        If it does not become ready; it is stopped, and the message ends with the last lines of its log.
    """
    with open_stack() as stack:
        return stack.runtime(release.runtime).start(stack.order(release, image))


@task(task_run_name="check golden rows of {release.model} {release.version}")
def check_golden(release: Release, url: str) -> int:
    """Score the artifact's golden rows over HTTP and compare with training's output; returns the number of rows.

    Raises
    ------
    RolloutError
        If any score differs by more than 1e-9 (compiled) or 1e-6 (else); the scorer is stopped.
    """
    with open_stack() as stack:
        try:
            return golden_difference(stack.artifact(release.artifact_digest), release, url)
        except RolloutError:
            _stop_unless_it_serves(stack, release)
            raise


@task(
    task_run_name="switch {release.model} to {release.version}",
    retries=3,
    retry_delay_seconds=2,
    retry_condition_fn=lambda task, run, state: isinstance(
        state.result(raise_on_failure=False), ServiceUnavailableError
    ),
)
def switch_route(release: Release, url: str) -> None:
    """Point the gateway's route for the model at this release; returns when the old route has no request left.

    Idempotent.

    Raises
    ------
    RolloutError
        If the gateway refuses, or another run has released meanwhile what this release was never compared with; the
        scorer is stopped and the old route stands.
    ServiceUnavailableError
        If the gateway does not answer, after retries; the scorer waits for another run of this step.
    """
    with open_stack() as stack:
        try:
            with stack.moving(release.model):
                _refuse_if_overtaken(stack, release)
                stack.gateway.switch(stack.route(release, url))
        except RequestError as error:
            _stop_unless_it_serves(stack, release)
            raise RolloutError(f"the gateway refused the route to {release.id} at {url}: {error}") from error


@task(task_run_name="verify that {release.model} {release.version} serves")
def verify_serving(release: Release) -> None:
    """Ask the gateway which artifact serves; anything but this release's puts the previous release back.

    Raises
    ------
    RolloutError
        If the gateway reports another artifact digest or release, or the model's scorer does not answer it.
    """
    with open_stack() as stack:
        try:
            serving = stack.gateway.metadata(release.model)
            found = (serving["route"]["release_id"], serving["artifact_digest"])
        except (RequestError, ServiceUnavailableError, KeyError) as error:
            found = (f"nothing ({error})", "")
        if found == (release.id, release.artifact_digest):
            return
        served_before = stack.put_back(release)
        raise RolloutError(
            f"after the switch the gateway serves {found[0]} with artifact {found[1] or 'unknown'}; it should serve "
            f"{release.id} with {release.artifact_digest}. {served_before} serves again"
        )


@task(task_run_name="drain what {release.model} {release.version} replaced")
def drain_previous(release: Release) -> list[str]:
    """Stop every scorer of the model but this release's; returns the ids of the releases that were stopped.

    Idempotent. Call after `switch_route` only.

    Raises
    ------
    RolloutError
        If the route leads to another release: nothing is stopped then.
    """
    with open_stack() as stack:
        route = stack.gateway.routes().get(release.model)
        if route is None or route.release_id != release.id:
            raise RolloutError(f"{release.id} is not what the gateway's route for {release.model} leads to: {route}")
        stopped = []
        for runtime in stack.runtimes():
            for release_id in runtime.running(release.model):
                if release_id != release.id:
                    runtime.stop(release_id)
                    stopped.append(release_id)
        return stopped


def _refuse_if_overtaken(stack: Stack, release: Release) -> None:
    """A retraining and a rollback may be under way at once: the one that comes second must not undo the other's."""
    latest = stack.ledger.latest(Release, release.model)
    if latest is None or latest.id in (release.id, release.previous_id):
        return
    _stop_unless_it_serves(stack, release)
    raise RolloutError(
        f"{release.id} was to follow {release.previous_id or 'nothing'}, but version {latest.version} ({latest.id}) "
        "came into service meanwhile, and goes on serving: run this again to start from it"
    )


def _stop_unless_it_serves(stack: Stack, release: Release) -> None:
    """A step that is repeated after the switch must not stop what serves; nor one that cannot ask what serves."""
    try:
        route = stack.gateway.routes().get(release.model)
    except ServiceUnavailableError:
        return
    if route is None or route.release_id != release.id:
        stack.runtime(release.runtime).stop(release.id)
