"""A small artifact of the synthetic loan model, as training would leave it, and the records that lead to it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier

from trimtab.records import (
    Candidate,
    Cause,
    Decision,
    Evaluation,
    Metric,
    Record,
    Snapshot,
    Validation,
    Version,
    content_id,
)
from trimtab.release.environment import export_lock, lock_digest
from trimtab.scoring.model import Artifact, artifact_digest
from trimtab.training.onnx_trees import compile_trees

AS_OF = datetime(2024, 2, 1, tzinfo=UTC)
ROWS = {
    "income": [30.5, None, 80.25, 12.0],
    "age": [20, 35, 50, 79],
    "region": ["north", "south", None, "nowhere"],
    "employed": [True, False, None, True],
}


def make_artifact(artifacts_dir: Path, seed: int = 0, artifact_format: str = "onnx") -> str:
    """Train a small model, write its artifact folder under its digest, and return the digest."""
    random = np.random.default_rng(seed)
    matrix = np.column_stack(
        [
            random.lognormal(3.5, 0.5, 500),
            random.integers(18, 80, 500),
            random.integers(0, 4, 500),
            random.integers(0, 2, 500),
        ]
    )
    target = (matrix[:, 0] + random.normal(0, 10, 500) > 33).astype(int)
    categorical = np.array([False, False, True, False])
    estimator = HistGradientBoostingClassifier(max_iter=10, categorical_features=categorical, random_state=seed)
    estimator.fit(matrix, target)
    staged = artifacts_dir / f"staged-{artifact_format}-{seed}"
    staged.mkdir(parents=True)
    lock = export_lock(artifact_format)
    features = [
        {"name": "income", "type": "number", "nullable": True},
        {"name": "age", "type": "integer", "nullable": False},
        {"name": "region", "type": "category", "nullable": True, "categories": ["east", "north", "south", "west"]},
        {"name": "employed", "type": "boolean", "nullable": True},
    ]
    manifest = {"format_version": 1, "model": "loan", "kind": "binary", "format": artifact_format, "features": features}
    (staged / "manifest.json").write_text(json.dumps({**manifest, "environment_digest": lock_digest(lock)}))
    if artifact_format == "onnx":
        (staged / "model.onnx").write_bytes(compile_trees(estimator))
    else:
        skops.io.dump(estimator, staged / "model.skops")
    (staged / "requirements.txt").write_text(lock)
    artifact = Artifact.load(staged)
    scores = artifact.predict(artifact.encode(ROWS)).tolist()
    (staged / "golden.json").write_text(json.dumps({"inputs": ROWS, "scores": scores}))
    digest = artifact_digest(staged)
    staged.rename(artifacts_dir / digest)
    return digest


def records_of(digest: str, number: int, trigger: str = "manual") -> tuple[list[Record], Version, Candidate, Cause]:
    """The chain of records that a run would have stated up to the version, in the ledger's order."""
    cause = Cause(
        id=content_id("cause", "loan", trigger, number), model="loan", trigger=trigger, reason="test", as_of=AS_OF
    )
    snapshot = Snapshot(
        id=content_id("snapshot", number),
        model="loan",
        digest="0" * 64,
        uri="",
        rows=1,
        start=AS_OF,
        end=AS_OF,
        as_of=AS_OF,
        purpose="training",
        columns={},
        source="data:load",
    )
    validation = Validation(
        id=content_id("validation", number),
        model="loan",
        subject_id=snapshot.id,
        suite="loan",
        suite_digest="0",
        success=True,
        expectations=1,
        rows=1,
    )
    candidate = Candidate(
        id=content_id("candidate", digest, number),
        model="loan",
        trainer="boosting",
        snapshot_id=snapshot.id,
        validation_id=validation.id,
        run_id=f"run-{number}",
        artifact_digest=digest,
        artifact_uri="",
        artifact_format="onnx",
        format_reason="parity holds",
        environment_digest=lock_digest(export_lock("onnx")),
        seed=0,
        trained_at=AS_OF,
    )
    metric = Metric(name="log_loss", value=0.5, low=0.4, high=0.6, rows=1)
    evaluation = Evaluation(
        id=content_id("evaluation", number),
        model="loan",
        snapshot_id=snapshot.id,
        champion_id=None,
        scores={candidate.id: {"log_loss": metric}},
        differences={},
    )
    decision = Decision(
        id=content_id("decision", number),
        model="loan",
        cause_id=cause.id,
        evaluation_id=evaluation.id,
        winner_id=candidate.id,
        gates=(),
        reason="first",
    )
    version = Version(
        id=content_id("version", candidate.id, decision.id),
        model="loan",
        version=str(number),
        candidate_id=candidate.id,
        decision_id=decision.id,
        uri=f"models:/loan/{number}",
    )
    return [cause, snapshot, validation, candidate, evaluation, decision, version], version, candidate, cause
