"""Counting numbers on bins, at some ten nanoseconds a value."""

from __future__ import annotations

import math

import numpy as np

from trimtab.decay.profile.values import Bins, ColumnProfile, first_others

CELLS = 16_384
_CROWDED = 2**31
CHUNK = 8_192
"""Values that are counted at once: what is made of them on the way stays in a core's cache."""


class Scratch:
    """Arrays that are written over, chunk after chunk: to make new ones for each would take longer than the counting.

    Of one thread: counters that take turns share it.
    """

    def __init__(self) -> None:
        self.shifted, self.places = np.empty(CHUNK), np.empty(CHUNK)
        self.cells, self.found = np.empty(CHUNK, dtype=np.intp), np.empty(CHUNK, dtype=np.intp)
        self.flags = np.empty(CHUNK, dtype=bool)


class Binner:
    """Finds the bin of each value, as ``numpy.searchsorted(edges, values, side="left")`` does, several times faster.

    An even grid lies over most of the edges. A value's cell says how many edges are in the cells before it; where its
    own cell has one edge, one comparison is left, and where it has several a search. Cells of edges and of values are
    computed alike, by operations that keep order, so that rounding moves no value across an edge.
    """

    def __init__(self, edges: np.ndarray, origin: float) -> None:
        self.edges = edges
        low, high = (float(edges[int(share * (len(edges) - 1))]) - origin for share in (0.02, 0.98))
        width = (high - low) / CELLS
        self.is_even = bool(len(edges) > 16 and np.isfinite(width) and width > 0 and np.isfinite(1 / width))
        if not self.is_even:
            return
        self._low, self._scale = low, 1 / width
        cells = np.empty(len(edges), dtype=np.intp)
        self._write_cells(edges - origin, np.empty(len(edges)), cells)
        self._before = np.searchsorted(cells, np.arange(CELLS), side="left")
        # No edge has that place, so that no value is above it: it says that there must be a search.
        self._before[np.bincount(cells, minlength=CELLS) > 1] = _CROWDED
        self._bounds = np.append(edges, np.inf)

    def find(self, values: np.ndarray, shifted: np.ndarray, scratch: Scratch) -> np.ndarray:
        """Bins of shape (rows,) of `CHUNK` finite values at most; ``shifted`` is values - origin.

        They lie in the scratch, until it is written over.
        """
        if not self.is_even:
            return np.searchsorted(self.edges, values, side="left")
        rows = len(values)
        cells, found = scratch.cells[:rows], scratch.found[:rows]
        places, flags = scratch.places[:rows], scratch.flags[:rows]
        self._write_cells(shifted, places, cells)
        # Every cell is within its table; only mode="raise" would check it, and copy for that.
        self._before.take(cells, out=found, mode="clip")
        self._bounds.take(found, out=places, mode="clip")
        np.add(found, np.greater(values, places, out=flags), out=found)
        (crowded,) = np.equal(found, _CROWDED, out=flags).nonzero()
        if len(crowded):
            found[crowded] = np.searchsorted(self.edges, values[crowded], side="left")
        return found

    def _write_cells(self, shifted: np.ndarray, places: np.ndarray, cells: np.ndarray) -> None:
        np.subtract(shifted, self._low, out=places)
        np.multiply(places, self._scale, out=places)
        np.clip(places, 0, CELLS - 1, out=places)
        np.copyto(cells, places, casting="unsafe")


class NumberCounter:
    """Adds up one numeric column."""

    def __init__(self, bins: Bins, scratch: Scratch) -> None:
        self.bins, self.size, self.origin = bins, bins.size, bins.origin
        self.scratch = scratch
        edges = bins.edge_array
        self.binner = Binner(edges, bins.origin) if len(edges) else None
        # What a value of each bin ties with: the first edge is no value of the reference's.
        self.tied = np.append(edges, np.nan)
        self.tied[0] = np.nan
        self.counts = np.zeros(bins.size, dtype=np.int64)
        self.sums = np.zeros(self.size)
        self.ties = np.zeros(bins.size if bins.discrete else 0, dtype=np.int64)
        self.others: dict[str, int] = {}
        self.rows = self.nulls = self.infinities = 0
        self.minimum: float = np.inf
        self.maximum: float = -np.inf
        self.squares = 0.0

    def add(self, values: np.ndarray) -> None:
        """Count these values, of shape (rows,); NaN is null."""
        self.rows += len(values)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(values), CHUNK):
                self._add_chunk(values[start : start + CHUNK])

    def result(self) -> ColumnProfile:
        """The column's profile."""
        valid = int(self.counts.sum())
        return ColumnProfile(
            bins=self.bins,
            counts=tuple(self.counts.tolist()),
            rows=self.rows,
            nulls=self.nulls,
            infinities=self.infinities,
            minimum=self.minimum if valid else None,
            maximum=self.maximum if valid else None,
            total=float(self.sums.sum() + valid * self.origin),
            sums=tuple(self.sums.tolist()),
            squares=self.squares,
            ties=tuple(self.ties.tolist()),
            others=self.others,
        )

    def _add_chunk(self, values: np.ndarray) -> None:
        # A NaN is both the least and the greatest.
        low, high = float(np.minimum.reduce(values)), float(np.maximum.reduce(values))
        if not (math.isfinite(low) and math.isfinite(high)):
            nulls = int(np.isnan(values).sum())
            finite = values[np.isfinite(values)]
            self.nulls += nulls
            self.infinities += len(values) - nulls - len(finite)
            if not len(finite):
                return
            values, low, high = finite, float(finite.min()), float(finite.max())
        # Zero has no sign.
        self.minimum, self.maximum = min(self.minimum, low + 0.0), max(self.maximum, high + 0.0)
        self._add_finite(values)

    def _add_finite(self, values: np.ndarray) -> None:
        shifted = np.subtract(values, self.origin, out=self.scratch.shifted[: len(values)])
        found = self.binner.find(values, shifted, self.scratch) if self.binner else np.zeros(len(values), dtype=np.intp)
        counts = np.bincount(found, minlength=self.size)
        self.counts += counts
        self.sums += np.bincount(found, weights=shifted, minlength=self.size)
        self.squares += float(np.dot(shifted, shifted))
        if self.bins.discrete:
            self._add_ties(values, found, counts)

    def _add_ties(self, values: np.ndarray, found: np.ndarray, counts: np.ndarray) -> None:
        tied = self.tied.take(found, out=self.scratch.places[: len(values)], mode="clip")
        (off,) = np.not_equal(values, tied, out=self.scratch.flags[: len(values)]).nonzero()
        self.ties += counts
        if not len(off):
            return
        self.ties -= np.bincount(found[off], minlength=self.size)
        unknown, times = np.unique(values[off] + 0.0, return_counts=True)
        named = {repr(value): count for value, count in zip(unknown.tolist(), times.tolist(), strict=True)}
        self.others = first_others([self.others, named])
