"""Signals of performance: on mature outcomes, and against the predecessor."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.decay.measurements import Measurements
from trimtab.decay.performance import is_lost, loss_limit
from trimtab.decay.signals.names import MISSING_OUTCOMES, OUTCOMES, PERFORMANCE, PREDECESSOR
from trimtab.records import Signal, higher_is_better
from trimtab.spec import ModelSpec


def of_performance(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """The policy metric on mature outcomes, and whether there are enough of them."""
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


def of_predecessor(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """The release against its predecessor, while it is on probation."""
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
