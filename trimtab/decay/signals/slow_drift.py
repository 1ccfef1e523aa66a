"""Signals of slow drift: what the windows so far show together of each column (trimtab/decay/sequential.py).

The value is the evidence gathered, as a logarithm; the next window goes on from it, as it stands in the ruling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trimtab.decay.measurements import Measurements
from trimtab.decay.sequential import chain, gather, log_threshold
from trimtab.decay.signals.names import SLOW_DRIFT
from trimtab.records import Ruling, Signal
from trimtab.spec import ModelSpec


def of_slow_drift(spec: ModelSpec, window: Measurements, earlier: Sequence[Ruling] = ()) -> Iterator[Signal]:
    """The evidence against each column, the most first. A window with too few rows adds none."""
    threshold = log_threshold(spec.policy.drift.run_length, len(window.shifts))
    past = chain(earlier, window.start, spec.policy_digest)
    distances = {distance.column: distance for distance in window.distances}
    found = []
    for shift in window.shifts:
        name, distance = SLOW_DRIFT + shift.column, distances[shift.column]
        before = [next((one.value for one in ruling.signals if one.name == name), 0.0) for ruling in past]
        evidence = before[0] if before else 0.0
        if distance.rows >= spec.policy.minimum_rows:
            evidence = gather(evidence, shift.deviate, threshold)
        since = window.start
        for ruling, value in zip(past, before, strict=True):
            if value <= 0:
                break
            since = ruling.start
        found.append(
            Signal(
                name=name,
                value=evidence,
                threshold=threshold,
                breached=evidence >= threshold,
                rows=distance.rows,
                detail=f"PSI {distance.psi:.2g}, of which {shift.tolerated:.2g} is tolerated; {distance.moved}"
                + (f"; gathered since the window of {since:%Y-%m-%d %H:%M}" if evidence > 0 else ""),
            )
        )
    yield from sorted(found, key=lambda signal: -signal.value)
