"""Signals of bias: how protected groups fare beside each other."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.decay.measurements import Measurements
from trimtab.decay.signals.names import SELECTION
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
