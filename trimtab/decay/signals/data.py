"""Signals of broken data: too few rows, a failed suite, values gone missing."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.decay.measurements import Measurements
from trimtab.decay.profile import SCORE
from trimtab.decay.signals.names import NULL_RISE, ROWS, VALIDATION
from trimtab.records import Signal
from trimtab.spec import ModelSpec


def of_data(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """Whether the window's rows are many enough, and sound."""
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
