"""Hysteresis: a signal that was breached stays so until it is well back, so that a value near its threshold does not
come and go. What it was before is read from the ruling before; nothing else is kept."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.decay.signals import names
from trimtab.records import Ruling, Signal
from trimtab.spec import ModelSpec

_WITHOUT = (names.ROWS, names.VALIDATION, names.OUTCOMES, names.PREDECESSOR, names.SKILL)
"""Signals that each window decides by itself."""
_ON_OUTCOMES = (names.PERFORMANCE, names.SLICE)
_NEVER_CALM_BY_CHANCE = (names.CALIBRATION, names.SELECTION, names.GROUP)
"""Sums of absolute errors and gaps between the two farthest groups: with few rows their value is away from calm when
nothing is amiss, too, so that it cannot say that something still is. Their interval can."""


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
    judged_on_outcomes = not any(signal.name == names.OUTCOMES and signal.breached for signal in measured)
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
    calm = calm_value(spec, signal)
    margin, rising = spec.policy.hysteresis * abs(signal.threshold - calm), calm < signal.threshold
    beyond = signal.value > signal.threshold - margin if rising else signal.value < signal.threshold + margin
    if signal.name.startswith(_NEVER_CALM_BY_CHANCE) and signal.low is not None and signal.high is not None:
        return beyond and (signal.low > calm if rising else signal.high < calm)
    return beyond


def calm_value(spec: ModelSpec, signal: Signal) -> float:
    """Where a signal is when nothing is amiss: for what is held against the evaluation its value there, else the value
    of rows that are all alike."""
    if signal.calm is not None:
        return signal.calm
    family = signal.name.partition(".")[0]
    match family + "." if "." in signal.name else family:
        case names.CALIBRATION:
            return signal.threshold - spec.policy.calibration.maximum_rise
        case names.SELECTION:
            return 1.0
        case names.MULTIVARIATE:
            return 0.5
        case _:
            return 0.0
