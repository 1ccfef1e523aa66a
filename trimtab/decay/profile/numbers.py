"""Counting numbers on bins, at some six nanoseconds a value; at some four where the reference has few distinct ones."""

from __future__ import annotations

import math

import numpy as np

from trimtab.decay.profile.binning import Binner, Scratch, TieFinder, chunks, counts_of_bins, sums_of_bins
from trimtab.decay.profile.values import Bins, ColumnProfile, first_others

_DOT_ROWS = 8_192
"""So few that BLAS wakes no threads of its own for them."""


def number_counter(bins: Bins, scratch: Scratch) -> NumberCounter:
    """What adds up a numeric column on these bins."""
    return DiscreteCounter(bins, scratch) if bins.discrete else NumberCounter(bins, scratch)


class NumberCounter:
    """Adds up one numeric column."""

    def __init__(self, bins: Bins, scratch: Scratch) -> None:
        self.bins, self.size, self.origin = bins, bins.size, bins.origin
        self.scratch = scratch
        self.binner = Binner(bins.edge_array, bins.origin)
        self.counts = np.zeros(bins.size, dtype=np.int64)
        self.sums = np.zeros(bins.size)
        self.rows = self.nulls = self.infinities = 0
        self.minimum: float = np.inf
        self.maximum: float = -np.inf
        self.squares = 0.0

    def add(self, values: np.ndarray) -> None:
        """Count these values, of shape (rows,); NaN is null."""
        self.rows += len(values)
        with np.errstate(over="ignore", invalid="ignore"):
            self.count(values)

    def count(self, values: np.ndarray) -> None:
        """Add up these values, but for the number of rows."""
        low, high = _ends(values)
        if not math.isfinite(low + high):
            values = self._finite(values)
            low, high = _ends(values)
        # Zero has no sign.
        self.minimum, self.maximum = min(self.minimum, low + 0.0), max(self.maximum, high + 0.0)
        for part in chunks(len(values)):
            self.count_chunk(values[part])

    def count_chunk(self, values: np.ndarray) -> np.ndarray:
        """Count `CHUNK` finite values at most; returns their bins, which hold until the scratch is written over."""
        shifted = np.subtract(values, self.origin, out=self.scratch.shifted[: len(values)])
        for start in range(0, len(shifted), _DOT_ROWS):
            some = shifted[start : start + _DOT_ROWS]
            self.squares += float(np.dot(some, some))
        found = self.binner.find(values, shifted, self.scratch)
        self.counts += counts_of_bins(found, self.size)
        self.sums += sums_of_bins(found, shifted, self.size)
        return found

    def result(self) -> ColumnProfile:
        """The column's profile."""
        valid = int(self.counts.sum())
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(self.sums.sum() + valid * self.origin)
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


class DiscreteCounter(NumberCounter):
    """Adds up a column whose reference has few distinct values: only what equals none is looked at on its own."""

    def __init__(self, bins: Bins, scratch: Scratch) -> None:
        super().__init__(bins, scratch)
        self.finder = TieFinder(bins.edge_array, bins.origin)
        self.tied = np.zeros(bins.size, dtype=np.int64)
        """Values that are known by what they equal; not in the counts and sums."""
        self.ties = np.zeros(bins.size, dtype=np.int64)
        self.others: dict[str, int] = {}

    def count(self, values: np.ndarray) -> None:
        """Add up these values, but for the number of rows."""
        rest = [self._rest(values[part]) for part in chunks(len(values))]
        super().count(np.concatenate([values[:0], *rest]))

    def count_chunk(self, values: np.ndarray) -> np.ndarray:
        """Count `CHUNK` finite values at most; returns their bins, which hold until the scratch is written over."""
        found = super().count_chunk(values)
        ties = self.finder.values[found] == values
        self.ties += np.bincount(found[ties], minlength=self.size)
        unknown, times = np.unique(values[~ties] + 0.0, return_counts=True)
        if len(unknown):
            named = {repr(value): count for value, count in zip(unknown.tolist(), times.tolist(), strict=True)}
            self.others = first_others([self.others, named])
        return found

    def result(self) -> ColumnProfile:
        """The column's profile."""
        with np.errstate(over="ignore", invalid="ignore"):
            self._sum_tied()
        return super().result().model_copy(update={"ties": tuple(self.ties.tolist()), "others": self.others})

    def _rest(self, values: np.ndarray) -> np.ndarray:
        """Those of `CHUNK` values at most that equal none of the reference's, as far as is known; others are tied."""
        shifted = np.subtract(values, self.origin, out=self.scratch.shifted[: len(values)])
        found, wrong = self.finder.find(values, shifted, self.scratch)
        self.tied += np.bincount(found, minlength=self.size)
        if len(wrong):
            self.tied -= np.bincount(found[wrong], minlength=self.size)
        rest: np.ndarray = values[wrong]
        return rest

    def _sum_tied(self) -> None:
        (seen,) = self.tied.nonzero()
        if len(seen):
            values, times = self.finder.values[seen], self.tied[seen]
            self.minimum, self.maximum = min(self.minimum, float(values[0])), max(self.maximum, float(values[-1]))
            shifted = values - self.origin
            self.sums[seen] += times * shifted
            self.squares += float(np.dot(times * shifted, shifted))
            self.counts += self.tied
            self.ties += self.tied
            self.tied = np.zeros(self.size, dtype=np.int64)


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest value, infinite the other way round if there is none; NaN if there is one."""
    return float(np.minimum.reduce(values, initial=np.inf)), float(np.maximum.reduce(values, initial=-np.inf))
