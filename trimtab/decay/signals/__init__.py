"""Each number that was measured on a window beside its threshold.

How signals are called: names.py · broken data: data.py · drift: drift.py, slow_drift.py · performance, realised and
estimated: performance.py · bias: groups.py · single rows: anomalies.py. To add one: a name, a generator
`(spec, window) -> Iterator[Signal]`, its place here.
"""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.decay.measurements import Measurements
from trimtab.decay.signals.anomalies import of_anomalies
from trimtab.decay.signals.data import of_data
from trimtab.decay.signals.drift import of_drift
from trimtab.decay.signals.groups import of_gaps, of_groups
from trimtab.decay.signals.performance import (
    of_calibration,
    of_estimate,
    of_performance,
    of_predecessor,
    of_skill,
    of_slices,
)
from trimtab.decay.signals.slow_drift import of_slow_drift
from trimtab.records import Ruling, Signal
from trimtab.spec import ModelSpec


def signals(spec: ModelSpec, window: Measurements, earlier: Sequence[Ruling] = ()) -> tuple[Signal, ...]:
    """Every measurement beside the threshold that the spec's policy sets for it.

    ``earlier`` are rulings on the same release, in any order: what slow drift goes on from.
    """
    return (
        *of_data(spec, window),
        *of_drift(spec, window, earlier),
        *of_slow_drift(spec, window, earlier),
        *of_performance(spec, window),
        *of_skill(spec, window),
        *of_estimate(spec, window),
        *of_slices(spec, window),
        *of_calibration(spec, window),
        *of_predecessor(spec, window),
        *of_groups(spec, window),
        *of_gaps(spec, window),
        *of_anomalies(spec, window),
    )
