"""Which event times train and which judge, and which rows are kept from both. Pure.

::

    ... |------------- training ------------|-- evaluation --|-- outcomes not yet mature --| as_of
                                        evaluation_window        label_maturity

Rows within a blocked span are in neither: the window of a BLOCK ruling, until a person lifts it (where outcomes stand
still, the rows that these are of), and what a person blocks (``trimtab block``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from trimtab.decay.signals.names import (
    BROKEN,
    DRIFT,
    DRIFTED_IMPORTANCE,
    DRIFTED_SHARE,
    ESTIMATED,
    MULTIVARIATE,
    PERFORMANCE,
    SLOW_DRIFT,
    STUCK_OUTCOMES,
)
from trimtab.errors import TooFewRowsError
from trimtab.records import Action, BlockedSpan, BlockedSpanLifted, LeftOut, Ruling
from trimtab.spec import ModelSpec, TrainingWindow

EVALUATION_MINIMUM_ROWS = 100
"""An evaluation slice may be smaller than a training set, but not smaller than this (or ``training.minimum_rows``)."""

CHANGES = (PERFORMANCE, ESTIMATED, DRIFTED_SHARE, DRIFTED_IMPORTANCE, SLOW_DRIFT, MULTIVARIATE)
"""Families of signals that say that the world has changed, as far as a model sees it; drift of its answers does, too,
and that of a single feature does not."""


class Interval(NamedTuple):
    """Event times in [start, end)."""

    start: datetime
    end: datetime


def evaluation_span(spec: ModelSpec, as_of: datetime) -> Interval:
    """The latest slice that is mature at ``as_of``; it judges."""
    end = as_of.astimezone(UTC) - spec.label_maturity
    return Interval(end - spec.training.evaluation_window, end)


def training_windows(spec: ModelSpec) -> tuple[TrainingWindow | None, ...]:
    """The windows that compete; ``None`` alone is the one of length ``training.window``."""
    return spec.training.windows or (None,)


def training_span(
    spec: ModelSpec, as_of: datetime, window: TrainingWindow | None = None, changed_at: datetime | None = None
) -> Interval:
    """The event times that a window trains on: up to the slice that judges.

    Parameters
    ----------
    spec, as_of
        The model's spec, and the moment that the retraining stands at.
    window
        One of ``spec.training.windows``; None: of length ``training.window``.
    changed_at
        Since when the world is another (`change_since`); None: not known.
    """
    end = evaluation_span(spec, as_of).start
    usual = Interval(end - spec.training.window, end)
    if window is None:
        return usual
    if window.span == "all":
        assert spec.training.earliest is not None, "the spec refuses such a window without it"
        return Interval(min(spec.training.earliest.astimezone(UTC), usual.start), end)
    if window.span == "since_change":
        return usual if changed_at is None or changed_at >= end else Interval(changed_at, end)
    return Interval(end - window.span, end)


def change_since(spec: ModelSpec, release_id: str, rulings: Iterable[Ruling], as_of: datetime) -> datetime | None:
    """Since when a release's windows were off, without a break up to the newest; None if that one is not.

    Outcomes are a label maturity older than the window that they were judged with, so a change that performance alone
    tells of lies that much before it.
    """
    own = [one for one in rulings if one.release_id == release_id and one.as_of <= as_of]
    since = None
    for ruling in sorted(own, key=lambda one: one.end, reverse=True):
        breached = _changes(spec, ruling)
        if not breached:
            break
        since = ruling.start - spec.label_maturity if breached == {PERFORMANCE} else ruling.start
    return since


def _changes(spec: ModelSpec, ruling: Ruling) -> set[str]:
    """The families of breached signals that tell of a change; `DRIFT` where an answer drifted."""
    names = [signal.name for signal in ruling.signals if signal.breached]
    answers = {DRIFT} if {DRIFT + answer for answer in spec.answer_names} & {*names} else set()
    return answers | {family for name in names for family in CHANGES if name.startswith(family)}


def blocked_spans(
    named: Iterable[BlockedSpan], rulings: Iterable[Ruling], lifted: Iterable[BlockedSpanLifted], as_of: datetime
) -> tuple[LeftOut, ...]:
    """What is blocked and not lifted, by start.

    Parameters
    ----------
    named
        What persons block, whenever they said so.
    rulings
        Of the model; the windows of those that BLOCK count, up to ``as_of``.
    lifted
        The ends of either.
    """
    over = {one.blocked_id for one in lifted}
    found = [LeftOut(start=one.start, end=one.end, because=one.id) for one in named if one.id not in over]
    found += [
        LeftOut(start=start, end=end, because=one.id)
        for one in rulings
        if one.action is Action.BLOCK and one.as_of <= as_of and one.id not in over
        for start, end in _broken(one)
    ]
    return tuple(sorted(found, key=lambda one: (one.start, one.end, one.because)))


def _broken(ruling: Ruling) -> Iterator[Interval]:
    """The event times of the rows that a BLOCK ruling found broken: its window's, its outcomes', or both."""
    broken = [one.name for one in ruling.signals if one.breached and one.name.startswith(BROKEN)]
    stuck = [name for name in broken if name.startswith(STUCK_OUTCOMES)]
    if stuck and ruling.outcomes_start is not None and ruling.outcomes_end is not None:
        yield Interval(ruling.outcomes_start, ruling.outcomes_end)
    if not stuck or len(stuck) < len(broken):
        yield Interval(ruling.start, ruling.end)


def within(blocked: Sequence[LeftOut], span: Interval) -> tuple[LeftOut, ...]:
    """The blocked spans that touch a span of event times."""
    return tuple(one for one in blocked if one.start < span.end and span.start < one.end)


def leave_out(table: pa.Table, event_time: str, blocked: Sequence[LeftOut]) -> pa.Table:
    """The rows of a table that lie in none of the blocked spans."""
    if not blocked:
        return table
    times = table[event_time].to_numpy()
    free = np.ones(len(times), dtype=bool)
    for one in blocked:
        low, high = (
            np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us") for moment in (one.start, one.end)
        )
        free &= ~((times >= low) & (times < high))
    return table.filter(pa.array(free))


def least_rows(spec: ModelSpec, purpose: Literal["training", "evaluation"]) -> int:
    """How many rows a slice needs: one that judges may be smaller than one that trains."""
    least = spec.training.minimum_rows
    return least if purpose == "training" else min(EVALUATION_MINIMUM_ROWS, least)


def require_rows(spec: ModelSpec, table: pa.Table, span: Interval, least: int, left_out: Sequence[LeftOut]) -> None:
    """Refuse a slice that has too few rows.

    Raises
    ------
    TooFewRowsError
        The message names the blocked spans that were left out.
    """
    if table.num_rows >= least:
        return
    without = ", ".join(f"[{one.start}, {one.end}) by {one.because}" for one in left_out)
    raise TooFewRowsError(
        f"source {spec.source!r} returned {table.num_rows} rows for [{span.start}, {span.end})"
        + (f" that are not blocked ({without}; `trimtab unblock` lifts a block)" if without else "")
        + f"; at least {least} are needed"
    )
