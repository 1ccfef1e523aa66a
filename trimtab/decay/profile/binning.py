"""Finding the bins of numbers, at some three nanoseconds a value, by a table in place of a search.

An even grid of cells lies over most of the edges. A value's cell is computed by the very operations that gave the edges
theirs, each of which keeps order: so a value in a cell without an edge is in the bin that the cell lies in, whatever
was rounded. In a cell with one edge a comparison is left, in a crowded one a search. The outermost cells, where
all goes that lies beyond the grid or is beyond whole numbers, are always searched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from scipy.sparse import csc_array

CHUNK = 131_072
"""Values that are counted at once: of fewer, what is made on the way would stay in a core's cache, but each of numpy's
calls would be so short that threads which take turns at them are slower than one."""
CELLS = 131_072
MARGIN = 0.005
"""Share of the edges on either side over which no cells are laid: one absurd edge would make them all too wide."""
SEARCHED_ROWS = 4_096
"""Of fewer values each is searched: a table takes as long to make as some thousands of searches."""
TABLED_EDGES = 16_000
"""Of more edges a table of 16 bits has no room."""
_SPARSE_ROWS = 32_768
_ONES = np.ones(CHUNK)


class Scratch:
    """Arrays that are written over, chunk after chunk: to make new ones for each would take longer than the counting.

    Of one thread: counters that take turns share it.
    """

    def __init__(self) -> None:
        self.shifted, self.places = np.empty(CHUNK), np.empty(CHUNK)
        self.narrow, self.wide = np.empty(CHUNK, dtype=np.int32), np.empty(CHUNK, dtype=np.intp)
        self.told = np.empty(CHUNK, dtype=np.int16)
        self.flags = np.empty(CHUNK, dtype=bool)


def sums_of_bins(found: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """The sum of the weights of each bin, of shape (size,), for bins and weights of shape (rows,).

    It is ``numpy.bincount``'s to the last bit. That holds the interpreter all the time; a sparse column that is
    multiplied by one, for which numbers of 32 bits are enough, does not.
    """
    if len(found) < _SPARSE_ROWS:
        return np.bincount(found, weights=weights, minlength=size)
    column = csc_array((weights, found, np.array([0, len(found)], dtype=np.int32)), shape=(size, 1))
    return np.asarray(column @ _ONES[:1])


def counts_of_bins(found: np.ndarray, size: int) -> np.ndarray:
    """How many of the bins, of shape (rows,), are each: int64 of shape (size,)."""
    if len(found) < _SPARSE_ROWS:
        return np.bincount(found, minlength=size)
    return sums_of_bins(found, _ONES[: len(found)], size).astype(np.int64)


def chunks(rows: int) -> Iterator[slice]:
    """Positions of so many rows, `CHUNK` at a time."""
    return (slice(start, start + CHUNK) for start in range(0, rows, CHUNK))


class Grid:
    """Cells over one edge or more, of shape (edges,) and ascending; ``origin`` is what edges and values are taken from.

    ``cells`` are those of the edges, of shape (edges,).
    """

    def __init__(self, edges: np.ndarray, origin: float) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            shifted = edges - origin
            margin = int(MARGIN * (len(edges) - 1))
            first, last = float(shifted[margin]), float(shifted[-1 - margin])
            width = (last - first) / CELLS
            # Without a width all is in one cell.
            self._scale = 1 / width if math.isfinite(width) and width > 0 and math.isfinite(1 / width) else 0.0
            self._start = np.int32(-first * self._scale if self._scale else 0)
            places = np.clip(np.nan_to_num(shifted * self._scale), -CELLS, CELLS)
        self.cells = np.clip(places.astype(np.int32) + self._start, 0, CELLS - 1)
        _, inverse, counts = np.unique(self.cells, return_inverse=True, return_counts=True)
        self.is_alone = counts[inverse] == 1
        """Which edges are the only one of their cell, of shape (edges,)."""

    def edges_before(self) -> np.ndarray:
        """The number of edges in the cells before each cell, int16 of shape (`CELLS`,)."""
        widths = np.diff(self.cells, prepend=-1, append=CELLS - 1)
        return np.repeat(np.arange(len(self.cells) + 1, dtype=np.int16), widths)

    def look_up(self, table: np.ndarray, shifted: np.ndarray, scratch: Scratch) -> np.ndarray:
        """What a table, int16 of shape (`CELLS`,), says of each value's cell, as int16 of shape (rows,).

        It lies in the scratch, until that is written over.
        """
        rows = len(shifted)
        places, narrow = scratch.places[:rows], scratch.narrow[:rows]
        wide, told = scratch.wide[:rows], scratch.told[:rows]
        np.multiply(shifted, self._scale, out=places)
        with np.errstate(invalid="ignore"):
            # By way of 32 bits it is faster; what they do not hold comes to lie beyond the grid.
            np.copyto(narrow, places, casting="unsafe")
        np.copyto(wide, np.add(narrow, self._start, out=narrow))
        # What lies beyond is put in the outermost cells.
        return table.take(wide, out=told, mode="clip")


class Binner:
    """Finds the bin of each value, as ``numpy.searchsorted(edges, values, side="left")`` does, many times faster."""

    def __init__(self, edges: np.ndarray, origin: float) -> None:
        self._edges, self._origin, self._size = edges, origin, len(edges) + 1
        self._bounds = np.append(edges, [np.inf, np.inf])

    def find(self, values: np.ndarray, shifted: np.ndarray, scratch: Scratch) -> np.ndarray:
        """Bins, whole numbers of shape (rows,), of `CHUNK` finite values at most; ``shifted`` is values - origin.

        They may lie in the scratch, until it is written over.
        """
        if len(values) < SEARCHED_ROWS or not 0 < len(self._edges) <= TABLED_EDGES:
            return np.searchsorted(self._edges, values, side="left")
        grid, table = self._table
        told, found = grid.look_up(table, shifted, scratch), scratch.narrow[: len(values)]
        np.copyto(found, told)
        (unsure,) = np.greater_equal(told, self._size, out=scratch.flags[: len(values)]).nonzero()
        if len(unsure):
            found[unsure] = self._compared(values[unsure], found[unsure] - self._size)
        return found

    @cached_property
    def _table(self) -> tuple[Grid, np.ndarray]:
        """Of each cell its bin, if no edge is in it; the number of bins more, if one is; else twice that number."""
        grid = Grid(self._edges, self._origin)
        table = grid.edges_before()
        table[grid.cells] += np.int16(self._size)
        table[grid.cells[~grid.is_alone]] = table[0] = table[-1] = 2 * self._size
        return grid, table

    def _compared(self, values: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Bins of values in whose cell the edge at that place is alone, or else, at the number of bins, is not."""
        places += values > self._bounds[places]
        (crowded,) = (places == self._size).nonzero()
        if len(crowded):
            places[crowded] = np.searchsorted(self._edges, values[crowded], side="left")
        return places


class TieFinder:
    """Finds which values equal one of the edges after the first."""

    def __init__(self, edges: np.ndarray, origin: float) -> None:
        self._edges, self._origin = edges, origin
        self.values = np.append(edges, np.nan)
        """What a value of each bin ties with, of shape (bins,); NaN where there is nothing."""
        self.values[0] = np.nan

    def find(self, values: np.ndarray, shifted: np.ndarray, scratch: Scratch) -> tuple[np.ndarray, np.ndarray]:
        """Bins, of shape (rows,), of `CHUNK` values at most, and where they may be wrong, as they equal nothing.

        Bins may lie in the scratch, until it is written over. ``shifted`` is values - origin.
        """
        rows = len(values)
        if rows < SEARCHED_ROWS or not 1 < len(self._edges) <= TABLED_EDGES:
            found = np.searchsorted(self._edges, values, side="left")
        else:
            grid, table = self._table
            found = scratch.wide[:rows]
            np.copyto(found, grid.look_up(table, shifted, scratch))
        equal = self.values.take(found, out=scratch.places[:rows], mode="clip")
        (wrong,) = np.not_equal(values, equal, out=scratch.flags[:rows]).nonzero()
        return found, wrong

    @cached_property
    def _table(self) -> tuple[Grid, np.ndarray]:
        """Of each cell the bin whose upper edge is alone in it, or else the last bin."""
        grid = Grid(self._edges[1:], self._origin)
        table = np.full(CELLS, len(self._edges), dtype=np.int16)
        table[grid.cells[grid.is_alone]] = 1 + grid.is_alone.nonzero()[0]
        return grid, table
