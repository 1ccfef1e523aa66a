"""Which bins a reference gets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from trimtab.decay.profile.categories import CategoryFinder
from trimtab.decay.profile.sources import Source, batches, row_count
from trimtab.decay.profile.threads import by_columns
from trimtab.decay.profile.values import Bins, ColumnType

QUANTILE_BINS = 512
EQUAL_WIDTH_BINS = 512
MAXIMUM_DISTINCT = 1_024
MAXIMUM_CATEGORIES = 200
SAMPLE_ROWS = 100_000
TAIL = 0.001
"""Share of values on either side over which no equal widths are laid: one absurd value would take them all."""


def choose_bins(source: Source, columns: Mapping[str, ColumnType]) -> tuple[Bins, ...]:
    """Bins for these columns: the distinct values where they are few, else quantiles and equal widths mixed; the most
    frequent categories (`MAXIMUM_CATEGORIES` at most).

    Quantiles are those of a sample of about `SAMPLE_ROWS` rows, spread over all of the source; the least and the
    greatest value are those of all rows. The same rows give the same bins.
    """
    step = max(1.0, row_count(source) / SAMPLE_ROWS)
    return by_columns(source, list(columns.items()), lambda some: _choose(source, dict(some), step))


def _choose(source: Source, columns: Mapping[str, ColumnType], step: float) -> list[Bins]:
    finders: list[Any] = [
        NumberFinder() if kind in ("number", "integer") else CategoryFinder() for kind in columns.values()
    ]
    random = np.random.default_rng(0)
    start = 0.0
    for batch in batches(source, columns):
        length = len(batch[0]) if batch else 0
        marks = np.arange(start, length, step)
        # Each is drawn from its own stretch of rows, so that what repeats in step with it is no trouble.
        sampled = np.unique(np.minimum(marks + random.random(len(marks)) * step, length - 1).astype(np.intp))
        start = start + len(marks) * step - length
        for finder, values in zip(finders, batch, strict=True):
            if isinstance(finder, NumberFinder):
                finder.add(values, sampled)
            else:
                finder.add(values)
    return [
        _number_bins(name, kind, finder)
        if isinstance(finder, NumberFinder)
        else Bins(column=name, type=kind, categories=finder.categories(MAXIMUM_CATEGORIES))
        for (name, kind), finder in zip(columns.items(), finders, strict=True)
    ]


class NumberFinder:
    """Least and greatest value, a sample, and the distinct values as long as they are few."""

    def __init__(self) -> None:
        self.minimum, self.maximum = math.inf, -math.inf
        self.sample: list[np.ndarray] = []
        self.distinct: np.ndarray | None = np.empty(0)

    def add(self, values: np.ndarray, sampled: np.ndarray) -> None:
        """See these values, of shape (rows,), and keep those at the positions ``sampled``."""
        with np.errstate(over="ignore", invalid="ignore"):
            drawn = values[sampled]
            self.sample.append(drawn[np.isfinite(drawn)])
            if not np.isfinite(values.sum()):
                values = values[np.isfinite(values)]
        if not len(values):
            return
        self.minimum, self.maximum = min(self.minimum, values.min()), max(self.maximum, values.max())
        if self.distinct is not None:
            self._see_distinct(values)

    def _see_distinct(self, values: np.ndarray) -> None:
        assert self.distinct is not None
        # Few distinct ones show in the first rows; only then is it worth to look at all.
        for part in (values[: 4 * MAXIMUM_DISTINCT], values):
            if len(self.distinct):
                places = np.minimum(np.searchsorted(self.distinct, part), len(self.distinct) - 1)
                part = part[self.distinct[places] != part]
            if len(part):
                self.distinct = np.union1d(self.distinct, part + 0.0)
            if len(self.distinct) > MAXIMUM_DISTINCT:
                self.distinct = None
                return


def _number_bins(column: str, kind: ColumnType, found: NumberFinder) -> Bins:
    if found.distinct is not None:
        edges = found.distinct
    else:
        sample = np.sort(np.concatenate(found.sample))
        levels = np.linspace(0, 1, QUANTILE_BINS + 1)
        quantiles = sample[np.minimum((levels * len(sample)).astype(np.intp), len(sample) - 1)]
        low, high = sample[int(TAIL * len(sample))], sample[int((1 - TAIL) * (len(sample) - 1))]
        with np.errstate(over="ignore", invalid="ignore"):
            widths = np.linspace(low, high, EQUAL_WIDTH_BINS + 1)
        ends = [found.minimum, found.maximum]
        edges = np.unique(np.concatenate([quantiles, widths[np.isfinite(widths)], ends]) + 0.0)
    # The first bin is for what lies below all of the reference, so its edge lies just below the least value.
    below = [float(np.nextafter(edges[0], -math.inf))] if len(edges) else [0.0]
    return Bins(column=column, type=kind, edges=(*below, *edges.tolist()), discrete=found.distinct is not None)
