"""Signals of broken data: too few rows, a failed suite, values gone missing, and faults told from drift."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.decay.distance import Distance
from trimtab.decay.measurements import Measurements
from trimtab.decay.signals.names import FAULT, NULL_RISE, ROWS, VALIDATION
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
    for fault in window.faults:
        yield Signal(
            name=f"{FAULT}{fault.kind}" + (f".{fault.column}" if fault.column else ""),
            value=fault.value,
            threshold=fault.threshold,
            breached=True,
            rows=fault.rows,
            detail=fault.detail,
        )
    for distance in window.distances:
        rise = distance.null_share - distance.reference_null_share
        if distance.column not in spec.answer_names and rise > 0:
            yield Signal(
                name=NULL_RISE + distance.column,
                value=rise,
                threshold=policy.maximum_null_rise,
                breached=rise > policy.maximum_null_rise and _is_marked(spec, distance, len(window.distances)),
                rows=window.rows,
                detail=f"{distance.reference_null_share:.1%} → {distance.null_share:.1%} missing",
            )


def _is_marked(spec: ModelSpec, distance: Distance, columns: int) -> bool:
    """Whether a rise of the missing values is large against the reference's own share of them, and more than chance.

    Large by the odds ratio, as shares near 0 and near 1 need it; the chance is that of a one-sided z-test of two
    shares, corrected for the number of columns (Bonferroni).
    """
    from scipy.special import ndtr

    was, now = distance.reference_null_share, distance.null_share
    reference_rows = distance.reference_rows / (1 - was) if was < 1 else float(distance.reference_rows)
    rows = distance.rows / (1 - now) if now < 1 else 0.0
    if now >= 1:
        return True
    odds = (now / (1 - now)) / max(was / (1 - was), 1e-12) if was < 1 else 0.0
    pooled = (was * reference_rows + now * rows) / max(1.0, reference_rows + rows)
    error = (pooled * (1 - pooled) * (1 / max(1.0, reference_rows) + 1 / max(1.0, rows))) ** 0.5
    by_chance = float(ndtr(-(now - was) / error)) if error else 1.0
    return odds >= spec.policy.faults.null_odds and by_chance * columns < spec.policy.significance
