"""Signals of bias: how protected groups fare beside each other."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.decay.fairness import CALIBRATION, FALSE_POSITIVE_RATE, TRUE_POSITIVE_RATE
from trimtab.decay.measurements import Measurements
from trimtab.decay.signals.names import GROUP, SELECTION
from trimtab.records import Signal
from trimtab.spec import ModelSpec


def of_groups(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """The four-fifths ratio of every protected attribute."""
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


def of_gaps(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """How far apart protected groups are once outcomes are known; without a limit in the spec for information."""
    rule = spec.policy.fairness
    limits = {
        TRUE_POSITIVE_RATE: rule.maximum_true_positive_rate_gap,
        FALSE_POSITIVE_RATE: rule.maximum_false_positive_rate_gap,
        CALIBRATION: rule.maximum_calibration_gap,
    }
    for found in window.gaps:
        most, limit = found.groups, limits[found.measure]
        yield Signal(
            name=f"{GROUP}{found.measure}.{found.column}",
            value=found.value,
            low=found.low,
            high=found.high,
            threshold=limit if limit is not None else 0.0,
            breached=limit is not None and found.low > limit,
            rows=found.rows,
            detail=f"{most[0].group} {most[0].value:.4g}, {most[-1].group} {most[-1].value:.4g}"
            + ("" if limit is not None else "; no limit is set"),
        )
