"""Model images: what a release runs, from the artifact and its environment lock alone."""

from __future__ import annotations

from prefect import task

from trimtab.records import Candidate, Image, Version


@task(task_run_name="build image of {model} {version.version}")
def build_image(model: str, version: Version, candidate: Candidate) -> Image:
    """Build what a release of this version runs; building it again gives the same digest.

    The image that the ledger already names for this version is returned if it is still there, else it is rebuilt.
    Where no Docker engine answers (runtime ``auto``) or the spec or setting asks for it, the "image" is a virtual
    environment from the same lock. Idempotent; blocking. Does not record: the flow does (``record(image)``).

    Parameters
    ----------
    model
        Name of the model.
    version, candidate
        What is to be served; ``candidate.artifact_digest`` names the folder under ``Settings.artifacts_dir``.

    Raises
    ------
    ImageError
        If the artifact is missing or altered, there is no base image, or Docker or uv fails; nothing is half-done.
    """
    raise NotImplementedError
