"""Rolling a release out: start it, prove it, switch the route to it, prove that it serves, drain the old one.

Every step may be repeated. Until `switch_route` the old release serves; if a step fails, the new scorer is stopped, the
old release goes on serving, and the error propagates. In a flow::

    image = record(build_image(model, version, candidate))
    release = plan_release(version, image, cause)     # its id is known before it runs
    url = start_release(release, image)
    check_golden(release, url)
    switch_route(release, url)
    verify_serving(release)
    record(release)
    promote(version)                                  # the alias moves last
    drain_previous(release)
"""

from __future__ import annotations

from prefect import task

from trimtab.records import Cause, Image, Release, Version


@task
def plan_release(version: Version, image: Image, cause: Cause) -> Release:
    """State the release that is to be: the recorded one if this was done before, else a new one after the latest.

    ``since`` is the cause's ``as_of``, ``previous_id`` the model's latest recorded release. Reads the ledger, writes
    nothing. Idempotent: the id follows from version, image and cause.
    """
    raise NotImplementedError


@task
def start_release(release: Release, image: Image) -> str:
    """Start the release's scorer, wait until it is ready, and return its base URL.

    Idempotent: a scorer of this release that runs and is ready is left as it is. Blocks for at most the spec's
    ``serving.start_timeout_s``.

    Raises
    ------
    RolloutError
        If it does not become ready; it is stopped, and the message ends with the last lines of its log.
    """
    raise NotImplementedError


@task
def check_golden(release: Release, url: str) -> int:
    """Score the artifact's golden rows over HTTP and compare with training's output; returns the number of rows.

    Raises
    ------
    RolloutError
        If any score differs by more than 1e-9 (compiled) or 1e-6 (else); the scorer is stopped.
    """
    raise NotImplementedError


@task
def switch_route(release: Release, url: str) -> None:
    """Point the gateway's route for the model at this release; returns when the old route has no request left.

    Idempotent.

    Raises
    ------
    RolloutError
        If the gateway refuses; the scorer is stopped and the old route stands.
    ServiceUnavailableError
        If the gateway does not answer, after retries.
    """
    raise NotImplementedError


@task
def verify_serving(release: Release) -> None:
    """Ask the gateway which artifact serves; anything but this release's puts the previous release back.

    Raises
    ------
    RolloutError
        If the gateway reports another artifact digest or release.
    """
    raise NotImplementedError


@task
def drain_previous(release: Release) -> list[str]:
    """Stop every scorer of the model but this release's; returns the ids of the releases that were stopped.

    Idempotent. Call after `switch_route` only.
    """
    raise NotImplementedError


def restore() -> dict[str, str]:
    """See that every route of the gateway has its scorer running again, after a restart of the machine.

    A scorer may come back under another address; its route is then updated. Returns the scorers' URLs by model.
    """
    raise NotImplementedError


def stop_all() -> None:
    """Stop every scorer of this home, of both runtimes; called when a stack shuts down. Idempotent."""
    raise NotImplementedError
