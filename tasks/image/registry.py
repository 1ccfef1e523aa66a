"""Pushing to a registry. Who may is Docker's affair (``docker login``): no credentials pass through here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks.image.engine import as_image_error, log
from trimtab.errors import ImageError, ServiceUnavailableError

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image as EngineImage

_REFUSALS = (
    "denied",
    "unauthorized",
    "no basic auth",
    "forbidden",
    "name unknown",
    "name invalid",
    "insufficient_scope",
)
"""What a registry says that will say the same again."""

_DONE = ("Pushed", "Layer already exists", "Mounted from")


def push(engine: docker.DockerClient, image: EngineImage, name: str, tag: str) -> str:
    """Push an image that the engine has; returns its address there by digest: ``name@sha256:...``.

    Layers that the registry has are not sent again. Idempotent; blocking; each layer that is there is logged.

    Parameters
    ----------
    name
        Registry, path and the image's name, as in ``registry.example.org/models/loan``.
    tag
        The tag that it gets there.

    Raises
    ------
    ImageError
        If the registry refuses it, or does not say under which digest it has it.
    ServiceUnavailableError
        If the registry does not answer, or breaks off.
    """
    with as_image_error(f"the Docker engine did not tag {name}:{tag}"):
        image.tag(name, tag)
    log().info("pushing %s:%s", name, tag)
    digest, done = "", 0
    with as_image_error(f"the Docker engine did not push {name}:{tag}"):
        for report in engine.images.push(name, tag=tag, stream=True, decode=True):
            if said := report.get("error"):
                raise _failure(f"{name}:{tag}", str(said))
            if str(report.get("status", "")).startswith(_DONE):
                done += 1
                log().info("%s:%s: layer %d of %d, %s", name, tag, done, _layers(image), report["status"].lower())
            digest = (report.get("aux") or {}).get("Digest", digest)
    if not digest:
        raise ImageError(f"the registry took {name}:{tag}, but did not say under which digest")
    log().info("pushed %s@%s", name, digest)
    return f"{name}@{digest}"


def _layers(image: EngineImage) -> int:
    attributes: dict[str, Any] = image.attrs
    return len(attributes["RootFS"]["Layers"])


def _failure(target: str, said: str) -> ImageError | ServiceUnavailableError:
    if any(words in said.lower() for words in _REFUSALS):
        return ImageError(
            f"the registry refuses {target}: {said}. `docker login` keeps credentials; TRIMTAB_IMAGE_REPOSITORY names "
            "the registry, where some need the repository to be made first"
        )
    return ServiceUnavailableError(f"the registry did not take {target}: {said}")
