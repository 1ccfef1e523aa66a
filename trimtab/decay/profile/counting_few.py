"""Counting few numbers on bins, by numpy's search: the same as counting_many.py, which is faster from some 30,000 on.

Numba takes a third of a second to import and as long to make ready: a window of few rows is counted in less.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Grid(NamedTuple):
    """Edges, ascending, and what sums are taken from."""

    edges: np.ndarray
    origin: float


def grid(edges: np.ndarray, origin: float) -> Grid:
    """The edges, as they are."""
    return Grid(edges, origin)


def count(values: np.ndarray, grid: Grid, counts: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Add finite values, float64 of shape (rows,), to counts, int64, and to sums of (value - origin), float64, both of
    shape (edges + 1,). Returns the bins, of shape (rows,)."""
    bins = np.searchsorted(grid.edges, values, side="left")
    counts += np.bincount(bins, minlength=len(counts))
    with np.errstate(over="ignore", invalid="ignore"):
        sums += np.bincount(bins, weights=values - grid.origin, minlength=len(sums))
    return bins


def count_ties(
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
    bins = count(values, grid, counts, sums)
    tied = known[bins] == values
    ties += np.bincount(bins[tied], minlength=len(ties))
    unknown = values[~tied]
    others[: len(unknown)] = unknown
    return len(unknown)


def squares(values: np.ndarray, origin: float) -> float:
    """The sum of (value - origin)**2."""
    with np.errstate(over="ignore"):
        shifted = values - origin
        return float(np.dot(shifted, shifted))
