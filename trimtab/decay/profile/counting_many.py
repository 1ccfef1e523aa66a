"""Counting many numbers on bins, by loops that Numba compiles: at some two nanoseconds a value, beside other threads.

An even grid of cells lies over most of the edges. `_cell` says in which one a number lies, edge or value; it consists
of operations that keep order, whatever they round. So of an edge in a lower cell it is known that the value is greater,
of one in a higher cell that it is less: only the edges of the value's own cell, mostly none, are compared with it.
"""

from __future__ import annotations

import logging
import math
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

CELLS = 65_536
MARGIN = 0.005
"""Share of the edges on either side over which no cells are laid: one absurd edge would make them all too wide."""
_BLOCK = 1_024
"""So many values that what is made on the way stays in the nearest cache."""
_ONE = np.uint64(1)
"""Places without a sign: of others Numba asks each time whether they count from the end."""
_logger = logging.getLogger(__name__)


class Grid(NamedTuple):
    """Cells over some edges; ``before`` counts the edges in the cells before each one, uint32 of shape (cells + 1,)."""

    edges: np.ndarray
    origin: float
    first: float
    scale: float
    before: np.ndarray


def grid(edges: np.ndarray, origin: float) -> Grid:
    """The grid over these edges.

    Parameters
    ----------
    edges
        Ascending, float64 of shape (edges,).
    origin
        What edges and values are taken from before they are compared with the cells, so that they keep their digits.
    """
    first = scale = 0.0
    if len(edges):
        margin = int(MARGIN * (len(edges) - 1))
        with np.errstate(over="ignore", invalid="ignore"):
            first, last = (float(edges[place] - origin) for place in (margin, -1 - margin))
            width = (last - first) / CELLS
        # Without a width all is in one cell.
        scale = 1 / width if math.isfinite(width) and width > 0 and math.isfinite(1 / width) else 0.0
    before = np.empty(CELLS + 1, dtype=np.uint32)
    _lay(edges, origin, first, scale, before)
    return Grid(edges, origin, first, scale, before)


def _cell(value: float, origin: float, first: float, scale: float, last: float) -> Any:
    place = ((value - origin) - first) * scale
    # What is no number, as where all is in one cell, comes to lie in the first.
    place = place if place > 0.0 else 0.0
    return np.uint32(np.int32(place if place < last else last))


def _lay(edges: np.ndarray, origin: float, first: float, scale: float, before: np.ndarray) -> None:
    last = float(len(before) - 2)
    laid = 0
    for place in range(len(edges)):
        cell = _cell(edges[place], origin, first, scale, last)
        while laid <= cell:
            before[laid] = place
            laid += 1
    before[laid:] = len(edges)


def _find(values: np.ndarray, grid: Grid, bins: np.ndarray) -> None:
    """Write the bin of each value, as ``numpy.searchsorted(edges, values, side="left")`` finds it."""
    edges, origin, first, scale, before = grid
    last = float(len(before) - 2)
    # Apart from what follows, this is done for several values at once.
    for row in range(len(values)):
        bins[row] = _cell(values[row], origin, first, scale, last)
    for row in range(len(values)):
        low = np.uint64(before[bins[row]])
        high = np.uint64(before[bins[row] + _ONE])
        while low < high:
            middle = (low + high) >> _ONE
            if values[row] > edges[middle]:
                low = middle + _ONE
            else:
                high = middle
        bins[row] = low


def _count(values: np.ndarray, grid: Grid, counts: np.ndarray, sums: np.ndarray) -> None:
    """Add finite values, float64 of shape (rows,), to counts, int64, and to sums of (value - origin), float64, both of
    shape (edges + 1,)."""
    bins = np.empty(_BLOCK, dtype=np.uint32)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        _find(block, grid, bins)
        for row in range(len(block)):
            counts[bins[row]] += 1
            sums[bins[row]] += block[row] - grid.origin


def _count_ties(
    values: np.ndarray,
    grid: Grid,
    counts: np.ndarray,
    sums: np.ndarray,
    known: np.ndarray,
    ties: np.ndarray,
    others: np.ndarray,
) -> int:
    """The same, and add to ties, int64, those that equal what is known of their bin, float64, NaN for nothing; both of
    shape (edges + 1,). The rest are written to others, of shape (rows,); returns how many they are."""
    bins = np.empty(_BLOCK, dtype=np.uint32)
    unknown = 0
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        _find(block, grid, bins)
        for row in range(len(block)):
            counts[bins[row]] += 1
            sums[bins[row]] += block[row] - grid.origin
            if block[row] == known[bins[row]]:
                ties[bins[row]] += 1
            else:
                others[unknown] = block[row]
                unknown += 1
    return unknown


def _squares(values: np.ndarray, origin: float) -> float:
    """The sum of (value - origin)**2, in any order."""
    total = 0.0
    for row in range(len(values)):
        shifted = values[row] - origin
        total += shifted * shifted
    return total


_LOOPS: dict[Callable[..., Any], dict[str, Any]] = {
    _cell: {},
    _lay: {},
    _find: {},
    _count: {},
    _count_ties: {},
    _squares: {"fastmath": {"reassoc"}},
}
"""Each with what it is compiled with besides; while they stand here, their names are given to what is compiled."""


def _compiled(cache: bool) -> list[Any]:
    """The loops as what is compiled at its first call; kept, if asked to, beside this file or in the user's caches."""
    return [numba.njit(nogil=True, cache=cache, **options)(loop) for loop, options in _LOOPS.items()]


def _call_each() -> None:
    """Have each compiled, or read from where it was kept, for what numbers.py calls it with."""
    values, counts, sums = np.zeros(1), np.zeros(2, dtype=np.int64), np.zeros(2)
    values.setflags(write=False)
    laid = grid(values, 0.0)
    count(values, laid, counts, sums)
    count_ties(values, laid, counts, sums, np.zeros(2), counts, np.empty(1))
    squares(values, 0.0)


try:
    _cell, _lay, _find, count, count_ties, squares = _compiled(cache=True)
    _call_each()
except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
    # No place to keep them (RuntimeError), no room there, or what is kept there was cut short: that costs time alone.
    _logger.warning("compiled loops are neither kept nor read: %r; each process compiles its own", error)
    _cell, _lay, _find, count, count_ties, squares = _compiled(cache=False)
