"""A gateway and MLflow of their own for tests that roll releases of small loan artifacts out, by processes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tasks.image import build_image
from tasks.rollout.steps import (
    check_golden,
    drain_previous,
    plan_release,
    start_release,
    switch_route,
    verify_serving,
)
from tests.loan_artifact import ROWS, make_artifact, records_of
from trimtab.ledger import Ledger
from trimtab.records import Cause, Image, Release
from trimtab.release.processes import ProcessRuntime
from trimtab.scoring.model import artifact_digest
from trimtab.serving.client import GatewayClient
from trimtab.settings import Settings


@dataclass
class Rollouts:
    """What a flow would do, step by step."""

    settings: Settings
    gateway: GatewayClient

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.settings.ledger)

    @property
    def runtime(self) -> ProcessRuntime:
        return ProcessRuntime(self.settings.releases_dir)

    def artifact(self, seed: int) -> str:
        """The digest of the artifact of that seed, made if it is not there."""
        marker = self.settings.home / f"seed-{seed}"
        if not marker.is_file():
            marker.write_text(make_artifact(self.settings.artifacts_dir, seed))
        return marker.read_text()

    def artifact_with_wrong_golden_scores(self) -> str:
        """An artifact whose golden scores are not what it scores."""
        whole = self.settings.artifacts_dir / self.artifact(99)
        golden = json.loads((whole / "golden.json").read_text())
        golden["scores"][2] += 1e-6
        (whole / "golden.json").write_text(json.dumps(golden))
        digest = artifact_digest(whole)
        whole.rename(self.settings.artifacts_dir / digest)
        return digest

    def plan(self, number: int, digest: str) -> tuple[Release, Image]:
        """Records up to the release, all but the release itself on record."""
        records, version, candidate, cause = records_of(digest, number)
        image = build_image.fn("loan", version, candidate)
        for record in (*records, image):
            self.ledger.append(record)
        return plan_release.fn(version, image, cause), image

    def roll_out(self, number: int, seed: int | None = None) -> Release:
        """All steps, to the end."""
        release, image = self.plan(number, self.artifact(number if seed is None else seed))
        url = start_release.fn(release, image)
        check_golden.fn(release, url)
        switch_route.fn(release, url)
        verify_serving.fn(release)
        self.ledger.append(release)
        drain_previous.fn(release)
        return release

    def cause(self, cause_id: str) -> Cause:
        found = self.ledger.find(Cause, cause_id)
        assert found is not None
        return found

    def serving(self) -> tuple[str, str]:
        """Release and artifact that the gateway says serve, proved by a prediction that names the release."""
        metadata = self.gateway.metadata("loan")
        assert self.gateway.infer("loan", ROWS)["release_id"] == metadata["route"]["release_id"]
        return metadata["route"]["release_id"], metadata["artifact_digest"]


def new_home(home: Path, shared: Path) -> Path:
    """A home that shares built environments and layers with others: they are the same, and take seconds."""
    (home / "releases").mkdir(parents=True)
    for kept in ("environments", "layers"):
        (shared / kept).mkdir(parents=True, exist_ok=True)
        (home / "releases" / kept).symlink_to(shared / kept)
    return home
