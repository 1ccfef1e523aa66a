"""What windows are compared with, for the candidates that are on record."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.monitoring.window import Window
from trimtab.answers import score_names
from trimtab.decay.answers import of_classes, of_known_classes
from trimtab.decay.reference import Reference, write_reference
from trimtab.errors import EvaluationError, LedgerError
from trimtab.ledger import Ledger
from trimtab.models import load_model
from trimtab.records import Candidate, Evaluation, Snapshot
from trimtab.settings import Settings
from trimtab.spec import ModelSpec

if TYPE_CHECKING:
    from trimtab.scoring.model import Artifact


@task(task_run_name="make the reference of {model}", cache_policy=NO_CACHE)
def make_reference(model: str, candidate: Candidate, evaluation: Evaluation) -> str:
    """Keep what live windows of this candidate are compared with. Idempotent.

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
    return str(ensure_reference(spec, settings, candidate, evaluation).folder)


def ensure_reference(spec: ModelSpec, settings: Settings, candidate: Candidate, evaluation: Evaluation) -> Reference:
    """The plain function under :func:`make_reference`: the reference, made anew where it is not there in full."""
    from trimtab.training.snapshots import read_snapshot

    reference = Reference(settings.home / "references" / candidate.id)
    if reference.is_complete:
        return reference
    ledger = Ledger(settings.ledger)
    training = read_snapshot(_snapshot(ledger, candidate.snapshot_id))
    judged = read_snapshot(_snapshot(ledger, evaluation.snapshot_id))
    artifact = _artifact(settings, candidate.artifact_digest, spec)
    # Classes that were added to the spec since are none of this candidate's.
    spec = of_known_classes(spec, score_names(artifact.manifest.classes), np.empty(0))
    predict = scorer(artifact, spec)
    return write_reference(reference.folder, spec, training, judged, predict(judged), predict)


def candidate_of(window: Window) -> Candidate:
    """The candidate that the window's release serves.

    Raises
    ------
    LedgerError
        If it is not on record.
    """
    candidate = Ledger(Settings.from_env().ledger).find(Candidate, window.release.candidate_id)
    if candidate is None:
        raise LedgerError(f"candidate {window.release.candidate_id} of {window.release.id} is not on record")
    return candidate


def training_rows(window: Window) -> pa.Table:
    """All rows that the window's release was trained on.

    Raises
    ------
    SourceError
        If the snapshot's file is missing or was altered.
    """
    from trimtab.training.snapshots import read_snapshot

    ledger = Ledger(Settings.from_env().ledger)
    return read_snapshot(_snapshot(ledger, candidate_of(window).snapshot_id))


def score_rows(settings: Settings, artifact_digest: str, spec: ModelSpec, rows: pa.Table) -> np.ndarray:
    """What the artifact of that digest says of these rows, as `scorer` gives it."""
    return scorer(_artifact(settings, artifact_digest, spec), spec)(rows)


def scorer(artifact: Artifact, spec: ModelSpec) -> Callable[[pa.Table], np.ndarray]:
    """From rows to what an artifact says of them: float64 of shape (rows,); of several classes (rows, classes).

    Raises
    ------
    EvaluationError
        When called, if it cannot score the rows.
    """
    from trimtab.scoring.model import ArtifactError
    from trimtab.training.snapshots import feature_columns

    def predict(rows: pa.Table) -> np.ndarray:
        try:
            scores = artifact.predict(artifact.encode(feature_columns(spec, rows)))
        except ArtifactError as error:
            raise _not_scored(spec, error) from error
        return of_classes(spec.target.classes, artifact.manifest.classes, scores)

    return predict


def _artifact(settings: Settings, digest: str, spec: ModelSpec) -> Artifact:
    """The artifact of that digest; an `EvaluationError` if it is missing or altered."""
    from trimtab.scoring.model import Artifact, ArtifactError

    try:
        return Artifact.load(settings.artifacts_dir / digest, digest)
    except ArtifactError as error:
        raise _not_scored(spec, error) from error


def _not_scored(spec: ModelSpec, error: Exception) -> EvaluationError:
    return EvaluationError(f"{spec.name}: rows cannot be scored: {error}")


def _snapshot(ledger: Ledger, snapshot_id: str) -> Snapshot:
    snapshot = ledger.find(Snapshot, snapshot_id)
    if snapshot is None:
        raise LedgerError(f"no snapshot is on record under {snapshot_id!r}; a reference is made of recorded ones")
    return snapshot
