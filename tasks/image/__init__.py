"""Model images: what a release runs, from the artifact and its environment lock alone.

The image is written by us, layer for layer (trimtab/release/), and given to the Docker engine whole: no build
runs inside it, nothing is fetched by it, and the same inputs give the same digest.

engine.py (the Docker engine) · registry.py (pushing to a registry)
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from prefect import task

from tasks.image import engine as engines
from tasks.image.registry import push
from trimtab.errors import ImageError, ServiceUnavailableError
from trimtab.ledger import Ledger
from trimtab.models import load_model
from trimtab.records import Candidate, Image, Version, content_id
from trimtab.release.environment import ensure_environment, environment_name
from trimtab.release.images import BaseImage, describe_image
from trimtab.release.layers import (
    artifact_layer,
    check_artifact,
    code_digest,
    code_layer,
    dependency_layer,
    ensure_code,
)
from trimtab.settings import Settings

if TYPE_CHECKING:
    import docker


@task(
    task_run_name="build image of {model} {version.version}",
    retries=3,
    retry_delay_seconds=5,
    retry_condition_fn=lambda task, run, state: isinstance(
        state.result(raise_on_failure=False), ServiceUnavailableError
    ),
)
def build_image(model: str, version: Version, candidate: Candidate) -> Image:
    """Build what a release of this version runs; building it again gives the same digest.

    The image that the ledger already names for this version is returned if it is still there, else it is rebuilt.
    Where no Docker engine answers (runtime ``auto``) or the spec or setting asks for it, the "image" is a virtual
    environment from the same lock. Where the setting ``image_repository`` names a registry, the image is pushed to it,
    and releases run it by the digest that it has there. Idempotent; blocking. Does not record: the flow does
    (``record(image)``).

    Parameters
    ----------
    model
        Name of the model.
    version, candidate
        What is to be served; ``candidate.artifact_digest`` names the folder under ``Settings.artifacts_dir``.

    Raises
    ------
    ImageError
        If the artifact is missing or altered, there is no base image, Docker or uv fails, or the registry refuses the
        image; nothing is half-done.
    ServiceUnavailableError
        If the registry does not take the image, after retries.
    """
    settings = Settings.from_env()
    check_artifact(settings.artifacts_dir / candidate.artifact_digest, candidate.artifact_digest)
    wanted = load_model(settings.models_dir, model).spec.serving.runtime
    with _engine_and_base(settings.runtime if wanted == "default" else wanted, settings) as chosen:
        runtime: Literal["docker", "process"] = "docker" if chosen else "process"
        known = [
            image
            for image in Ledger(settings.ledger).records(Image, model)
            if image.version_id == version.id and image.runtime == runtime
        ]
        if chosen is None:
            return _build_process(version, candidate, known, settings)
        return _build_docker(version, candidate, known, settings, *chosen)


def _build_process(version: Version, candidate: Candidate, known: list[Image], settings: Settings) -> Image:
    lock = _lock(candidate, settings)
    environments = settings.releases_dir / "environments"
    python = ensure_environment(lock, environments)
    for image in known:
        if (settings.releases_dir / "code" / image.reference.partition("/")[2]).is_dir():
            return image
    code = ensure_code(settings.releases_dir / "code")
    reference = f"{environment_name(lock)}/{code_digest()}"
    digest = "sha256:" + hashlib.sha256(f"{reference}/{candidate.artifact_digest}".encode()).hexdigest()
    parts = (python.parents[1], code, settings.artifacts_dir / candidate.artifact_digest)
    size = sum(path.stat().st_size for part in parts for path in part.rglob("*") if path.is_file())
    return _image(version, candidate, "process", digest, reference, f"python {platform.python_version()}", size)


def _build_docker(
    version: Version,
    candidate: Candidate,
    known: list[Image],
    settings: Settings,
    engine: docker.DockerClient,
    base: BaseImage,
) -> Image:
    registry = f"{settings.image_repository}/" if settings.image_repository else ""
    for image in known:
        if image.pushed.startswith(registry) and engines.find(engine, image.pushed or image.reference) is not None:
            return image
    cache = settings.releases_dir / "layers"
    layers = (
        dependency_layer(_lock(candidate, settings), base.architecture, cache),
        code_layer(cache),
        artifact_layer(settings.artifacts_dir / candidate.artifact_digest, candidate.artifact_digest, cache),
    )
    built = describe_image(base, layers, version, candidate, candidate.snapshot_id)
    loaded = engines.find(engine, built.reference) or engines.load(engine, built, cache)
    size, base_name = int(loaded.attrs["Size"]), f"{base.reference}@{base.digest}"
    pushed = push(engine, loaded, f"{registry}{version.model}", built.reference.partition(":")[2]) if registry else ""
    return _image(version, candidate, "docker", built.digest, built.reference, base_name, size, pushed)


@contextlib.contextmanager
def _engine_and_base(runtime: str, settings: Settings) -> Iterator[tuple[docker.DockerClient, BaseImage] | None]:
    """The engine and the base image, or None where releases are to run as processes."""
    if runtime == "process":
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(contextlib.closing(engines.connect()))
            chosen = (engine, engines.base_image(engine, settings.base_image))
        except ImageError as error:
            if runtime == "docker" or settings.image_repository:
                raise
            engines.log().warning("a virtual environment takes the place of an image: %s", error)
            chosen = None
        yield chosen


def _lock(candidate: Candidate, settings: Settings) -> str:
    return (settings.artifacts_dir / candidate.artifact_digest / "requirements.txt").read_text()


def _image(
    version: Version,
    candidate: Candidate,
    runtime: Literal["docker", "process"],
    digest: str,
    reference: str,
    base: str,
    size_bytes: int,
    pushed: str = "",
) -> Image:
    return Image(
        id=content_id("image", version.id, runtime, digest, *([pushed] if pushed else [])),
        model=version.model,
        version_id=version.id,
        runtime=runtime,
        digest=digest,
        reference=reference,
        base=base,
        environment_digest=candidate.environment_digest,
        artifact_digest=candidate.artifact_digest,
        size_bytes=size_bytes,
        pushed=pushed,
    )
