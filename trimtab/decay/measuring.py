"""From the rows of a window to all that is measured on it: pure, so that watch and backtest measure alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.decay.anomalies import find_anomalies
from trimtab.decay.answers import of_known_classes, scores_of
from trimtab.decay.atoms import Fault
from trimtab.decay.bias import gaps_of, selections_of
from trimtab.decay.calibration import calibration_error
from trimtab.decay.distance import compare
from trimtab.decay.estimated import estimate
from trimtab.decay.faults import find_faults
from trimtab.decay.measurements import Measurements
from trimtab.decay.multivariate import separation
from trimtab.decay.null_windows import calibrated, null_laws
from trimtab.decay.performance import Performance, against_constant, calibration, of_best_constant, one_score, realised
from trimtab.decay.profile import Profile
from trimtab.decay.reference import OUTCOME, Reference
from trimtab.decay.sequential import shifts
from trimtab.decay.slice_performance import slice_performance
from trimtab.decay.stuck_outcomes import find_stuck_outcomes
from trimtab.records import Metric, Validation
from trimtab.spec import ModelSpec

SPANS_BEFORE = 3
"""Spans that a window's number of rows is held against."""


@dataclass(frozen=True)
class WindowRows:
    """The rows of one window of one release.

    ``incoming`` are those of [start, end), of whichever release answered: ``event_time``, the features, the answer
    (``score``; of several classes as trimtab/answers.py names its columns), and ``prediction_id`` where rows are to be
    named.
    ``profile`` counts their features, and the scores of the release alone, on the reference's bins. ``mature`` are the
    rows that the release answered a label maturity before: ``event_time``, the features, the answer and ``outcome``,
    which is null where none is known (of several classes the place of
    one). ``rows_before`` are the numbers of rows of the spans of the same length just
    before the window. ``answered`` are the incoming rows that the release itself answered; None: all.
    """

    start: datetime
    end: datetime
    as_of: datetime
    incoming: pa.Table
    profile: Profile
    mature: pa.Table
    rows_before: tuple[int, ...] = ()
    answered: pa.Table | None = None


def spans_before(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The spans of the window's length just before it, the oldest first: ``rows_before`` are their numbers of rows."""
    length = end - start
    return [(start - length * back, end - length * back) for back in range(SPANS_BEFORE, 0, -1)]


def measure(
    spec: ModelSpec,
    reference: Reference,
    rows: WindowRows,
    *,
    validation: Validation | None = None,
    at_evaluation: Metric | None = None,
    against_predecessor: Metric | None = None,
) -> Measurements:
    """All that is measured on a window.

    Parameters
    ----------
    spec
        The model's spec.
    reference
        What the window is compared with.
    rows
        The window's.
    validation
        What the model's suite said of the incoming rows.
    at_evaluation
        The policy metric at the release's evaluation.
    against_predecessor
        The policy metric of the release minus its predecessor's on the same rows, while it is on probation.
    """
    known = rows.mature.filter(pc.is_valid(rows.mature[OUTCOME]))
    counts = {"mature": rows.mature.num_rows, "outcomes": known.num_rows}
    spec = of_known_classes(spec, reference.columns, numbers(known, OUTCOME))
    stuck = _stuck(spec, reference, known)
    # What stands still says nothing of the model: no number is made of it.
    if stuck:
        known, against_predecessor = known.slice(0, 0), None
    return Measurements(
        start=rows.start,
        end=rows.end,
        as_of=rows.as_of,
        rows=rows.incoming.num_rows,
        validation=validation,
        **_drift(spec, reference, rows),
        performance=_performance(spec, reference, counts, known, at_evaluation, against_predecessor),
        selections=selections_of(spec, rows.incoming),
        estimated=estimate(spec, reference, rows.incoming if rows.answered is None else rows.answered),
        slices=slice_performance(spec, reference, known),
        gaps=gaps_of(spec, known),
        faults=(
            *find_faults(spec, reference.soundness, reference.training, rows.incoming, rows.end, rows.rows_before),
            *stuck,
        ),
        anomalies=find_anomalies(spec, reference.oddness, rows.incoming) if rows.incoming.num_rows else None,
    )


def _drift(spec: ModelSpec, reference: Reference, rows: WindowRows) -> dict[str, Any]:
    """How far the window is from the reference: column by column, all features together, and what is usual."""
    if not rows.incoming.num_rows:
        return {}
    own, laws = reference.own_windows, null_laws(reference.profile, rows.profile)
    distances = calibrated(compare(reference.profile, rows.profile), laws)
    return {
        "distances": distances,
        "shifts": shifts(spec.policy.drift, distances, laws, own),
        "separation": separation(spec.features, reference.training, rows.incoming)
        if spec.policy.drift.multivariate
        else None,
        "usual_auc": own.largest_auc,
        "importance": reference.importance,
    }


def _stuck(spec: ModelSpec, reference: Reference, known: pa.Table) -> tuple[Fault, ...]:
    if not known.num_rows:
        return ()
    judged = numbers(reference.judged, OUTCOME)
    return find_stuck_outcomes(spec, reference.soundness, judged, known["event_time"], numbers(known, OUTCOME))


def _performance(
    spec: ModelSpec,
    reference: Reference,
    counts: dict[str, int],
    known: pa.Table,
    at_evaluation: Metric | None,
    against_predecessor: Metric | None,
) -> Performance:
    scores, outcomes = scores_of(spec, known), numbers(known, OUTCOME)
    classified = spec.target.kind != "regression"
    judged = reference.judged if classified and known.num_rows else None
    return Performance(
        **counts,
        metrics=realised(spec, scores, outcomes),
        reference=at_evaluation,
        constant=of_best_constant(spec, numbers(reference.judged, OUTCOME)),
        against_predecessor=against_predecessor,
        against_constant=against_constant(spec, scores, outcomes),
        calibration=calibration(*one_score(scores, outcomes)) if classified else (),
        calibration_error=calibration_error(*one_score(scores, outcomes)) if classified else None,
        reference_calibration_error=None
        if judged is None
        else calibration_error(*one_score(scores_of(spec, judged), numbers(judged, OUTCOME))),
        estimated=estimate(spec, reference, known),
    )


def numbers(rows: pa.Table, column: str) -> np.ndarray:
    """A numeric column as float64 of shape (rows,); null is NaN."""
    return np.asarray(rows[column].to_numpy(), dtype=np.float64)
