"""The numbers that a ruling follows from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.monitoring.reference import ensure_reference, read_profile, score_rows
from tasks.monitoring.window import Window
from trimtab.decay.distance import Distance, compare
from trimtab.decay.fairness import Selection, selection
from trimtab.decay.performance import Performance, against_predecessor, calibration, realised
from trimtab.decay.profile import SCORE, Profile, profile
from trimtab.errors import LedgerError
from trimtab.ledger import Ledger
from trimtab.predictions import read_window
from trimtab.records import Candidate, Metric
from trimtab.settings import Settings
from trimtab.training.snapshots import slice_labels

PREDECESSOR_ROWS = 10_000
"""The newest rows of a release's probation on which its predecessor is scored too."""


@task(task_run_name="measure drift of {window.spec.name}", cache_policy=NO_CACHE)
def measure_drift(window: Window, incoming: pa.Table) -> tuple[Distance, ...]:
    """How far features and scores are from the release's reference; scores are the release's own."""
    if not incoming.num_rows:
        return ()
    reference = read_profile(reference_folder(window))
    of_features = profile(incoming, reference.bins(*window.spec.feature_names))
    own = incoming.filter(pc.equal(incoming["release_id"], window.release.id))
    of_score = profile(own, reference.bins(SCORE))
    return compare(reference, Profile(columns=of_features.columns + of_score.columns))


@task(task_run_name="measure performance of {window.spec.name}", cache_policy=NO_CACHE)
def measure_performance(window: Window) -> Performance:
    """What the release achieved on mature outcomes, and against its predecessor on the same rows of its probation."""
    spec = window.spec
    log = Settings.from_env().predictions_dir / spec.name
    rows = read_window(log, window.mature_start, window.mature_end, window.as_of, [SCORE], window.release.id)
    known = rows.filter(pc.is_valid(rows["outcome"]))
    scores, outcomes = _numbers(known, SCORE), _numbers(known, "outcome")
    return Performance(
        mature=rows.num_rows,
        outcomes=known.num_rows,
        metrics=realised(spec, scores, outcomes),
        reference=window.evaluation.scores.get(window.release.candidate_id, {}).get(spec.policy_metric),
        against_predecessor=_against_predecessor(window, log),
        calibration=calibration(scores, outcomes) if spec.target.kind == "binary" else (),
    )


@task(task_run_name="measure selection of {window.spec.name}", cache_policy=NO_CACHE)
def measure_selection(window: Window, incoming: pa.Table) -> tuple[Selection, ...]:
    """How often each group of a protected attribute is given label 1; nothing for a regression."""
    spec = window.spec
    if spec.target.kind != "binary" or not incoming.num_rows:
        return ()
    selected = _numbers(incoming, SCORE) >= spec.serving.decision_threshold
    types = {feature.name: feature.type for feature in spec.features}
    return tuple(selection(name, slice_labels(incoming[name], types[name]), selected) for name in spec.protected)


def reference_folder(window: Window) -> Path:
    """Where the release's reference is; made now if the run that released it did not come to that."""
    settings = Settings.from_env()
    candidate = Ledger(settings.ledger).find(Candidate, window.release.candidate_id)
    if candidate is None:
        raise LedgerError(f"candidate {window.release.candidate_id} of {window.release.id} is not on record")
    return ensure_reference(window.spec, settings, candidate, window.evaluation)


def _against_predecessor(window: Window, log: Path) -> Metric | None:
    predecessor, spec = window.predecessor, window.spec
    ended = window.mature_start >= window.release.since + spec.policy.probation
    if predecessor is None or ended or predecessor.artifact_digest == window.release.artifact_digest:
        return None
    rows = _of_probation(window, log)
    if rows.num_rows < spec.policy.minimum_outcomes:
        return None
    return against_predecessor(
        spec,
        _numbers(rows, SCORE),
        score_rows(Settings.from_env(), predecessor.artifact_digest, spec, rows),
        _numbers(rows, "outcome"),
        1 - spec.policy.significance,
    )


def _of_probation(window: Window, log: Path) -> pa.Table:
    """The newest rows with an outcome that the release answered in its probation; memory is bounded by a window's."""
    start, spec = window.release.since, window.spec
    end = max(start, min(window.mature_end, start + spec.policy.probation))
    columns = [*spec.feature_names, SCORE]
    parts = [read_window(log, end, end, window.as_of, columns, window.release.id)]
    while end > start and sum(part.num_rows for part in parts) < PREDECESSOR_ROWS:
        begin = max(start, end - spec.window)
        rows = read_window(log, begin, end, window.as_of, columns, window.release.id)
        parts.insert(0, rows.filter(pc.is_valid(rows["outcome"])))
        end = begin
    rows = pa.concat_tables(parts, promote_options="permissive")
    return rows.slice(max(0, rows.num_rows - PREDECESSOR_ROWS))


def _numbers(rows: pa.Table, column: str) -> np.ndarray:
    return np.asarray(rows[column].to_numpy(), dtype=np.float64)
