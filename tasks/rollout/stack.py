"""The stack that a release is rolled out in: its gateway, its runtimes, and what the ledger says of its releases."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import msgspec

from tasks.rollout.scorers import Scorers
from trimtab.errors import RolloutError
from trimtab.ledger import Ledger
from trimtab.models import load_model
from trimtab.records import Candidate, Image, Release, Version
from trimtab.release.runtimes import ScorerOrder
from trimtab.scoring.model import MANIFEST, Manifest
from trimtab.serving.client import GatewayClient
from trimtab.serving.routes import Route, RouteFeature, RouteLimits
from trimtab.settings import Settings


class Stack(Scorers):
    """One home's gateway, runtimes and records. Made by :func:`open_stack`, which closes what it opened."""

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, to read from."""
        return Ledger(self.settings.ledger)

    @cached_property
    def gateway(self) -> GatewayClient:
        """The gateway's client."""
        return self._resources.enter_context(GatewayClient(self.settings))

    def artifact(self, digest: str) -> Path:
        """Folder of an artifact."""
        return self.settings.artifacts_dir / digest

    def order(self, release: Release, image: Image) -> ScorerOrder:
        """What a runtime is asked to run for a release."""
        serving = load_model(self.settings.models_dir, release.model).spec.serving
        return ScorerOrder(
            release_id=release.id,
            model=release.model,
            version=release.version,
            reference=image.pushed or image.reference,
            artifact=self.artifact(release.artifact_digest),
            artifact_digest=release.artifact_digest,
            memory_mb=serving.memory_mb,
            start_timeout_s=serving.start_timeout_s,
        )

    def route(self, release: Release, url: str) -> Route:
        """The gateway's route to a release: the features are those of its artifact, the rest stands in the spec."""
        manifest = msgspec.json.decode((self.artifact(release.artifact_digest) / MANIFEST).read_bytes(), type=Manifest)
        spec = load_model(self.settings.models_dir, release.model).spec
        return Route(
            model=release.model,
            version=release.version,
            release_id=release.id,
            url=url,
            artifact_digest=release.artifact_digest,
            kind=manifest.kind,
            features=tuple(RouteFeature(item.name, item.type, item.nullable) for item in manifest.features),
            decision_threshold=spec.serving.decision_threshold,
            log_policy=spec.serving.log_policy,
            limits=RouteLimits(**spec.serving.limits.model_dump()),
            classes=manifest.classes,
        )

    def version(self, version_id: str) -> tuple[Version, Candidate]:
        """A recorded version and its candidate."""
        version = self.ledger.find(Version, version_id)
        candidate = self.ledger.find(Candidate, version.candidate_id) if version else None
        if version is None or candidate is None:
            raise RolloutError(f"{version_id} or its candidate is not on record")
        return version, candidate

    def serve(self, release: Release) -> str:
        """See that a recorded release runs and that the route leads to it; returns its scorer's URL."""
        with self.moving(release.model):
            url = self._start(release)
            self.gateway.switch(self.route(release, url))
            return url

    def restore(self, release: Release, seen: Route) -> str:
        """See that a recorded release runs, and that the route leads to it if it still leads to what was seen.

        Returns the URL that the route leads to; empty if it was withdrawn meanwhile.
        """
        with self.moving(release.model):
            url = self._start(release)
            now = self.gateway.routes().get(release.model)
            if now is None or now.release_id != seen.release_id:
                # Another release was rolled out meanwhile: it is not put back.
                if now is None or now.release_id != release.id:
                    self.runtime(release.runtime).stop(release.id)
                return now.url if now else ""
            if (route := self.route(release, url)) != now:
                self.gateway.switch(route)
            return url

    @contextmanager
    def moving(self, model: str) -> Iterator[None]:
        """One at a time moves a model's route: another process of this home that wants to waits here."""
        self.settings.releases_dir.mkdir(parents=True, exist_ok=True)
        with (self.settings.releases_dir / f"{model}.route.lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    def put_back(self, release: Release) -> str:
        """Let what served before this release serve again, stop this release's scorer; returns what serves now."""
        previous = self.ledger.find(Release, release.previous_id) if release.previous_id else None
        if previous is None:
            self.gateway.withdraw(release.model)
        else:
            self.serve(previous)
        self.runtime(release.runtime).stop(release.id)
        return previous.id if previous else "nothing (there was no release before)"

    def _start(self, release: Release) -> str:
        image = self.ledger.find(Image, release.image_id)
        if image is None:
            raise RolloutError(f"{release.id} was built as {release.image_id}, which is not on record")
        return self.runtime(release.runtime).start(self.order(release, image))


@contextmanager
def open_stack() -> Iterator[Stack]:
    """The stack that the settings name, for the length of a step."""
    with ExitStack() as resources:
        yield Stack(Settings.from_env(), resources)
