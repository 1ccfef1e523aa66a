"""Model images: what a release runs, from the artifact and its environment lock alone.

The image is written by us, layer for layer (trimtab/release/), and given to the Docker engine whole: no build
runs inside it, nothing is fetched by it, and the same inputs give the same digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import platform
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prefect import task
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from trimtab.errors import ImageError
from trimtab.ledger import Ledger
from trimtab.models import load_model
from trimtab.records import Candidate, Image, Version, content_id
from trimtab.release.environment import ensure_environment, environment_name
from trimtab.release.images import BaseImage, ModelImage, describe_image, write_archive
from trimtab.release.layers import (
    artifact_layer,
    check_artifact,
    code_digest,
    code_layer,
    dependency_layer,
    ensure_code,
)
from trimtab.release.runtimes import why_no_listener
from trimtab.settings import Settings

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image as EngineImage

OWN_BASE, PUBLIC_BASE = "trimtab-python:3.11", "python:3.11-slim"
ENGINE_TIMEOUT_S = 300


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
    for image in known:
        if _find(engine, image.reference) is not None:
            return image
    cache = settings.releases_dir / "layers"
    layers = (
        dependency_layer(_lock(candidate, settings), base.architecture, cache),
        code_layer(cache),
        artifact_layer(settings.artifacts_dir / candidate.artifact_digest, candidate.artifact_digest, cache),
    )
    built = describe_image(base, layers, version, candidate, candidate.snapshot_id)
    loaded = _find(engine, built.reference) or _load(engine, built, cache)
    size = int(loaded.attrs["Size"])
    return _image(version, candidate, "docker", built.digest, built.reference, f"{base.reference}@{base.digest}", size)


@contextlib.contextmanager
def _engine_and_base(runtime: str, settings: Settings) -> Iterator[tuple[docker.DockerClient, BaseImage] | None]:
    """The engine and the base image, or None where releases are to run as processes."""
    if runtime == "process":
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(contextlib.closing(_connect()))
            chosen = (engine, _base_image(engine, settings.base_image))
        except ImageError as error:
            if runtime == "docker":
                raise
            _log().warning("a virtual environment takes the place of an image: %s", error)
            chosen = None
        yield chosen


def _connect() -> docker.DockerClient:
    import docker
    from docker.constants import DEFAULT_UNIX_SOCKET
    from docker.utils import kwargs_from_env

    advice = "the Docker engine does not answer; start it, or set TRIMTAB_RUNTIME=process"
    if reason := why_no_listener(kwargs_from_env().get("base_url", DEFAULT_UNIX_SOCKET)):
        raise ImageError(f"{advice}: {reason}")
    with _as_image_error(advice):
        engine = docker.from_env(timeout=ENGINE_TIMEOUT_S)
        engine.ping()
    return engine


def _base_image(engine: docker.DockerClient, asked: str) -> BaseImage:
    names = [asked] if asked else [OWN_BASE, PUBLIC_BASE]
    found = next((image for name in names if (image := _find(engine, name)) is not None), None)
    if found is None:
        with _as_image_error(
            f"there is no base image {' or '.join(names)} and {names[-1]} cannot be pulled; run infra/base-image.sh "
            "to make one, or set TRIMTAB_BASE_IMAGE to an image with Python 3.11"
        ):
            repository, _, tag = names[-1].partition(":")
            found = engine.images.pull(repository, tag=tag or "latest")
    attributes = found.attrs
    return BaseImage(
        reference=(found.tags or names)[0],
        image_id=str(found.id),
        architecture=attributes["Architecture"],
        layers=tuple(attributes["RootFS"]["Layers"]),
        environment=tuple(attributes["Config"].get("Env") or ()),
    )


def _find(engine: docker.DockerClient, reference: str) -> EngineImage | None:
    from docker.errors import ImageNotFound

    with _as_image_error(f"the Docker engine failed while looking for {reference}"):
        try:
            return engine.images.get(reference)
        except ImageNotFound:
            return None


def _load(engine: docker.DockerClient, image: ModelImage, cache: Path) -> EngineImage:
    """Give the engine the image; first without the layers that it has, then, if it insists, with all of them."""
    known = _known_layers(engine, image)
    with tempfile.TemporaryDirectory(dir=cache, prefix="load-") as folder:
        archive = Path(folder) / "image.tar"
        try:
            write_archive(image, known, {}, archive)
            return _send(engine, archive, image)
        except ImageError as error:
            _log().info("the engine wants all layers of %s: %s", image.reference, error)
        with _as_image_error(f"the Docker engine did not hand out {image.base.reference}"):
            base_layers = _save_base(engine, image.base, Path(folder))
        write_archive(image, 0, base_layers, archive)
        return _send(engine, archive, image)


def _known_layers(engine: docker.DockerClient, image: ModelImage) -> int:
    """How many of the image's layers, from the bottom, the engine has: the base's, and those of an earlier version."""
    known = len(image.base.layers)
    label = f"trimtab.base_digest={image.base.digest}"
    with _as_image_error("the Docker engine failed while listing images"):
        for other in engine.images.list(filters={"label": label}):
            shared = zip(image.diff_ids, other.attrs["RootFS"]["Layers"], strict=False)
            known = max(known, next((n for n, (own, its) in enumerate(shared) if own != its), known))
    return known


def _send(engine: docker.DockerClient, archive: Path, image: ModelImage) -> EngineImage:
    with _as_image_error(f"the Docker engine did not load {image.reference}"), archive.open("rb") as content:
        engine.images.load(content)
    loaded = _find(engine, image.reference)
    if loaded is None or tuple(loaded.attrs["RootFS"]["Layers"]) != image.diff_ids:
        raise ImageError(f"the Docker engine loaded something other than {image.reference}")
    return loaded


def _save_base(engine: docker.DockerClient, base: BaseImage, folder: Path) -> dict[str, Path]:
    saved = folder / "base.tar"
    with saved.open("wb") as target:
        for chunk in engine.images.get(base.image_id).save():
            target.write(chunk)
    with tarfile.open(saved) as archive:
        content = archive.extractfile("manifest.json")
        assert content is not None
        names = json.load(content)[0]["Layers"]
        for name in names:
            archive.extract(name, folder / "base", filter="data")
    return {digest: folder / "base" / name for digest, name in zip(base.layers, names, strict=True)}


@contextlib.contextmanager
def _as_image_error(what: str) -> Iterator[None]:
    from docker.errors import DockerException
    from requests import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        raise ImageError(f"{what}: {error}") from error


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
) -> Image:
    return Image(
        id=content_id("image", version.id, runtime, digest),
        model=version.model,
        version_id=version.id,
        runtime=runtime,
        digest=digest,
        reference=reference,
        base=base,
        environment_digest=candidate.environment_digest,
        artifact_digest=candidate.artifact_digest,
        size_bytes=size_bytes,
    )


def _log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("trimtab.image")
