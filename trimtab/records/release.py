"""What is served: a version, its image, and its release."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from trimtab.records.base import Record


class Version(Record):
    """A candidate under its number in the MLflow registry."""

    kind: ClassVar[str] = "version"
    version: str
    candidate_id: str
    decision_id: str
    uri: str

    def parents(self) -> tuple[str, ...]:
        return (self.candidate_id, self.decision_id)


class Image(Record):
    """What a release runs: a container image, or (``runtime`` process) a virtual environment from the same lock.

    ``pushed`` is its address in a registry, by the digest that it has there (``host/models/loan@sha256:...``).
    """

    kind: ClassVar[str] = "image"
    version_id: str
    runtime: Literal["docker", "process"]
    digest: str
    reference: str
    base: str
    environment_digest: str
    artifact_digest: str
    size_bytes: int
    pushed: str = ""

    def parents(self) -> tuple[str, ...]:
        return (self.version_id,)


class Release(Record):
    """What serves, and since when (in event time: the ``as_of`` of the run that released it)."""

    kind: ClassVar[str] = "release"
    version: str
    version_id: str
    candidate_id: str
    image_id: str
    artifact_digest: str
    runtime: Literal["docker", "process"]
    endpoint: str
    cause_id: str
    since: AwareDatetime
    previous_id: str | None = None

    def parents(self) -> tuple[str, ...]:
        own = (self.version_id, self.image_id, self.cause_id)
        return (*own, self.previous_id) if self.previous_id else own
