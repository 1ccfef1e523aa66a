"""The order of a replay: window by window, each measured, ruled, and acted on before the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from trimtab.answers import score_names
from trimtab.backtest.judge import judge
from trimtab.backtest.rows import PastRows
from trimtab.backtest.workshop import Deployment, Retrained, Validate, Workshop
from trimtab.decay.answers import scores_of, unsaid
from trimtab.decay.policy import History, retrain_cause_id
from trimtab.records import Action, Cause, Retraining, Ruling, content_id
from trimtab.spec import ModelSpec

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
        step = Step(judge(rows, scores, current, start, end, past, validate), current)
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
