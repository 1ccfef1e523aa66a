"""What was measured on a window, and each number beside its threshold."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import AwareDatetime

from trimtab.decay.distance import Distance
from trimtab.decay.fairness import Selection
from trimtab.decay.performance import Performance, is_lost, loss_limit
from trimtab.decay.profile import SCORE
from trimtab.records import Signal, Validation, Value, higher_is_better
from trimtab.spec import ModelSpec

ROWS = "rows"
VALIDATION = "failed_expectations"
DRIFTED_SHARE = "drifted_share"
OUTCOMES = "outcomes"
MISSING_OUTCOMES = "missing_outcomes"
DRIFT, NULL_RISE, PERFORMANCE, PREDECESSOR, SELECTION = (
    "drift.",
    "null_rise.",
    "performance.",
    "against_predecessor.",
    "selection_ratio.",
)
"""Signals for one feature, metric or protected attribute have its name after the dot."""


class Measurements(Value):
    """All that was measured on a window of one release.

    Features, data faults and selection are those of the rows in [start, end); performance is that of the rows before,
    whose outcomes are mature.
    """

    start: AwareDatetime
    end: AwareDatetime
    as_of: AwareDatetime
    rows: int
    validation: Validation | None = None
    distances: tuple[Distance, ...] = ()
    performance: Performance = Performance()
    selections: tuple[Selection, ...] = ()


def signals(spec: ModelSpec, window: Measurements) -> tuple[Signal, ...]:
    """Every measurement beside the threshold that the spec's policy sets for it."""
    return (
        *_of_data(spec, window),
        *_of_drift(spec, window),
        *_of_performance(spec, window),
        *_of_predecessor(spec, window),
        *_of_groups(spec, window),
    )


def _of_data(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    policy = spec.policy
    yield Signal(
        name=ROWS,
        value=window.rows,
        threshold=policy.minimum_rows,
        breached=window.rows < policy.minimum_rows,
        rows=window.rows,
    )
    if window.validation is not None:
        failed = window.validation.failed
        yield Signal(
            name=VALIDATION,
            value=len(failed),
            threshold=0,
            breached=not window.validation.success,
            rows=window.validation.rows,
            detail="; ".join(f"{one.column or 'table'}: {one.expected}, observed {one.observed}" for one in failed[:3]),
        )
    for distance in window.distances:
        rise = distance.null_share - distance.reference_null_share
        if distance.column != SCORE and rise > 0:
            yield Signal(
                name=NULL_RISE + distance.column,
                value=rise,
                threshold=policy.maximum_null_rise,
                breached=rise > policy.maximum_null_rise,
                rows=window.rows,
                detail=f"{distance.reference_null_share:.1%} → {distance.null_share:.1%} missing",
            )


def _of_drift(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    policy = spec.policy
    found = [
        Signal(
            name=DRIFT + distance.column,
            value=distance.psi,
            threshold=policy.drift_effect,
            breached=distance.psi >= policy.drift_effect and distance.adjusted_p < policy.significance,
            rows=distance.rows,
            detail=f"{distance.moved}; adjusted p {distance.adjusted_p:.2g}",
        )
        for distance in window.distances
    ]
    features = [signal for signal in found if signal.name != DRIFT + SCORE]
    if features:
        share = sum(signal.breached for signal in features) / len(features)
        yield Signal(
            name=DRIFTED_SHARE,
            value=share,
            threshold=policy.drifted_share,
            breached=share >= policy.drifted_share,
            rows=window.rows,
            detail=f"{sum(signal.breached for signal in features)} of {len(features)} features",
        )
    yield from sorted(found, key=lambda signal: -signal.value)


def _of_performance(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    policy, found = spec.policy, window.performance
    if found.mature:
        missing = 1 - found.outcomes / found.mature
        yield Signal(
            name=MISSING_OUTCOMES,
            value=missing,
            threshold=policy.maximum_missing_outcomes,
            breached=missing > policy.maximum_missing_outcomes and found.mature >= policy.minimum_outcomes,
            rows=found.mature,
        )
    enough = found.outcomes >= policy.minimum_outcomes
    yield Signal(
        name=OUTCOMES,
        value=found.outcomes,
        threshold=policy.minimum_outcomes,
        breached=not enough,
        rows=found.mature,
    )
    metric = found.metrics.get(spec.policy_metric)
    if metric is not None and found.reference is not None:
        limit = loss_limit(found.reference, policy.performance_drop)
        detail = f"{found.reference.value:.4g} at evaluation"
        yield Signal(
            name=PERFORMANCE + metric.name,
            value=metric.value,
            low=metric.low,
            high=metric.high,
            threshold=limit,
            breached=enough and is_lost(metric, limit),
            rows=metric.rows,
            detail=detail if enough else f"{detail}; too few outcomes to judge",
        )


def _of_predecessor(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    difference = window.performance.against_predecessor
    if difference is None:
        return
    limit = -spec.policy.rollback_drop if higher_is_better(difference.name) else spec.policy.rollback_drop
    enough = difference.rows >= spec.policy.minimum_outcomes
    yield Signal(
        name=PREDECESSOR + difference.name,
        value=difference.value,
        low=difference.low,
        high=difference.high,
        threshold=limit,
        breached=enough and is_lost(difference, limit),
        rows=difference.rows,
        detail="release minus predecessor on the same rows" + ("" if enough else "; too few outcomes to judge"),
    )


def _of_groups(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    least = spec.policy.minimum_selection_ratio
    for found in window.selections:
        if found.ratio is None or found.high is None or found.low is None:
            continue
        ordered = sorted(found.groups, key=lambda group: group.rate)
        yield Signal(
            name=SELECTION + found.column,
            value=found.ratio,
            low=found.low,
            high=found.high,
            threshold=least if least is not None else 0.0,
            breached=least is not None and found.high < least,
            rows=found.rows,
            detail=f"{ordered[0].group} {ordered[0].rate:.1%}, {ordered[-1].group} {ordered[-1].rate:.1%}",
        )
