"""One window of a replay, measured and ruled on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.backtest.rows import EVENT_TIME, RELEASE_ID, PastRows
from trimtab.backtest.workshop import Deployment, Validate
from trimtab.decay.answers import scores_of
from trimtab.decay.measuring import WindowRows, measure, numbers, spans_before
from trimtab.decay.performance import PREDECESSOR_ROWS, against_predecessor
from trimtab.decay.policy import History, rule
from trimtab.decay.profile import Profile, profile
from trimtab.decay.reference import OUTCOME
from trimtab.records import LeftOut, Metric, Ruling
from trimtab.spec import ModelSpec
from trimtab.training.windows import blocked_spans, leave_out


def judge(
    rows: PastRows,
    scores: np.ndarray,
    current: Deployment,
    start: datetime,
    end: datetime,
    past: History,
    validate: Validate,
) -> Ruling:
    """The ruling on the window [start, end) of what serves then, as `watch` makes it at its end.

    Parameters
    ----------
    rows
        The history.
    scores
        What was said of each of its rows so far: float64 of shape (rows,), of several classes (rows, classes).
    current
        What serves.
    start, end
        Of the window.
    past
        What is on record before it.
    validate
        What the model's suite says of incoming rows.
    """
    spec = rows.spec
    incoming = rows.logged(rows.place(start, end), scores)
    mature_end = end - spec.label_maturity
    mature_start = max(mature_end - spec.window, current.release.since)
    window = WindowRows(
        start=start,
        end=end,
        as_of=end,
        incoming=incoming.drop_columns([OUTCOME]),
        profile=_profile(spec, current, incoming),
        mature=_answered(rows.logged(rows.place(mature_start, mature_end), scores), current),
        rows_before=tuple(_count(rows.place(*span)) for span in spans_before(start, end)),
        answered=_answered(incoming, current).drop_columns([OUTCOME]),
    )
    measured = measure(
        spec,
        current.reference,
        window,
        validation=validate(incoming.drop_columns([OUTCOME, *spec.answer_names]), True) if incoming.num_rows else None,
        at_evaluation=current.at_evaluation,
        against_predecessor=_against_predecessor(
            rows, scores, current, mature_end, blocked_spans((), past.rulings, (), end)
        ),
    )
    return rule(spec, current.release, measured, past)


def _answered(logged: pa.Table, current: Deployment) -> pa.Table:
    """The rows that the release answered; all of them where the history does not say."""
    if RELEASE_ID not in logged.column_names:
        return logged
    return logged.filter(pc.equal(logged[RELEASE_ID], current.release.id))


def _profile(spec: ModelSpec, current: Deployment, incoming: pa.Table) -> Profile:
    """The features of all rows, and the scores of those that the release answered."""
    reference = current.reference.profile
    features = profile(incoming, reference.bins(*spec.feature_names))
    score = profile(_answered(incoming, current), reference.bins(*spec.answer_names))
    return Profile(columns=features.columns + score.columns)


def _count(where: slice) -> int:
    return int(where.stop - where.start)


def _against_predecessor(
    rows: PastRows, scores: np.ndarray, current: Deployment, mature_end: datetime, blocked: Sequence[LeftOut]
) -> Metric | None:
    spec, predecessor, since = rows.spec, current.predecessor, current.release.since
    if predecessor is None or mature_end - spec.window >= since + spec.policy.probation:
        return None
    logged = rows.logged(rows.place(since, min(mature_end, since + spec.policy.probation)), scores)
    known = leave_out(logged.filter(pc.is_valid(logged[OUTCOME])), EVENT_TIME, blocked)
    known = known.slice(max(0, known.num_rows - PREDECESSOR_ROWS))
    if known.num_rows < spec.policy.minimum_outcomes:
        return None
    return against_predecessor(
        spec,
        scores_of(spec, known),
        predecessor.score(known),
        numbers(known, OUTCOME),
        1 - spec.policy.significance,
    )
