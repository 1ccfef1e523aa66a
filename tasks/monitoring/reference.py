"""What windows are compared with: made once for a candidate, when it wins, and kept beside its artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from trimtab.decay.profile import SCORE, Profile, reference_profile
from trimtab.errors import LedgerError
from trimtab.ledger import Ledger
from trimtab.models import load_model
from trimtab.records import Candidate, Evaluation, Snapshot
from trimtab.settings import Settings
from trimtab.spec import ModelSpec

PROFILE, SAMPLE = "profile.json", "sample.parquet"
SAMPLE_ROWS = 5_000


@task(task_run_name="make the reference of {model}", cache_policy=NO_CACHE)
def make_reference(model: str, candidate: Candidate, evaluation: Evaluation) -> str:
    """Keep what live windows of this candidate are compared with. Idempotent.

    The profile has the features of the training snapshot and the candidate's scores on the evaluation's; a sample of
    both is kept for plots, where a row's features and score do not belong together.

    Returns
    -------
    str
        The folder ``<home>/references/<candidate id>``.

    Raises
    ------
    SourceError
        If a snapshot's file is missing or was altered.
    """
    settings = Settings.from_env()
    spec = load_model(settings.models_dir, model).spec
    return str(ensure_reference(spec, settings, candidate, evaluation))


def ensure_reference(spec: ModelSpec, settings: Settings, candidate: Candidate, evaluation: Evaluation) -> Path:
    """The plain function under :func:`make_reference`."""
    from trimtab.training.snapshots import read_snapshot

    folder = settings.home / "references" / candidate.id
    if (folder / PROFILE).is_file():
        return folder
    ledger = Ledger(settings.ledger)
    training = read_snapshot(_snapshot(ledger, candidate.snapshot_id))
    judged = read_snapshot(_snapshot(ledger, evaluation.snapshot_id))
    score = score_rows(settings, candidate.artifact_digest, spec, judged)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(_sample(training.select(spec.feature_names), score), folder / SAMPLE)
    profile = reference_profile(training, spec.features, score.tolist())
    # The profile is moved into place last: where it stands, all stands.
    unfinished = folder / f"{PROFILE}.tmp"
    unfinished.write_text(profile.model_dump_json())
    unfinished.replace(folder / PROFILE)
    return folder


def read_profile(folder: Path) -> Profile:
    """The reference's profile."""
    return Profile.model_validate_json((folder / PROFILE).read_text())


def read_sample(folder: Path) -> pa.Table:
    """At most `SAMPLE_ROWS` rows of the features and the score."""
    return pq.read_table(folder / SAMPLE)


def score_rows(settings: Settings, artifact_digest: str, spec: ModelSpec, rows: pa.Table) -> np.ndarray:
    """What the artifact of that digest says of these rows; float64 of shape (rows,).

    Raises
    ------
    EvaluationError
        If the artifact is missing, altered, or cannot score the rows.
    """
    from trimtab.errors import EvaluationError
    from trimtab.scoring.model import Artifact, ArtifactError
    from trimtab.training.snapshots import feature_columns

    try:
        artifact = Artifact.load(settings.artifacts_dir / artifact_digest, artifact_digest)
        return artifact.predict(artifact.encode(feature_columns(spec, rows)))
    except ArtifactError as error:
        raise EvaluationError(f"{spec.name}: rows cannot be scored: {error}") from error


def _sample(features: pa.Table, score: np.ndarray) -> pa.Table:
    random = np.random.default_rng(0)
    rows = min(SAMPLE_ROWS, features.num_rows)
    sampled = features.take(np.sort(random.choice(features.num_rows, rows, replace=False)))
    return sampled.append_column(SCORE, pa.array(random.choice(score, rows)))


def _snapshot(ledger: Ledger, snapshot_id: str) -> Snapshot:
    snapshot = ledger.find(Snapshot, snapshot_id)
    if snapshot is None:
        raise LedgerError(f"no snapshot is on record under {snapshot_id!r}; a reference is made of recorded ones")
    return snapshot
