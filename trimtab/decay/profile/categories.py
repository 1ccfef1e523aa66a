"""Counting categories, and finding the most frequent ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from trimtab.decay.profile.values import Bins, ColumnProfile, first_others


def coded_counts(values: Any) -> tuple[list[str], np.ndarray, int]:
    """Distinct texts of an Arrow dictionary array, their counts, and the number of nulls.

    A text may come twice where the dictionary has it twice.
    """
    codes = values.indices.drop_null() if values.indices.null_count else values.indices
    counts = np.bincount(codes.to_numpy(zero_copy_only=False), minlength=len(values.dictionary))
    # A dictionary may list what this batch has not, and may hold a null of its own.
    used = np.flatnonzero(counts)
    names = values.dictionary.take(pa.array(used)).to_pylist()
    kept = [position for position, name in enumerate(names) if name is not None]
    counted = counts[used][kept]
    return [names[position] for position in kept], counted, len(values) - int(counted.sum())


class CategoryCounter:
    """Adds up one category or boolean column."""

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.position = {name: position for position, name in enumerate(bins.categories)}
        self.counts = np.zeros(bins.size, dtype=np.int64)
        self.others: dict[str, int] = {}
        self.rows = self.nulls = 0

    def add(self, values: Any) -> None:
        """Count these values: an Arrow dictionary array of texts."""
        names, counts, nulls = coded_counts(values)
        self.rows += len(values)
        self.nulls += nulls
        last = self.bins.size - 1
        places = np.fromiter((self.position.get(name, last) for name in names), dtype=np.intp, count=len(names))
        np.add.at(self.counts, places, counts)
        unknown = np.flatnonzero(places == last)
        if len(unknown):
            named: dict[str, int] = {}
            for place in unknown.tolist():
                named[names[place]] = named.get(names[place], 0) + int(counts[place])
            self.others = first_others([self.others, named])

    def result(self) -> ColumnProfile:
        """The column's profile."""
        counts = tuple(self.counts.tolist())
        return ColumnProfile(bins=self.bins, counts=counts, rows=self.rows, nulls=self.nulls, others=self.others)


class CategoryFinder:
    """The most frequent texts of a column, in bounded memory.

    Exact up to ``capacity`` distinct ones; beyond it the rarest are forgotten now and then (lossy counting, Manku and
    Motwani 2002), which may only change which of the rare ones are found.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self.capacity = capacity
        self.found: dict[str, int] = {}

    def add(self, values: Any) -> None:
        """Count these values: an Arrow dictionary array of texts."""
        names, counts, _ = coded_counts(values)
        for name, count in zip(names, counts.tolist(), strict=True):
            self.found[name] = self.found.get(name, 0) + count
        if len(self.found) > self.capacity:
            self.found = dict(self._most_frequent(self.capacity // 2))

    def categories(self, most: int) -> tuple[str, ...]:
        """The most frequent texts, in their own order."""
        return tuple(sorted(name for name, _ in self._most_frequent(most)))

    def _most_frequent(self, most: int) -> list[tuple[str, int]]:
        return sorted(self.found.items(), key=lambda item: (-item[1], item[0]))[:most]
