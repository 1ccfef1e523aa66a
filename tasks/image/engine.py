"""The Docker engine: the base image, the images that it has, and how it is given one."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from trimtab.errors import ImageError
from trimtab.release.images import BaseImage, ModelImage, write_archive
from trimtab.release.runtimes import why_no_listener

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image as EngineImage

BASES = ("trimtab-scorer:3.11", "trimtab-python:3.11", "python:3.11-slim")
"""Base images, the smallest first; the last can be pulled."""

ENGINE_TIMEOUT_S = 300


def connect() -> docker.DockerClient:
    """The engine that Docker's own variables name.

    Raises
    ------
    ImageError
        If it does not answer.
    """
    import docker
    from docker.constants import DEFAULT_UNIX_SOCKET
    from docker.utils import kwargs_from_env

    advice = "the Docker engine does not answer; start it, or set TRIMTAB_RUNTIME=process"
    if reason := why_no_listener(kwargs_from_env().get("base_url", DEFAULT_UNIX_SOCKET)):
        raise ImageError(f"{advice}: {reason}")
    with as_image_error(advice):
        engine = docker.from_env(timeout=ENGINE_TIMEOUT_S)
        engine.ping()
    return engine


def base_image(engine: docker.DockerClient, asked: str) -> BaseImage:
    """The base that is asked for, or the first of `BASES` that the engine has; the last name is pulled if need be.

    Raises
    ------
    ImageError
        If there is none.
    """
    from docker.utils import parse_repository_tag

    names = [asked] if asked else list(BASES)
    found = next((image for name in names if (image := find(engine, name)) is not None), None)
    if found is None:
        with as_image_error(
            f"there is no base image {' or '.join(names)} and {names[-1]} cannot be pulled; run infra/scorer-base.sh "
            "to make one, or set TRIMTAB_BASE_IMAGE to an image with Python 3.11"
        ):
            repository, tag = parse_repository_tag(names[-1])
            found = engine.images.pull(repository, tag=tag or "latest")
    attributes = found.attrs
    return BaseImage(
        reference=(found.tags or names)[0],
        image_id=str(found.id),
        architecture=attributes["Architecture"],
        layers=tuple(attributes["RootFS"]["Layers"]),
        environment=tuple(attributes["Config"].get("Env") or ()),
    )


def find(engine: docker.DockerClient, reference: str) -> EngineImage | None:
    """The image of that name, id or digest, if the engine has it."""
    from docker.errors import ImageNotFound

    with as_image_error(f"the Docker engine failed while looking for {reference}"):
        try:
            return engine.images.get(reference)
        except ImageNotFound:
            return None


def load(engine: docker.DockerClient, image: ModelImage, cache: Path) -> EngineImage:
    """Give the engine the image; first without the layers that it has, then, if it insists, with all of them."""
    known = _known_layers(engine, image)
    with tempfile.TemporaryDirectory(dir=cache, prefix="load-") as folder:
        archive = Path(folder) / "image.tar"
        try:
            write_archive(image, known, {}, archive)
            return _send(engine, archive, image)
        except ImageError as error:
            log().info("the engine wants all layers of %s: %s", image.reference, error)
        with as_image_error(f"the Docker engine did not hand out {image.base.reference}"):
            base_layers = _save_base(engine, image.base, Path(folder))
        write_archive(image, 0, base_layers, archive)
        return _send(engine, archive, image)


def _known_layers(engine: docker.DockerClient, image: ModelImage) -> int:
    """How many of the image's layers, from the bottom, the engine has: the base's, and those of an earlier version."""
    known = len(image.base.layers)
    label = f"trimtab.base_digest={image.base.digest}"
    with as_image_error("the Docker engine failed while listing images"):
        for other in engine.images.list(filters={"label": label}):
            shared = zip(image.diff_ids, other.attrs["RootFS"]["Layers"], strict=False)
            known = max(known, next((n for n, (own, its) in enumerate(shared) if own != its), known))
    return known


def _send(engine: docker.DockerClient, archive: Path, image: ModelImage) -> EngineImage:
    with as_image_error(f"the Docker engine did not load {image.reference}"), archive.open("rb") as content:
        engine.images.load(content)
    loaded = find(engine, image.reference)
    if loaded is None or tuple(loaded.attrs["RootFS"]["Layers"]) != image.diff_ids:
        raise ImageError(f"the Docker engine loaded something other than {image.reference}")
    return loaded


def _save_base(engine: docker.DockerClient, base: BaseImage, folder: Path) -> dict[str, Path]:
    saved, layers = folder / "base.tar", folder / "base"
    layers.mkdir()
    with saved.open("wb") as target:
        for chunk in engine.images.get(base.image_id).save():
            target.write(chunk)
    with tarfile.open(saved) as archive:
        content = archive.extractfile("manifest.json")
        assert content is not None
        names = json.load(content)[0]["Layers"]
        found = {digest: layers / f"{number}.tar" for number, digest in enumerate(base.layers)}
        for name, path in zip(names, found.values(), strict=True):
            # Not extracted: to do that safely takes a filter that Python has from 3.11.4 on.
            layer = archive.extractfile(name)
            assert layer is not None
            with layer, path.open("wb") as target:
                shutil.copyfileobj(layer, target)
    return found


@contextlib.contextmanager
def as_image_error(what: str) -> Iterator[None]:
    """What goes wrong between us and the engine is an error that says what was wanted."""
    from docker.errors import DockerException
    from requests import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        raise ImageError(f"{what}: {error}") from error


def log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """The flow run\'s log, or a log of our own outside of one."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("trimtab.image")
