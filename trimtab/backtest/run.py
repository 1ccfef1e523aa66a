"""A whole backtest: the first model, the policy's replay, and the ways that it is held against."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from trimtab.backtest.always import retrain_always
from trimtab.backtest.results import ALWAYS, NEVER, Backtest, summarise
from trimtab.backtest.rows import PastRows
from trimtab.backtest.simulate import Progress, edges, replay
from trimtab.backtest.workshop import Deployment, Validate, Workshop, first_cause
from trimtab.decay.answers import unsaid
from trimtab.decay.policy import History
from trimtab.errors import SourceError, TrainingError
from trimtab.spec import in_words

Every = Literal["window", "month", "never"]


@dataclass(frozen=True)
class Asked:
    """What is replayed: [start, end), and how often "always" retrains; "never" leaves that way out."""

    start: datetime
    end: datetime
    always: Every = "window"


def backtest(
    rows: PastRows,
    asked: Asked,
    functions: Mapping[str, Callable[..., Any]],
    *,
    logged: bool = False,
    deployments: Sequence[Deployment] = (),
    validate: Validate = lambda rows, incoming: None,
    progress: Progress = lambda done, of, what: None,
) -> Backtest:
    """Replay a history through the policy. Nothing is written but to a temporary folder, which is removed.

    Parameters
    ----------
    rows
        The history, from the first row that trains on.
    asked
        The span, and how often the model is retrained in the way that it is held against.
    functions
        What each trainer's ``function`` names, by that name.
    logged
        Whether the rows hold the deployed model's scores: rulings alone are replayed then.
    deployments
        What gave those scores, by rising release; if empty, one model whose reference is the rows before ``start``.
    validate
        What the model's suite says of rows; of none by default.
    progress
        Told what goes on.

    Raises
    ------
    SourceError
        If the span holds no whole window, the windows hold no rows, or the first model has too few to train on.
    TrainingError
        If no candidate for the first model passes its gates.
    """
    windows = _windows(rows, asked)
    with _one_thread(), tempfile.TemporaryDirectory(prefix="trimtab-backtest-") as folder:
        workshop = Workshop(rows, functions, Path(folder), validate)
        if logged:
            there = list(deployments) or [workshop.deploy_logged(asked.start)]
            found = replay(rows, windows, there, None, validate, progress)
            return summarise(rows, windows, found, {}, _notes(asked, windows))
        progress(0, len(windows), "training the first model")
        first = _first(workshop, asked.start)
        found = replay(rows, windows, [first], workshop, validate, progress)
        progress(len(windows), len(windows), "scoring the model that is never retrained")
        others, notes = {NEVER: (_never(rows, windows, first), 0)}, _notes(asked, windows)
        if asked.always != "never":
            moments = list(_moments(windows, asked.always))
            scores, count, failed = retrain_always(rows, windows, moments, first, workshop, progress)
            others[ALWAYS] = (scores, count)
            notes = (*notes, *failed)
        return summarise(rows, windows, found, others, notes)


def _one_thread() -> threadpool_limits:
    """Two threads of a training that wait for a busy core take up to thirty times as long as one."""
    # A limit holds for what is loaded: scikit-learn brings its own OpenMP.
    import sklearn.ensemble  # noqa: F401

    return threadpool_limits(1)


def _windows(rows: PastRows, asked: Asked) -> list[tuple[datetime, datetime]]:
    spec = rows.spec
    windows = edges(asked.start, asked.end, spec.window)
    if not windows:
        raise SourceError(
            f"[{asked.start}, {asked.end}) holds no whole window of {in_words(spec.window)}; it must be that long at "
            "least"
        )
    where = rows.place(windows[0][0], windows[-1][1])
    if where.stop == where.start:
        raise SourceError(
            f"there are no rows in [{asked.start}, {asked.end}); those that there are lie between {rows.beginning} and "
            f"{rows.last}"
        )
    return windows


def _notes(asked: Asked, windows: Sequence[tuple[datetime, datetime]]) -> tuple[str, ...]:
    end = windows[-1][1]
    if end == asked.end:
        return ()
    return (f"the rows from {end:%Y-%m-%d %H:%M} on are left out: they make no whole window",)


def _first(workshop: Workshop, start: datetime) -> Deployment:
    made = workshop.retrain(first_cause(workshop.spec, start), None, History())
    if made.failed:
        training = workshop.spec.training
        raise SourceError(
            f"the first model cannot be made as of {start}: {made.failed}; --from must leave rows before it that train "
            f"(training.minimum_rows is {training.minimum_rows:,}) and judge (training.evaluation_window is "
            f"{in_words(training.evaluation_window)}), and the first there is lies at {workshop.rows.beginning}"
        )
    if made.deployment is None:
        reason = made.decision.reason if made.decision else ""
        raise TrainingError(f"the first model does not pass every gate as of {start}: {reason}")
    return made.deployment


def _never(rows: PastRows, windows: Sequence[tuple[datetime, datetime]], first: Deployment) -> np.ndarray:
    scores = unsaid(rows.spec, rows.table.num_rows)
    where = rows.place(windows[0][0], windows[-1][1])
    scores[where] = first.score(rows.table.slice(where.start, where.stop - where.start))
    return scores


def _moments(windows: Sequence[tuple[datetime, datetime]], every: Every) -> Iterator[datetime]:
    if every == "window":
        yield from (start for start, _ in windows)
        return
    begin, end = windows[0][0], windows[-1][1]
    moment = datetime(begin.year, begin.month, 1, tzinfo=UTC)
    while moment < end:
        if moment > begin:
            yield moment
        years, month = divmod(moment.month, 12)
        moment = datetime(moment.year + years, month + 1, 1, tzinfo=UTC)
