"""The Wasserstein-1 distance (Kantorovich 1942) of two profiles, and ends between which that of the values lies.

It is the area between the two cumulative distributions F and G. Over one bin the area under each is known exactly from
the bin's count and sum. Where one lies above the other all over a bin, so is the area between them: it is their
difference. Where the two may cross it is no less than that, and no more than if both made all their steps where it is
worst (the concave envelope of \\|u - v\\| on the rectangle of their ends, which is attained at its corners).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trimtab.decay.profile import ColumnProfile

TAIL = 0.001
"""Winsorised distances move values beyond the reference's quantiles at this share and its complement to these."""

_ROUNDING = 1e-12


class Bounds(NamedTuple):
    """Ends of an interval that certainly holds the value."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The estimate whose greatest error is least."""
        return (self.low + self.high) / 2


class _Pieces(NamedTuple):
    """Stretches of the axis: widths (bins,), cumulative shares at their ends (bins + 1,), areas below (bins,)."""

    widths: np.ndarray
    shares: np.ndarray
    areas: np.ndarray


def wasserstein_bounds(reference: ColumnProfile, window: ColumnProfile) -> Bounds | None:
    """The distance in the column's own unit; None if either has no values, or no sums (format 1)."""
    if not (reference.valid and window.valid and reference.sums and window.sums):
        return None
    ends = _ends(reference, window)
    ours, theirs = _pieces(reference, ends), _pieces(window, ends)
    low, high = _areas_between(ours, theirs)
    return _summed(low, high, ends)


def winsorised(reference: ColumnProfile, window: ColumnProfile) -> Bounds | None:
    """The distance between what is left when values beyond the reference's outermost thousandths are moved to these, in
    standard deviations of what is left of the reference; None if that is constant.

    One absurd value, however large, moves it by no more than one value may. For discrete bins the ends are the
    reference's least and greatest value.
    """
    if not (reference.valid and window.valid):
        return None
    ends = _ends(reference, window)
    ours, theirs = _pieces(reference, ends), _pieces(window, ends)
    first, last = _limits(reference)
    # Stretch i lies between edges i - 1 and i: those after the first limit, up to the last, are within.
    inner = slice(first + 1, last + 1)
    low, high = _areas_between(ours, theirs)
    spread = _winsorised_deviation(reference, ours, first, last)
    if spread is None:
        return None
    found = _summed(low[inner], high[inner], ends)
    return Bounds(found.low / spread, found.high / spread)


def _ends(reference: ColumnProfile, window: ColumnProfile) -> np.ndarray:
    """Ends of all stretches relative to the bins' origin, of shape (bins + 1,)."""
    edges = reference.bins.edge_array
    low = min(edges[0], *(one.minimum for one in (reference, window) if one.minimum is not None))
    high = max(edges[-1], *(one.maximum for one in (reference, window) if one.maximum is not None))
    return np.concatenate([[low], edges, [high]]) - reference.bins.origin


def _pieces(column: ColumnProfile, ends: np.ndarray) -> _Pieces:
    counts, widths = column.count_array, np.diff(ends)
    if column.sums:
        to_the_end = counts * ends[1:] - column.sum_array
    else:
        # Format 1 keeps no sums: values as evenly spread, or on the upper edge.
        to_the_end = np.zeros_like(widths) if column.bins.discrete else counts * widths / 2
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


def _summed(low: np.ndarray, high: np.ndarray, ends: np.ndarray) -> Bounds:
    allowance = _ROUNDING * float(np.abs(low).sum()) + 1e-16 * float(np.abs(ends[1:-1]).max(initial=0.0))
    return Bounds(max(0.0, float(low.sum()) - allowance), float(high.sum()) + allowance)


def _limits(reference: ColumnProfile) -> tuple[int, int]:
    """Positions of the first and last edge of the winsorised range."""
    last = len(reference.bins.edges) - 1
    if reference.bins.discrete:
        return min(1, last), last
    shares = np.cumsum(reference.count_array)[:-1] / reference.valid
    first = int(np.searchsorted(shares, TAIL, side="right")) - 1
    return max(0, first), min(last, int(np.searchsorted(shares, 1 - TAIL, side="left")))


def _winsorised_deviation(reference: ColumnProfile, ours: _Pieces, first: int, last: int) -> float | None:
    edges = reference.bins.edge_array - reference.bins.origin
    counts = reference.count_array
    inner = slice(first + 1, last + 1)
    within, widths = counts[inner], np.diff(edges)[first:last]
    if reference.sums:
        sums = reference.sum_array[inner]
        means = np.divide(sums, within, out=np.zeros_like(within), where=within > 0)
    else:
        means = edges[first + 1 : last + 1] - (0.0 if reference.bins.discrete else widths / 2)
    beyond = (counts[: first + 1].sum(), counts[last + 1 :].sum())
    points = np.concatenate([[edges[first]], means, [edges[last]]])
    mass = np.concatenate([[beyond[0]], within, [beyond[1]]]) / counts.sum()
    mean = float(np.sum(mass * points))
    variance = float(np.sum(mass * (points - mean) ** 2))
    if not reference.bins.discrete:
        variance += float(np.sum(mass[1:-1] * widths**2)) / 12
    spread = float(np.sqrt(max(variance, 0.0)))
    size = max(1.0, float(np.abs(reference.bins.edge_array[[first, last]]).max()))
    return spread if spread > _ROUNDING * size else None
