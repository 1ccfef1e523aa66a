"""Signals of drift in one window: how far each feature, the score and all features together are from the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trimtab.decay.distance import Distance
from trimtab.decay.measurements import Measurements
from trimtab.decay.signals.names import DRIFT, DRIFTED_IMPORTANCE, DRIFTED_SHARE, MULTIVARIATE
from trimtab.records import Ruling, Signal
from trimtab.spec import ModelSpec


def of_drift(spec: ModelSpec, window: Measurements, earlier: Sequence[Ruling] = ()) -> Iterator[Signal]:
    """The share of features that drifted, plain and by importance; every feature and the answer, the farthest first;
    all features together."""
    usual = {shift.column: shift.usual for shift in window.shifts}
    found = [_of_column(spec, distance, usual.get(distance.column, 0.0)) for distance in window.distances]
    drifted = {signal.name.removeprefix(DRIFT) for signal in found if signal.breached} - {*spec.answer_names}
    features = [signal for signal in found if signal.name.removeprefix(DRIFT) not in spec.answer_names]
    if features:
        yield _share(
            spec, DRIFTED_SHARE, len(drifted) / len(features), window, f"{len(drifted)} of {len(features)} features"
        )
    if features and window.importance:
        weight = sum(window.importance.get(name, 0.0) for name in drifted)
        yield _share(spec, DRIFTED_IMPORTANCE, weight, window, ", ".join(sorted(drifted)) or "no feature drifted")
    yield from (_since(signal, window, earlier) for signal in sorted(found, key=lambda signal: -signal.value))
    yield from (_since(signal, window, earlier) for signal in _together(spec, window))


def _of_column(spec: ModelSpec, distance: Distance, usual: float) -> Signal:
    threshold = max(spec.policy.drift_effect, usual)
    moved = f"share of rows {distance.moved}; " if distance.moved else ""
    detail = f"{moved}corrected p {distance.adjusted_p:.2g}"
    if usual > spec.policy.drift_effect:
        detail += f"; the reference's own windows are up to {usual:.2g} apart"
    return Signal(
        name=DRIFT + distance.column,
        value=distance.psi,
        threshold=threshold,
        breached=distance.psi >= threshold and distance.adjusted_p < spec.policy.drift.column_level,
        rows=distance.rows,
        detail=detail,
    )


def _share(spec: ModelSpec, name: str, share: float, window: Measurements, detail: str) -> Signal:
    limit = spec.policy.drifted_share
    return Signal(name=name, value=share, threshold=limit, breached=share >= limit, rows=window.rows, detail=detail)


def _together(spec: ModelSpec, window: Measurements) -> Iterator[Signal]:
    """How well the window's rows are told from the reference's."""
    found, rule = window.separation, spec.policy.drift
    if found is None:
        return
    threshold = max(rule.multivariate_effect, window.usual_auc)
    yield Signal(
        name=MULTIVARIATE,
        value=found.auc,
        threshold=threshold,
        breached=found.auc >= threshold and found.p_value < rule.multivariate_level,
        rows=found.rows,
        detail=f"told from the reference by {found.told_by or 'nothing'}; p {found.p_value:.2g}",
    )


def _since(signal: Signal, window: Measurements, earlier: Sequence[Ruling]) -> Signal:
    """A breached signal with the window in which the unbroken row of its breaches began."""
    if not signal.breached:
        return signal
    since = window.start
    for ruling in sorted(earlier, key=lambda one: one.end, reverse=True):
        if ruling.end < window.end:
            if not any(one.name == signal.name and one.breached for one in ruling.signals):
                break
            since = ruling.start
    return signal.model_copy(update={"detail": f"{signal.detail}; since the window of {since:%Y-%m-%d %H:%M}"})
