"""Outcomes that stand still: a feed that writes its default, told apart from a base rate that changed.

A model looks lost on such outcomes, and one that were trained on them would be. Of classes a run of one value, in the
order of event time, is broken if it is practically impossible even after the odds of that value rose by a known factor:
of n independent rows the chance that a run of L rows of a value of probability q begins somewhere is at most n q^L
(union bound). A base rate that fell from 2 % to 0.5 %, or rose from 20 % to 60 %, makes no such run. What comes in
clusters is held against the longest run of the training rows, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from trimtab.decay.atoms import Fault
from trimtab.decay.rows import time_order
from trimtab.decay.soundness import Soundness
from trimtab.spec import ModelSpec

KIND = "stuck_outcomes"
LEAST_RUN = 50
"""No shorter run is broken, however seldom its value was: what is new may come in a burst."""
_STANDS_OUT = 3.0
_NEARLY_ALL, _RARE = 0.5, 0.1
"""Of a regression a value is broken from the first share of the rows on, if it had no more than a tenth of that share
before, and no value of a span of the reference more than a third."""


def find_stuck_outcomes(
    spec: ModelSpec, sound: Soundness, judged: np.ndarray, times: pa.ChunkedArray, outcomes: np.ndarray
) -> tuple[Fault, ...]:
    """The value that outcomes stand still at, if one does; at most one fault.

    Parameters
    ----------
    spec
        The model's spec; ``spec.policy.faults`` holds the thresholds. With fewer outcomes than
        ``policy.minimum_outcomes`` nothing is said, as performance is not judged then.
    sound
        What the training rows looked like, span by span.
    judged
        Outcomes of the evaluation rows, of shape (judged rows,), float64.
    times, outcomes
        Of the mature rows whose outcome is known: their event times, and float64, both of shape (rows,).
    """
    rule = spec.policy.faults
    if rule.outcome_chance is None or not rule.asks(KIND) or len(outcomes) < spec.policy.minimum_outcomes:
        return ()
    ordered = outcomes[time_order(times)]
    found = next(_runs(spec, rule.outcome_chance, sound, judged, ordered), None)
    if found is None and spec.target.kind == "regression":
        found = next(_shares(spec, sound, judged, ordered), None)
    return () if found is None else (found,)


def least_run(chance: float, odds: float, share: float, rows: int) -> float:
    """Length from which a run of one value is less likely than ``chance`` to begin anywhere among independent rows.

    Parameters
    ----------
    chance
        A probability.
    odds
        The factor by which the odds of the value may have risen since it had that share.
    share
        Of the value in the reference, above 0 and below 1.
    rows
        How many there are.
    """
    likely = odds * share / (1 - share + odds * share)
    return math.log(chance / rows) / math.log(likely)


def _runs(spec: ModelSpec, chance: float, sound: Soundness, judged: np.ndarray, ordered: np.ndarray) -> Iterator[Fault]:
    rule, rows, known = spec.policy.faults, len(ordered), sound.outcomes
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, rows])
    # With more rows an hour, what stands still for an hour fills more rows.
    usual = 0.0 if known is None else known.longest_run * max(1.0, rows / max(1, sound.rows))
    always = max(LEAST_RUN, rule.outcome_share * rows, _STANDS_OUT * usual)
    for run in np.argsort(-lengths, kind="stable"):
        if lengths[run] < always:
            return
        value, share = float(ordered[starts[run]]), _share(judged, float(ordered[starts[run]]))
        least = max(always, least_run(chance, rule.outcome_odds, share, rows))
        if lengths[run] >= least:
            yield Fault(
                kind=KIND,
                column=spec.target.name,
                value=float(lengths[run]),
                threshold=least,
                rows=rows,
                detail=f"{spec.target.name} is {_name(spec, value)} in {lengths[run]:,} mature rows in a row, of "
                f"{rows:,}, and was so in {share:.2%} of the reference",
            )


def _shares(spec: ModelSpec, sound: Soundness, judged: np.ndarray, ordered: np.ndarray) -> Iterator[Fault]:
    distinct, counts = np.unique(ordered, return_counts=True)
    most = int(np.argmax(counts))
    value, share = float(distinct[most]), float(counts[most] / len(ordered))
    was = _share(judged, value)
    usual = was if sound.outcomes is None else max(was, sound.outcomes.top_share)
    least = max(_NEARLY_ALL, was / _RARE, _STANDS_OUT * usual)
    if share >= least:
        yield Fault(
            kind=KIND,
            column=spec.target.name,
            value=share,
            threshold=least,
            rows=len(ordered),
            detail=f"{spec.target.name} is {_name(spec, value)} in {share:.1%} of {len(ordered):,} mature rows, and "
            f"was so in {was:.2%} of the reference",
        )


def _share(judged: np.ndarray, value: float) -> float:
    """Share of a value in the reference; a value that never came may have been missed, and one that always came may
    not have been the only one (Laplace's rule of succession)."""
    return (float(np.sum(judged == value)) + 1) / (len(judged) + 2)


def _name(spec: ModelSpec, value: float) -> str:
    return repr(spec.target.classes[int(value)]) if spec.target.classes else f"{value:.6g}"
