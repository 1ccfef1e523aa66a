"""The numbers that a ruling follows from: what is read for them; trimtab/decay/measuring.py computes them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.monitoring.anomalies import show_anomalies
from tasks.monitoring.reference import candidate_of, ensure_reference, score_rows
from tasks.monitoring.window import Window
from trimtab.decay.answers import of_known_classes, scores_of
from trimtab.decay.measurements import Measurements
from trimtab.decay.measuring import WindowRows, numbers, spans_before
from trimtab.decay.measuring import measure as measure_rows
from trimtab.decay.performance import PREDECESSOR_ROWS, against_predecessor
from trimtab.decay.profile import Bins, Profile
from trimtab.decay.reference import OUTCOME, Reference
from trimtab.ledger import Ledger
from trimtab.predictions import PredictionLog, read_window
from trimtab.predictions.profiles import window_profile
from trimtab.records import Metric, Validation
from trimtab.settings import Settings
from trimtab.training.blocks import standing_blocks
from trimtab.training.windows import leave_out


@task(task_run_name="measure the window of {window.spec.name}", cache_policy=NO_CACHE)
def measure(window: Window, incoming: pa.Table, profile: Profile, validation: Validation | None) -> Measurements:
    """All that is measured on a window, whose incoming rows have that profile: data faults, drift, performance on
    mature outcomes, bias, anomalies.

    A predecessor whose artifact is not there any more is not held against: nothing could bring it back, and the rest is
    to be seen all the same. One that was altered is an error.
    """
    spec, reference = window.spec, reference_of(window)
    log = Settings.from_env().predictions_dir / spec.name
    columns = ["event_time", *spec.feature_names, *spec.answer_names]
    mature = read_window(log, window.mature_start, window.mature_end, window.as_of, columns, window.release.id)
    rows = WindowRows(
        start=window.start,
        end=window.end,
        as_of=window.as_of,
        incoming=incoming,
        profile=profile,
        mature=mature,
        rows_before=_rows_before(window, log),
        answered=incoming.filter(pc.equal(incoming["release_id"], window.release.id)),
    )
    measured = measure_rows(
        spec,
        reference,
        rows,
        validation=validation,
        at_evaluation=window.evaluation.scores.get(window.release.candidate_id, {}).get(spec.policy_metric),
        against_predecessor=_against_predecessor(window, log),
    )
    show_anomalies(spec.name, measured.anomalies)
    return measured


def reference_of(window: Window) -> Reference:
    """The release's reference; made now if the run that released it did not come to that."""
    return ensure_reference(window.spec, Settings.from_env(), candidate_of(window), window.evaluation)


def _rows_before(window: Window, log: Path) -> tuple[int, ...]:
    """Rows of the spans of the window's length just before it, the oldest first."""
    spans = spans_before(window.start, window.end)
    return tuple(PredictionLog(log).count(start, end) for start, end in spans)


def profile_of(window: Window) -> Profile:
    """Features of all the window's rows, and the scores of those that the release answered, on the reference's bins."""
    reference = reference_of(window).profile
    log = PredictionLog(Settings.from_env().predictions_dir / window.spec.name)
    return window_profile(log, window.start, window.end, live_bins(window, reference), window.release.id)


def live_bins(window: Window, reference: Profile) -> tuple[Bins, ...]:
    """What of live rows is counted: the features of all, and the answers of the release."""
    return reference.bins(*window.spec.feature_names, *window.spec.answer_names)


def _against_predecessor(window: Window, log: Path) -> Metric | None:
    predecessor, spec = window.predecessor, window.spec
    ended = window.mature_start >= window.release.since + spec.policy.probation
    if predecessor is None or ended or predecessor.artifact_digest == window.release.artifact_digest:
        return None
    if not (Settings.from_env().artifacts_dir / predecessor.artifact_digest).is_dir():
        get_run_logger().warning(
            "version %s cannot be held against version %s, nor rolled back to it: its artifact %s is not in %s",
            *(window.release.version, predecessor.version, predecessor.artifact_digest),
            Settings.from_env().artifacts_dir,
        )
        return None
    # Outcomes that stood still would tell two releases apart by how seldom each says 1.
    blocked = standing_blocks(Ledger(Settings.from_env().ledger), spec.name, window.as_of)
    rows = leave_out(_of_probation(window, log), "event_time", blocked)
    if rows.num_rows < spec.policy.minimum_outcomes:
        return None
    outcomes = numbers(rows, OUTCOME)
    known = of_known_classes(spec, reference_of(window).columns, outcomes)
    return against_predecessor(
        known,
        scores_of(known, rows),
        score_rows(Settings.from_env(), predecessor.artifact_digest, known, rows),
        outcomes,
        1 - spec.policy.significance,
    )


def _of_probation(window: Window, log: Path) -> pa.Table:
    """The newest rows with an outcome that the release answered in its probation; memory is bounded by a window's."""
    start, spec = window.release.since, window.spec
    end = max(start, min(window.mature_end, start + spec.policy.probation))
    columns = ["event_time", *spec.feature_names, *spec.answer_names]
    parts = [read_window(log, end, end, window.as_of, columns, window.release.id)]
    while end > start and sum(part.num_rows for part in parts) < PREDECESSOR_ROWS:
        begin = max(start, end - spec.window)
        rows = read_window(log, begin, end, window.as_of, columns, window.release.id)
        parts.insert(0, rows.filter(pc.is_valid(rows[OUTCOME])))
        end = begin
    rows = pa.concat_tables(parts, promote_options="permissive")
    return rows.slice(max(0, rows.num_rows - PREDECESSOR_ROWS))
