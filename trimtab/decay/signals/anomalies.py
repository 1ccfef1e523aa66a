"""Signals of anomalies: single rows that lie outside the training distribution."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.decay.measurements import Measurements
from trimtab.decay.signals.names import ANOMALIES
from trimtab.records import Signal
from trimtab.spec import ModelSpec


def of_anomalies(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """The share of rows out of the training distribution; breached where it is too large whatever chance allows."""
    found, most = window.anomalies, spec.policy.anomalies.maximum_share
    if found is None:
        return
    # So few training rows may not tell the share that the spec asks for; ten times what they tell is more than chance.
    limit = max(most, 10 * found.expected_share) if most is not None else 1.0
    worst = f"; the worst: {found.worst[0].prediction_id} {found.worst[0].reason}" if found.worst else ""
    yield Signal(
        name=ANOMALIES,
        value=found.share,
        low=found.low,
        high=found.high,
        threshold=limit,
        breached=most is not None and found.low > limit,
        rows=found.rows,
        detail=f"{found.count:,} rows, {found.expected_share * found.rows:.1f} expected{worst}",
    )
