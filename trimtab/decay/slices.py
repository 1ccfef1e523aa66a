"""Slices: rows grouped by the values of a column, so that metrics can be told apart by group."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def slice_labels(values: pa.ChunkedArray, kind: str, bins: int = 4) -> np.ndarray:
    """A label a row by which metrics are sliced: the value itself, or the quantile range of a number; null is "null".

    Returns
    -------
    np.ndarray
        Strings, of shape (rows,).
    """
    if kind in ("category", "boolean"):
        return np.asarray(pc.fill_null(pc.cast(values, pa.string()), "null").to_pylist(), dtype=object)
    numbers = pc.cast(values, pa.float64()).to_numpy()
    known = numbers[~np.isnan(numbers)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1))) if len(known) else np.array([0.0])
    at = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, max(len(edges) - 2, 0))
    names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)] or [f"{edges[0]:g}"]
    return np.asarray(["null" if np.isnan(x) else names[i] for x, i in zip(numbers, at, strict=True)], dtype=object)
