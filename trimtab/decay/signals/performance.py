"""Signals of performance: on mature outcomes, by slice, calibration, estimated, and against the predecessor."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.decay.measurements import Measurements
from trimtab.decay.performance import allowed_drop, is_lost, loss_limit
from trimtab.decay.signals import names
from trimtab.records import Metric, Signal, higher_is_better
from trimtab.spec import ModelSpec


def of_performance(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """The policy metric on mature outcomes, and whether there are enough of them."""
    policy, found = spec.policy, window.performance
    if found.mature:
        missing = 1 - found.outcomes / found.mature
        yield Signal(
            name=names.MISSING_OUTCOMES,
            value=missing,
            threshold=policy.maximum_missing_outcomes,
            breached=missing > policy.maximum_missing_outcomes and found.mature >= policy.minimum_outcomes,
            rows=found.mature,
        )
    enough = found.outcomes >= policy.minimum_outcomes
    yield Signal(
        name=names.OUTCOMES,
        value=found.outcomes,
        threshold=policy.minimum_outcomes,
        breached=not enough,
        rows=found.mature,
    )
    metric = found.metrics.get(spec.policy_metric)
    if metric is not None and found.reference is not None:
        limit = loss_limit(found.reference, allowed_drop(policy, found))
        detail = f"{found.reference.value:.4g} at evaluation"
        lost = _lost(names.PERFORMANCE, metric, limit, detail, "" if enough else "outcomes")
        yield lost.model_copy(update={"calm": found.reference.value})


def of_skill(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """The policy metric on mature outcomes beside what one answer for every row would have achieved.

    What is lost is told against the evaluation; a release that never had any, or was evaluated when it was lost
    already, is told by this alone.
    """
    found = window.performance
    metric, difference = found.metrics.get(spec.policy_metric), found.against_constant
    if metric is None or difference is None:
        return
    too_few = "" if found.outcomes >= spec.policy.minimum_outcomes else "outcomes"
    detail = f"{metric.value:.4g}, and {metric.value - difference.value:.4g} of the best constant answer"
    yield _lost(names.SKILL, difference, 0.0, detail, too_few)


def of_estimate(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """The policy metric as it is expected of the incoming rows; then, for information, what became of an estimate."""
    found, reference, realised = window.estimated, window.performance.reference, window.performance
    if found is not None and reference is not None:
        limit = loss_limit(reference, allowed_drop(spec.policy, realised))
        detail = f"{reference.value:.4g} at evaluation; an estimate before outcomes, if they depend on the features as "
        enough = found.rows >= spec.policy.minimum_rows
        lost = _lost(names.ESTIMATED, found, limit, f"{detail}they did", "" if enough else "rows")
        yield lost.model_copy(update={"calm": reference.value})
    metric, before = realised.metrics.get(spec.policy_metric), realised.estimated
    if metric is not None and before is not None:
        yield Signal(
            name=names.ESTIMATION + metric.name,
            value=metric.value - before.value,
            low=metric.low - before.high,
            high=metric.high - before.low,
            threshold=0.0,
            breached=False,
            rows=metric.rows,
            detail=f"{metric.value:.4g} realised, {before.value:.4g} estimated of the same rows",
        )


def of_slices(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """The policy metric on each slice, against the same slice at evaluation."""
    rule = spec.policy.slices
    for found in window.slices:
        limit = loss_limit(found.reference, rule.drop or allowed_drop(spec.policy, window.performance))
        yield Signal(
            name=f"{names.SLICE}{found.column}.{found.value}",
            value=found.metric.value,
            low=found.metric.low,
            high=found.metric.high,
            threshold=limit,
            breached=is_lost(found.metric, limit),
            rows=found.metric.rows,
            detail=f"{found.metric.name}, {found.reference.value:.4g} at evaluation; 1 of {len(window.slices)} slices",
            calm=found.reference.value,
        )


def of_calibration(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """How far probabilities are from what came true, against the reference's."""
    found, reference = window.performance.calibration_error, window.performance.reference_calibration_error
    if found is None or reference is None:
        return
    limit = reference.value + spec.policy.calibration.maximum_rise
    yield Signal(
        name=names.CALIBRATION,
        value=found.value,
        low=found.low,
        high=found.high,
        threshold=limit,
        breached=window.performance.outcomes >= spec.policy.minimum_outcomes and found.low > limit,
        rows=found.rows,
        detail=f"{reference.value:.4g} at evaluation",
    )


def of_predecessor(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """The release against its predecessor, while it is on probation."""
    difference = window.performance.against_predecessor
    if difference is None:
        return
    limit = -spec.policy.rollback_drop if higher_is_better(difference.name) else spec.policy.rollback_drop
    enough = difference.rows >= spec.policy.minimum_outcomes
    detail = "release minus predecessor on the same rows"
    yield _lost(names.PREDECESSOR, difference, limit, detail, "" if enough else "outcomes")


def _lost(family: str, metric: Metric, limit: float, detail: str, too_few: str) -> Signal:
    """A metric that is lost when its whole interval is beyond the limit, unless there are ``too_few`` of something."""
    return Signal(
        name=family + metric.name,
        value=metric.value,
        low=metric.low,
        high=metric.high,
        threshold=limit,
        breached=not too_few and is_lost(metric, limit),
        rows=metric.rows,
        detail=f"{detail}; too few {too_few} to judge" if too_few else detail,
    )
