"""Whether a column came in another unit: its quantiles are the reference's after a conversion, and not without.

Drift moves a distribution, or changes its shape; a change of unit keeps the shape and moves it by a constant that is
known. So the window's quantiles are held against those of the reference, and of each of its spans, under each
conversion. A small factor might be growth, so there location and shape must both fit within what chance allows; a large
one, and a shift beyond all of the reference, need only the shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.decay.soundness import LEVELS, ColumnSoundness

_FACTORS = {
    "thousands": 1000.0,
    "millions": 1e6,
    "hundreds, as in cents or percent": 100.0,
    "tens": 10.0,
    "seconds and minutes": 60.0,
    "seconds and hours": 3600.0,
    "hours and days": 24.0,
    "seconds and days": 86400.0,
    "inches and centimetres": 2.54,
    "inches and millimetres": 25.4,
    "feet and metres": 3.28084,
    "miles and kilometres": 1.609344,
    "pounds and kilograms": 2.204623,
    "metres a second and kilometres an hour": 3.6,
    "metres a second and miles an hour": 2.236936,
    "inches of mercury and hectopascals": 33.86389,
    "gallons and litres": 3.785412,
    "degrees and radians": 57.29578,
}
LEAST_ROWS = 100
_LARGE_FACTOR = 5.0
_FAR = 3.0
"""Standard deviations of the reference; by so many no honest median moves."""
_DIFFERENT, _APART = 0.3, 0.8
"""How far the window must be from every span before a known conversion, or any factor, is thought of."""
_DISTINCT = 15
"""So many of the quantiles must differ, or there is no shape to know again."""
_OUTSIDE = 0.1
"""Share of the values that leave the reference's range under a small factor; 0.04 do without any."""
_ROOT_ROWS = 20.0
"""The square root of the rows that tell a factor of e from its neighbours."""
_ANY = "a constant factor"


@dataclass(frozen=True)
class Conversion:
    """``factor * value + offset``."""

    name: str
    factor: float
    offset: float = 0.0

    def __str__(self) -> str:
        plus = f" {self.offset:+.6g}" if self.offset else ""
        return f"× {self.factor:.6g}{plus} ({self.name})"


CONVERSIONS = (
    *(Conversion(name, factor) for name, factor in _FACTORS.items()),
    *(Conversion(name, 1 / factor) for name, factor in _FACTORS.items()),
    Conversion("Celsius to Fahrenheit", 1.8, 32.0),
    Conversion("Fahrenheit to Celsius", 1 / 1.8, -32 / 1.8),
    Conversion("Celsius to kelvin", 1.0, 273.15),
    Conversion("kelvin to Celsius", 1.0, -273.15),
)


@dataclass(frozen=True)
class Converted:
    """The conversion that fits, and how far the window is from the reference with it and without: 0 to 1 (KS)."""

    conversion: Conversion
    distance: float
    before: float
    median: float
    reference_median: float


def find_conversion(values: np.ndarray, known: ColumnSoundness, largest_distance: float) -> Converted | None:
    """The conversion under which the reference's quantiles are the window's, where they are not without one.

    Parameters
    ----------
    values
        Finite values of the window, of shape (rows,).
    known
        What the column looked like in the reference.
    largest_distance
        How far the window may be from the converted reference, in shares of rows.
    """
    found: list[Converted] = []
    for scaled in (True, False):
        # A factor leaves zeros as they are, and where they are many they would hide all else.
        ours = np.sort(values[values != 0] if scaled else values)
        spans = [np.asarray(one) for one in (known.nonzero if scaled else known.quantiles)]
        spans = [one for one in spans if len(np.unique(one)) >= _DISTINCT]
        if len(ours) < LEAST_ROWS or len(np.unique(np.quantile(ours, LEVELS))) < _DISTINCT or not spans:
            continue
        before = min(_distance(one, ours) for one in spans)
        if before < _DIFFERENT:
            return None
        found += _fitting(ours, spans, before, scaled, largest_distance)
    return min(found, key=lambda one: one.distance, default=None)


def _fitting(
    ours: np.ndarray, spans: Sequence[np.ndarray], before: float, scaled: bool, largest: float
) -> Iterator[Converted]:
    median, middle = float(np.median(ours)), float(np.median(spans[0]))
    conversions = [one for one in CONVERSIONS if scaled == (one.offset == 0)]
    if scaled and before >= _APART and middle and median / middle > 0:
        conversions.append(Conversion(_ANY, median / middle))
    for conversion in conversions:
        if conversion.name == _ANY and not _is_large(conversion, spans[0]):
            continue
        for span in spans:
            theirs = conversion.factor * span + conversion.offset
            if abs(np.median(theirs) - median) > _spread(theirs):
                continue
            distance = _distance(theirs, ours)
            chance = 1.36 * np.sqrt(2 / len(ours))
            large = _is_large(conversion, span)
            known = conversion.name != _ANY
            if distance > min(largest, max(largest if large and known else largest / 2, chance)):
                continue
            if distance <= before / 3 and (large or _is_certain(conversion, theirs, ours, spans[0])):
                yield Converted(conversion, distance, before, median, middle)


def _is_large(conversion: Conversion, span: np.ndarray) -> bool:
    if conversion.offset:
        middle = np.median(span)
        return bool(abs(conversion.factor * middle + conversion.offset - middle) > _FAR * _spread(span))
    return max(conversion.factor, 1 / conversion.factor) >= _LARGE_FACTOR


def _is_certain(conversion: Conversion, theirs: np.ndarray, ours: np.ndarray, reference: np.ndarray) -> bool:
    """Whether a small factor is more than a part of the reference, or growth, that happens to look like it.

    Half of a column that is evenly spread looks like that column by half; so some values must leave the reference's
    range, and the location must be that of the conversion, not one beside it: the nearer the factor is to 1, the more
    rows tell growth by half from miles that became kilometres.
    """
    enough = len(ours) >= (_ROOT_ROWS / max(abs(np.log(conversion.factor)), 0.1)) ** 2
    outside = float(np.mean((ours < reference[0]) | (ours > reference[-1])))
    return bool(enough and outside >= _OUTSIDE and _offset(theirs, ours) <= max(0.05, 2 / np.sqrt(len(ours))))


def _distance(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of sorted values from quantiles at `LEVELS`; what ties counts for both."""
    slack = 1e-6 * np.abs(theirs)
    below = np.searchsorted(ours, theirs - slack, side="left") / len(ours)
    within = np.searchsorted(ours, theirs + slack, side="right") / len(ours)
    levels = np.asarray(LEVELS)
    return float(np.maximum(np.maximum(levels - within, below - levels), 0).max())


def _offset(theirs: np.ndarray, ours: np.ndarray) -> float:
    """How far the two lie apart on average over the levels, in standard deviations."""
    return float(abs(np.mean(np.quantile(ours, LEVELS) - theirs)) / max(_spread(theirs), 1e-300))


def _spread(quantiles: np.ndarray) -> float:
    """A standard deviation from quantiles, which no absurd value moves."""
    high, low = np.interp([0.8413, 0.1587], LEVELS, quantiles)
    return float(high - low) / 2
