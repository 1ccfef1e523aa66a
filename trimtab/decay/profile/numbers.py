"""Counting numbers: what adds up a numeric column, batch after batch."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from trimtab.decay.profile import counting_few
from trimtab.decay.profile.values import Bins, ColumnProfile, first_others

MANY_ROWS = 32_768
"""From so many rows of a column on they are counted by loops that are compiled."""


def number_counter(bins: Bins) -> NumberCounter:
    """What adds up a numeric column on these bins."""
    return DiscreteCounter(bins) if bins.discrete else NumberCounter(bins)


class NumberCounter:
    """Adds up one numeric column."""

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.counts = np.zeros(bins.size, dtype=np.int64)
        self.sums = np.zeros(bins.size)
        self.rows = self.nulls = self.infinities = 0
        self.minimum: float = np.inf
        self.maximum: float = -np.inf
        self.squares = 0.0

    def add(self, values: np.ndarray) -> None:
        """Count these values, float64 of shape (rows,); NaN is null."""
        self.rows += len(values)
        with np.errstate(over="ignore", invalid="ignore"):
            low, high = _ends(values)
            if not math.isfinite(low + high):
                values = self._finite(values)
                low, high = _ends(values)
        # Zero has no sign.
        self.minimum, self.maximum = min(self.minimum, low + 0.0), max(self.maximum, high + 0.0)
        # Numba compiles once for what may be written and once for what may not: of the two, one is enough.
        values = np.ascontiguousarray(values).view()
        values.setflags(write=False)
        counting, grid = self._many if self.rows >= MANY_ROWS else self._few
        self.squares += counting.squares(values, self.bins.origin)
        # The sum of many sums keeps more digits than one of all rows does.
        sums = np.zeros(self.bins.size)
        self.count(values, counting, grid, sums)
        with np.errstate(over="ignore", invalid="ignore"):
            self.sums += sums

    def count(self, values: np.ndarray, counting: Any, grid: Any, sums: np.ndarray) -> None:
        """Add finite values to the counts and to these sums, by the module that counts, on its grid."""
        counting.count(values, grid, self.counts, sums)

    def result(self) -> ColumnProfile:
        """The column's profile."""
        valid = int(self.counts.sum())
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(self.sums.sum() + valid * self.bins.origin)
        return ColumnProfile(
            bins=self.bins,
            counts=tuple(self.counts.tolist()),
            rows=self.rows,
            nulls=self.nulls,
            infinities=self.infinities,
            minimum=self.minimum if valid else None,
            maximum=self.maximum if valid else None,
            total=total,
            sums=tuple(self.sums.tolist()),
            squares=self.squares,
        )

    def _finite(self, values: np.ndarray) -> np.ndarray:
        """Those that are neither null nor infinite; the others are counted."""
        finite: np.ndarray = values[np.isfinite(values)]
        nulls = int(np.isnan(values).sum())
        self.nulls += nulls
        self.infinities += len(values) - nulls - len(finite)
        return finite

    @cached_property
    def _few(self) -> tuple[Any, Any]:
        return counting_few, counting_few.grid(self.bins.edge_array, self.bins.origin)

    @cached_property
    def _many(self) -> tuple[Any, Any]:
        # Numba takes a third of a second to import: only those wait who have many rows.
        from trimtab.decay.profile import counting_many

        return counting_many, counting_many.grid(self.bins.edge_array, self.bins.origin)


class DiscreteCounter(NumberCounter):
    """Adds up a column whose reference has few distinct values: those that equal none are counted by name as well."""

    def __init__(self, bins: Bins) -> None:
        super().__init__(bins)
        # The first edge is none of the reference's values: it lies just below them.
        self.known = np.array([np.nan, *bins.edges[1:], np.nan][: bins.size])
        self.ties = np.zeros(bins.size, dtype=np.int64)
        self.others: dict[str, int] = {}

    def count(self, values: np.ndarray, counting: Any, grid: Any, sums: np.ndarray) -> None:
        """Add finite values to the counts, ties and others, and to these sums."""
        others = np.empty(len(values))
        found = counting.count_ties(values, grid, self.counts, sums, self.known, self.ties, others)
        # Zero has no sign.
        unknown, times = np.unique(others[:found] + 0.0, return_counts=True)
        if len(unknown):
            named = {repr(value): count for value, count in zip(unknown.tolist(), times.tolist(), strict=True)}
            self.others = first_others([self.others, named])

    def result(self) -> ColumnProfile:
        """The column's profile."""
        return super().result().model_copy(update={"ties": tuple(self.ties.tolist()), "others": self.others})


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest value, infinite the other way round if there is none; NaN if there is one."""
    return float(np.minimum.reduce(values, initial=np.inf)), float(np.maximum.reduce(values, initial=-np.inf))
