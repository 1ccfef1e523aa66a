"""The order of a replay: window by window, each measured, ruled, and acted on before the next."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.answers import score_names
from trimtab.backtest.rows import RELEASE_ID, PastRows
from trimtab.backtest.workshop import Deployment, Retrained, Validate, Workshop
from trimtab.decay.answers import scores_of, unsaid
from trimtab.decay.measuring import WindowRows, measure, numbers, spans_before
from trimtab.decay.performance import against_predecessor
from trimtab.decay.policy import History, retrain_cause_id, rule
from trimtab.decay.profile import Profile, profile
from trimtab.decay.reference import OUTCOME
from trimtab.errors import SourceError, TrainingError
from trimtab.records import Action, Cause, Metric, Retraining, Ruling, content_id
from trimtab.spec import ModelSpec
from trimtab.training.windows import least_rows, require_rows, training_span

PREDECESSOR_ROWS = 10_000
"""The newest rows of a release's probation on which its predecessor is scored too."""

Progress = Callable[[int, int, str], None]
"""How many windows are done, of how many, and what goes on."""


@dataclass(frozen=True)
class Step:
    """One window: what served, what was ruled, and what followed."""

    ruling: Ruling
    served: Deployment
    retrained: Retrained | None = None
    restored: Deployment | None = None


@dataclass(frozen=True)
class Replay:
    """All windows, and what was said of each row of the history: float64 of shape (rows,), NaN where nothing was."""

    steps: tuple[Step, ...]
    scores: np.ndarray


def edges(start: datetime, end: datetime, window: timedelta) -> list[tuple[datetime, datetime]]:
    """The whole windows in [start, end), in order."""
    return [(start + n * window, start + (n + 1) * window) for n in range((end - start) // window)]


def replay(
    rows: PastRows,
    windows: Sequence[tuple[datetime, datetime]],
    deployments: Sequence[Deployment],
    workshop: Workshop | None,
    validate: Validate,
    progress: Progress,
) -> Replay:
    """Let the policy rule on every window.

    Parameters
    ----------
    rows
        The history.
    windows
        As :func:`edges` gives them.
    deployments
        What serves: the last whose release was there before a window ended, as `watch` has it. One at least, from the
        first window on.
    workshop
        Retrains when that is ruled; None: rulings alone, for scores that are the rows' own.
    validate
        What the model's suite says of incoming rows.
    progress
        Told before each window.
    """
    scores = unsaid(rows.spec, rows.table.num_rows)
    if set(score_names(rows.spec.target.classes)) <= set(rows.table.column_names):
        scores = scores_of(rows.spec, rows.table).copy()
    there, past, steps = list(deployments), History(), []
    for number, (start, end) in enumerate(windows):
        current = [one for one in there if one.release.since < end][-1]
        progress(number, len(windows), f"{start:%Y-%m-%d}")
        where = rows.place(start, end)
        if workshop is not None and where.stop > where.start:
            scores[where] = current.score(rows.table.slice(where.start, where.stop - where.start))
        step = _judged(rows, scores, current, start, end, past, validate)
        past = past.model_copy(update={"rulings": (*past.rulings, step.ruling)})
        if workshop is not None:
            step = _acted(workshop, step, past)
            past = past.model_copy(
                update={
                    "retrainings": (*past.retrainings, *_retraining(step)),
                    "rollbacks": (*past.rollbacks, *_rollback(workshop.spec, step)),
                }
            )
            made = step.restored or (step.retrained.deployment if step.retrained else None)
            there += [made] if made else []
        steps.append(step)
    progress(len(windows), len(windows), "done")
    return Replay(tuple(steps), scores)


def retrain_always(
    rows: PastRows,
    windows: Sequence[tuple[datetime, datetime]],
    moments: Sequence[datetime],
    first: Deployment,
    workshop: Workshop,
    progress: Progress,
) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """Scores of a model that is trained anew at each moment, without a gate; how often that was; and what failed.

    Each time by the first trainer on the default window, as a cron job would have it; a training that fails leaves
    what served.
    """
    scores, score, retrainings = unsaid(rows.spec, rows.table.num_rows), first.score, 0
    failed: list[str] = []
    begin, end = windows[0][0], windows[-1][1]
    marks = [begin, *(moment for moment in moments if begin < moment < end), end]
    for number, (since, until) in enumerate(itertools.pairwise(marks)):
        progress(number, len(marks) - 1, f"always retraining, {since:%Y-%m-%d}")
        if number:
            span, least = training_span(rows.spec, since), least_rows(rows.spec, "training")
            table = rows.between(*span)
            try:
                require_rows(rows.spec, table, span, least, ())
                score = workshop.train(rows.spec.trainers[0], table)
                retrainings += 1
            except (SourceError, TrainingError) as error:
                failed.append(f"always retraining failed on {since:%Y-%m-%d}: {error}")
        where = rows.place(since, until)
        if where.stop > where.start:
            scores[where] = score(rows.table.slice(where.start, where.stop - where.start))
    return scores, retrainings, tuple(failed)


def _judged(
    rows: PastRows,
    scores: np.ndarray,
    current: Deployment,
    start: datetime,
    end: datetime,
    past: History,
    validate: Validate,
) -> Step:
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
        against_predecessor=_against_predecessor(rows, scores, current, mature_end),
    )
    return Step(rule(spec, current.release, measured, past), current)


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
    rows: PastRows, scores: np.ndarray, current: Deployment, mature_end: datetime
) -> Metric | None:
    spec, predecessor, since = rows.spec, current.predecessor, current.release.since
    if predecessor is None or mature_end - spec.window >= since + spec.policy.probation:
        return None
    logged = rows.logged(rows.place(since, min(mature_end, since + spec.policy.probation)), scores)
    known = logged.filter(pc.is_valid(logged[OUTCOME]))
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


def _acted(workshop: Workshop, step: Step, past: History) -> Step:
    ruling, served = step.ruling, step.served
    if ruling.action is Action.RETRAIN:
        return replace(step, retrained=workshop.retrain(_cause(workshop.spec, ruling, "decay"), served, past))
    if ruling.action is Action.ROLLBACK and served.predecessor is not None:
        before = served.predecessor
        release = before.release.model_copy(
            update={
                "id": content_id("release", ruling.id),
                "cause_id": _cause(workshop.spec, ruling, "rollback").id,
                "since": ruling.as_of,
                "previous_id": served.release.id,
            }
        )
        # What a rollback brought back is on no probation.
        return replace(step, restored=replace(before, release=release, predecessor=None))
    return step


def _cause(spec: ModelSpec, ruling: Ruling, trigger: str) -> Cause:
    return Cause.model_validate(
        {
            **{"id": retrain_cause_id(ruling.id), "model": spec.name, "trigger": trigger, "reason": ruling.reason},
            **{"as_of": ruling.as_of, "ruling_id": ruling.id},
        }
    )


def _rollback(spec: ModelSpec, step: Step) -> Iterator[Cause]:
    if step.restored is not None:
        yield _cause(spec, step.ruling, "rollback")


def _retraining(step: Step) -> Iterator[Retraining]:
    """The end of a retraining that ended; one that failed leaves none on record, in production too."""
    if step.retrained is None or step.retrained.decision is None:
        return
    decision, deployment = step.retrained.decision, step.retrained.deployment
    yield Retraining(
        id=content_id("retraining", decision.cause_id),
        model=decision.model,
        cause_id=decision.cause_id,
        decision_id=decision.id,
        release_id=deployment.release.id if deployment else None,
        as_of=step.ruling.as_of,
        trigger="decay",
    )
