"""Signals of drift: how far each feature and the score are from the reference."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.decay.measurements import Measurements
from trimtab.decay.profile import SCORE
from trimtab.decay.signals.names import DRIFT, DRIFTED_SHARE
from trimtab.records import Signal
from trimtab.spec import ModelSpec


def of_drift(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """The share of features that drifted, then every feature and the score, the farthest first."""
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
