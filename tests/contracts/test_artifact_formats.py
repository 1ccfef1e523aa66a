"""Artifacts of every format that was ever on record (samples/artifact-1-*) are loaded and score as on that day."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.rollout.golden import TOLERANCES
from trimtab.scoring.model import Artifact

SAMPLES = Path(__file__).parent / "samples"


@pytest.mark.parametrize(
    ("artifact_format", "digest"),
    [
        ("treelite", "be944b4406ed044bf396c9437812f975c3d405f888bdf73baeb4d979dd4132c9"),
        ("onnx", "642781e4cd7e148f8776f228982b3f73e8cc87f3711c53a8a5c5c6213529f06c"),
    ],
)
def test_an_artifact_on_record_is_read_for_ever(artifact_format: str, digest: str) -> None:
    """Its digest is what it was, and its golden rows have the scores that training gave them."""
    artifact = Artifact.load(SAMPLES / f"artifact-1-{artifact_format}", digest)
    assert artifact.manifest.format == artifact_format
    golden = artifact.golden()
    scores = artifact.predict(artifact.encode(golden.inputs))
    assert np.abs(scores - golden.scores).max() <= TOLERANCES[artifact_format]
