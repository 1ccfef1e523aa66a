"""Hysteresis: a signal that was breached stays so until it is well back, so that a value near its threshold does not
come and go. What it was before is read from the ruling before; nothing else is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trimtab.decay.signals.names import (
    ESTIMATED,
    MULTIVARIATE,
    OUTCOMES,
    PERFORMANCE,
    PREDECESSOR,
    ROWS,
    SELECTION,
    SLICE,
    VALIDATION,
)
from trimtab.records import Ruling, Signal, higher_is_better
from trimtab.spec import ModelSpec

_CALM: Mapping[str, float] = {SELECTION: 1.0, MULTIVARIATE: 0.5}
"""Where a signal is when nothing is amiss, if that is not zero."""
_METRICS = (PERFORMANCE, ESTIMATED, SLICE)
"""Signals that are a metric of the model, calm at its reference: the policy's drop away from their threshold."""
_WITHOUT = (ROWS, VALIDATION, OUTCOMES, PREDECESSOR)
"""Signals that each window decides by itself."""
_ON_OUTCOMES = (PERFORMANCE, SLICE)


def hold(spec: ModelSpec, measured: Sequence[Signal], before: Ruling | None) -> tuple[Signal, ...]:
    """The signals, those that were breached before and are not well back yet as breached, marked ``held``.

    Parameters
    ----------
    spec
        The model's spec.
    measured
        Signals of a window, as measured.
    before
        The newest earlier ruling on the same release that had rows enough; None if there is none.
    """
    were = {signal.name for signal in before.signals if signal.breached} if before else set()
    judged_on_outcomes = not any(signal.name == OUTCOMES and signal.breached for signal in measured)
    return tuple(
        signal.model_copy(update={"breached": True, "held": True})
        if not signal.breached
        and signal.name in were
        and not signal.name.startswith(_WITHOUT)
        and (judged_on_outcomes or not signal.name.startswith(_ON_OUTCOMES))
        and _is_beyond(spec, signal)
        else signal
        for signal in measured
    )


def _is_beyond(spec: ModelSpec, signal: Signal) -> bool:
    """Whether it is still on the wrong side of its threshold less the margin; a NaN is on neither side."""
    share = spec.policy.hysteresis
    if signal.name.startswith(_METRICS):
        margin = share * spec.policy.performance_drop
        rising = not higher_is_better(_metric(spec, signal))
    else:
        calm = next((value for name, value in _CALM.items() if signal.name.startswith(name)), 0.0)
        margin, rising = share * abs(signal.threshold - calm), calm < signal.threshold
    if rising:
        return signal.value > signal.threshold - margin
    return signal.value < signal.threshold + margin


def _metric(spec: ModelSpec, signal: Signal) -> str:
    """The metric's name: a slice's signal says the slice, and its value is the policy metric."""
    return spec.policy_metric if signal.name.startswith(SLICE) else signal.name.partition(".")[2]
