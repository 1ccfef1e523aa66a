"""What served, and what to go back to: pure reading of a model's releases."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from trimtab.errors import RolloutError
from trimtab.records import Release


def served_versions(releases: Sequence[Release], rollbacks: Collection[str]) -> list[str]:
    """Numbers of the versions that were trusted, in order, the last being what serves.

    A rollback takes away what came after the version that it brought back: going back twice goes back two versions, not
    back to the one that was left.

    Parameters
    ----------
    releases
        All releases of a model, oldest first.
    rollbacks
        Ids of the causes that were rollbacks.
    """
    served: list[str] = []
    for release in releases:
        if release.cause_id in rollbacks and release.version in served:
            del served[served.index(release.version) + 1 :]
        elif not served or served[-1] != release.version:
            served.append(release.version)
    return served


def version_to_restore(
    releases: Sequence[Release], rollbacks: Collection[str], cause_id: str, to_version: str | None
) -> str:
    """The number of the version that a rollback brings back.

    What the same cause has brought back already, if it has; else ``to_version``; else the version before what serves.

    Raises
    ------
    RolloutError
        If there is nothing to go back to, ``to_version`` was never released, or it is what serves.
    """
    if done := next((release for release in releases if release.cause_id == cause_id), None):
        return done.version
    if not releases:
        raise RolloutError("nothing was ever released, so there is nothing to go back to; retrain the model first")
    model, serving = releases[-1].model, releases[-1].version
    released = sorted({release.version for release in releases}, key=lambda version: (len(version), version))
    if to_version is None:
        served = served_versions(releases, rollbacks)
        if len(served) < 2:
            raise RolloutError(
                f"no version of {model} served before version {serving}; name one with to_version (--to-version), of "
                f"{released}"
            )
        return served[-2]
    if to_version not in released:
        raise RolloutError(f"version {to_version!r} of {model} was never released; those that were: {released}")
    if to_version == serving:
        raise RolloutError(f"version {to_version} of {model} is what serves already; there is nothing to bring back")
    return to_version
