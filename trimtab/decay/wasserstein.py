"""The Wasserstein-1 distance (Kantorovich 1942) of two profiles, and ends between which that of the values lies.

It is the area between the two cumulative distributions F and G. Over one bin the area under each is known exactly from
the bin's count and sum. Where one lies above the other all over a bin, so is the area between them: it is their
difference. Where the two may cross it is no less than that, and no more than if both made all their steps where it is
worst (the concave envelope of \\|u - v\\| on the rectangle of their ends, which is attained at its corners).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from trimtab.decay.profile import ColumnProfile

TAIL = 0.001
"""Winsorised distances move values beyond the reference's quantiles at this share and its complement to these."""

_ROUNDING = 1e-12
_LARGE_EXPONENT = 400
"""Below two to this, neither squares nor products with a number of rows leave float64."""


class Bounds(NamedTuple):
    """Ends of an interval that certainly holds the value."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The estimate whose greatest error is least."""
        return self.low / 2 + self.high / 2


class _Pieces(NamedTuple):
    """Stretches of the axis: widths (bins,), cumulative shares at their ends (bins + 1,), areas below (bins,)."""

    widths: np.ndarray
    shares: np.ndarray
    areas: np.ndarray


def wasserstein_bounds(reference: ColumnProfile, window: ColumnProfile) -> Bounds | None:
    """The distance in the column's own unit; None if either has no values, or no sums (format 1), and if a sum or the
    distance is too large for float64."""
    if not (reference.valid and window.valid and reference.sums and window.sums):
        return None
    if not (np.isfinite(reference.sum_array).all() and np.isfinite(window.sum_array).all()):
        return None
    extremes = _extremes(reference, window)
    scale = _scale(extremes)
    ends = _ends(reference, extremes, scale)
    low, high = _areas_between(_pieces(reference, ends, scale), _pieces(window, ends, scale))
    found = _summed(low, high, ends[1:-1])
    found = Bounds(found.low / scale, found.high / scale)
    return found if math.isfinite(found.high) else None


def winsorised(reference: ColumnProfile, window: ColumnProfile) -> Bounds | None:
    """The distance between what is left when values beyond the reference's outermost thousandths are moved to these, in
    standard deviations of what is left of the reference; None if that is constant.

    One absurd value, however large, moves it by no more than one value may. For discrete bins the ends are the
    reference's least and greatest value. Where a bin's sum is not known, or too large for float64, its values are taken
    for evenly spread, or in discrete bins for equal to the upper edge.
    """
    if not (reference.valid and window.valid):
        return None
    first, last = _limits(reference)
    # Stretch i lies between edges i - 1 and i: those after the first limit, up to the last, are within.
    inner = slice(first + 1, last + 1)
    edges = reference.bins.edge_array
    scale = _scale((edges[first], edges[last], reference.bins.origin))
    # What lies beyond the limits may be too large at this scale; it is not looked at.
    with np.errstate(over="ignore", invalid="ignore"):
        ends = _ends(reference, _extremes(reference, window), scale)
        low, high = _areas_between(_pieces(reference, ends, scale), _pieces(window, ends, scale))
    spread = _winsorised_deviation(reference, ends[1:-1], first, last, scale)
    if spread is None:
        return None
    found = _summed(low[inner], high[inner], ends[first + 1 : last + 2])
    return Bounds(found.low / spread, found.high / spread)


def _extremes(reference: ColumnProfile, window: ColumnProfile) -> tuple[float, float]:
    """The least and the greatest of all edges and values."""
    edges = reference.bins.edge_array
    low = min(edges[0], *(one.minimum for one in (reference, window) if one.minimum is not None))
    high = max(edges[-1], *(one.maximum for one in (reference, window) if one.maximum is not None))
    return float(low), float(high)


def _scale(values: Iterable[float]) -> float:
    """A power of two, by which these, multiplied, come to lie within -1 and 1 if one is very large; else 1."""
    exponent = math.frexp(max(abs(value) for value in values))[1]
    return math.ldexp(1.0, -exponent) if exponent > _LARGE_EXPONENT else 1.0


def _ends(reference: ColumnProfile, extremes: tuple[float, float], scale: float) -> np.ndarray:
    """Ends of all stretches relative to the bins' origin, times the scale, of shape (bins + 1,)."""
    low, high = extremes
    return np.concatenate([[low], reference.bins.edge_array, [high]]) * scale - reference.bins.origin * scale


def _pieces(column: ColumnProfile, ends: np.ndarray, scale: float) -> _Pieces:
    counts, widths = column.count_array, np.diff(ends)
    # Where no sum is known: values as evenly spread, or on the upper edge.
    to_the_end = np.zeros_like(widths) if column.bins.discrete else counts * widths / 2
    if column.sums:
        sums = column.sum_array
        np.subtract(counts * ends[1:], sums * scale, out=to_the_end, where=np.isfinite(sums))
    shares = np.concatenate([[0.0], np.cumsum(counts)]) / column.valid
    # Rounding must not put an area beyond what its ends allow.
    areas = np.clip(to_the_end, 0.0, counts * widths) / column.valid + shares[:-1] * widths
    return _Pieces(widths, shares, areas)


def _areas_between(ours: _Pieces, theirs: _Pieces) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest area between the two over each stretch, each of shape (bins,)."""
    low = np.abs(ours.areas - theirs.areas)
    f0, f1, g0, g1 = ours.shares[:-1], ours.shares[1:], theirs.shares[:-1], theirs.shares[1:]
    may_cross = (f1 > g0) & (g1 > f0)
    p, q = _share_at_top(ours, f0, f1), _share_at_top(theirs, g0, g1)
    both = np.maximum(0.0, p + q - 1)
    corners = (
        both * np.abs(f1 - g1)
        + (p - both) * np.abs(f1 - g0)
        + (q - both) * np.abs(f0 - g1)
        + (1 - p - q + both) * np.abs(f0 - g0)
    )
    return low, np.where(may_cross, np.maximum(low, ours.widths * corners), low)


def _share_at_top(pieces: _Pieces, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    rise = (end - start) * pieces.widths
    above = pieces.areas - start * pieces.widths
    share: np.ndarray = np.divide(above, rise, out=np.zeros_like(rise), where=rise > 0)
    return np.asarray(np.clip(share, 0.0, 1.0))


def _summed(low: np.ndarray, high: np.ndarray, edges: np.ndarray) -> Bounds:
    allowance = _ROUNDING * float(np.abs(low).sum()) + 1e-16 * float(np.abs(edges).max(initial=0.0))
    return Bounds(max(0.0, float(low.sum()) - allowance), float(high.sum()) + allowance)


def _limits(reference: ColumnProfile) -> tuple[int, int]:
    """Positions of the first and last edge of the winsorised range."""
    last = len(reference.bins.edges) - 1
    if reference.bins.discrete:
        return min(1, last), last
    shares = np.cumsum(reference.count_array)[:-1] / reference.valid
    first = int(np.searchsorted(shares, TAIL, side="right")) - 1
    return max(0, first), min(last, int(np.searchsorted(shares, 1 - TAIL, side="left")))


def _winsorised_deviation(
    reference: ColumnProfile, edges: np.ndarray, first: int, last: int, scale: float
) -> float | None:
    """Of what is left of the reference, times the scale; ``edges`` are relative to the origin and scaled."""
    counts = reference.count_array
    inner = slice(first + 1, last + 1)
    within, widths = counts[inner], np.diff(edges[first : last + 1])
    means = edges[inner] - (0.0 if reference.bins.discrete else widths / 2)
    if reference.sums:
        sums = reference.sum_array[inner]
        np.divide(sums * scale, within, out=means, where=(within > 0) & np.isfinite(sums))
    beyond = (counts[: first + 1].sum(), counts[last + 1 :].sum())
    points = np.concatenate([[edges[first]], means, [edges[last]]])
    mass = np.concatenate([[beyond[0]], within, [beyond[1]]]) / counts.sum()
    mean = float(np.sum(mass * points))
    variance = float(np.sum(mass * (points - mean) ** 2))
    if not reference.bins.discrete:
        variance += float(np.sum(mass[1:-1] * widths**2)) / 12
    spread = float(np.sqrt(max(variance, 0.0)))
    size = max(1.0, float(np.abs(reference.bins.edge_array[[first, last]]).max())) * scale
    return spread if spread > _ROUNDING * size else None
