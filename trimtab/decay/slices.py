"""Slices: rows grouped by the values of a column, so that metrics can be told apart by group."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BINS = 4


@dataclass(frozen=True)
class Groups:
    """Rows by group: ``codes`` are places in ``names``, int64 of shape (rows,); -1 is in no group."""

    names: tuple[str, ...]
    codes: np.ndarray

    def largest(self, most: int) -> Groups:
        """Only the groups with the most rows; the rows of others are in none."""
        if len(self.names) <= most:
            return self
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        kept = np.sort(np.argsort(-counts, kind="stable")[:most])
        places = np.full(len(self.names) + 1, -1)
        places[kept] = np.arange(most)
        return Groups(tuple(self.names[at] for at in kept), places[self.codes])

    def cross(self, other: Groups) -> Groups:
        """The groups of both at once, such as "JFK x UA"; those that no row is in are left out."""
        none = (self.codes < 0) | (other.codes < 0)
        pairs, codes = np.unique(np.where(none, -1, self.codes * len(other.names) + other.codes), return_inverse=True)
        skip = int(len(pairs) > 0 and pairs[0] < 0)
        names = (f"{self.names[at // len(other.names)]} x {other.names[at % len(other.names)]}" for at in pairs[skip:])
        return Groups(tuple(names), codes.astype(np.int64) - skip)


def quantile_edges(values: pa.ChunkedArray, bins: int = BINS) -> np.ndarray:
    """Edges by which a number is sliced into ranges of about as many rows each."""
    numbers = _numbers(values)
    known = numbers[np.isfinite(numbers)]
    return np.unique(np.quantile(known, np.linspace(0, 1, bins + 1))) if len(known) else np.array([0.0])


def group_rows(values: pa.ChunkedArray, kind: str, edges: np.ndarray | None = None) -> Groups:
    """Rows by their value, or by the range of a number; those with null or NaN are in no group.

    Parameters
    ----------
    values
        Of shape (rows,).
    kind
        The type of the feature.
    edges
        Of the ranges of a number, so that two tables are sliced alike; by default the quantiles of these rows.
    """
    if kind in ("category", "boolean"):
        encoded = pc.dictionary_encode(pc.cast(values, pa.string())).combine_chunks()
        known = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
        order = np.argsort(known.astype(str)) if len(known) else np.zeros(0, dtype=np.int64)
        places = np.append(np.argsort(order), -1)
        codes = np.asarray(pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
        return Groups(tuple(str(known[at]) for at in order), places[codes].astype(np.int64))
    numbers = _numbers(values)
    edges = quantile_edges(values) if edges is None else edges
    at = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, max(len(edges) - 2, 0))
    names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)] or [f"{edges[0]:g}"]
    return Groups(tuple(names), np.where(np.isnan(numbers), -1, at))


def slice_labels(values: pa.ChunkedArray, kind: str, bins: int = BINS) -> np.ndarray:
    """A label a row by which metrics are sliced: the value itself, or the quantile range of a number; null is "null".

    Returns
    -------
    np.ndarray
        Strings, of shape (rows,).
    """
    found = group_rows(values, kind, None if kind in ("category", "boolean") else quantile_edges(values, bins))
    return np.asarray(np.array([*found.names, "null"], dtype=object)[found.codes])


def _numbers(values: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.cast(values, pa.float64()).to_numpy(), dtype=np.float64)
