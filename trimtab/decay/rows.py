"""Rows in the form that rules over single values need: one float64 array a column, in event-time order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.spec import Feature

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


@dataclass(frozen=True)
class Coded:
    """One column as numbers: float64 of shape (rows,), NaN where null.

    Categories and booleans are positions in ``labels``; numbers and integers have no labels.
    """

    values: np.ndarray
    labels: tuple[str, ...] | None = None

    @property
    def present(self) -> np.ndarray:
        """What is neither null nor infinite, of shape (valid rows,)."""
        finite: np.ndarray = self.values[np.isfinite(self.values)]
        return finite

    def name(self, value: float) -> str:
        """A value as people know it."""
        return f"{value:.6g}" if self.labels is None else repr(self.labels[int(value)])


def code(column: pa.ChunkedArray, feature: Feature) -> Coded:
    """A feature's column as numbers."""
    if feature.type in ("number", "integer"):
        return Coded(np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64))
    text = pc.cast(column, pa.string())
    encoded = pa.chunked_array(text).combine_chunks().dictionary_encode()
    indices = encoded.indices.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return Coded(np.asarray(indices, dtype=np.float64), tuple(encoded.dictionary.to_pylist()))


def distinguish(column: pa.ChunkedArray) -> Coded:
    """Which rows are equal, of a column of any type; its labels are of no meaning."""
    indices = pa.chunked_array(column).combine_chunks().dictionary_encode().indices
    return Coded(np.asarray(indices.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64), ())


def code_all(table: pa.Table, features: Sequence[Feature]) -> dict[str, Coded]:
    """Every feature's column as numbers, by name."""
    return {feature.name: code(table[feature.name], feature) for feature in features}


def time_order(times: pa.ChunkedArray) -> np.ndarray:
    """Positions of the rows by event time, of shape (rows,); rows of one time in an order drawn at random.

    A batch that was sorted by a feature and sent under one time would else look like a column that stands still.
    """
    moments = times.cast(pa.int64(), safe=False).to_numpy()
    shuffled = np.random.default_rng(0).permutation(len(moments))
    return shuffled[np.argsort(moments[shuffled], kind="stable")]


def evenly(rows: int, most: int) -> np.ndarray:
    """At most so many positions among ``rows``, evenly spaced."""
    return np.arange(rows) if rows <= most else np.linspace(0, rows - 1, most).astype(np.int64)


def mix(columns: Sequence[np.ndarray]) -> np.ndarray:
    """One 64-bit number for each row of float64 or int64 columns of shape (rows,); equal rows have equal numbers."""
    mixed = np.zeros(len(columns[0]) if columns else 0, dtype=np.uint64)
    for column in columns:
        # -0.0 is 0.0, and every NaN the same, though their bits differ.
        bits = np.where(np.isnan(column), np.nan, column + 0.0) if column.dtype == np.float64 else column
        mixed ^= np.ascontiguousarray(bits).view(np.uint64)
        mixed *= _MULTIPLIER
        mixed ^= mixed >> _SHIFT
    return mixed


def longest_run(values: np.ndarray) -> tuple[int, float]:
    """Length and value of the longest run of one value in an array of shape (rows,); a null ends a run."""
    if not len(values):
        return 0, float("nan")
    # NaN differs from NaN, so that nulls are runs of one.
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    lengths = np.diff(np.r_[starts, len(values)])
    lengths[np.isnan(values[starts])] = 0
    most = int(np.argmax(lengths))
    return int(lengths[most]), float(values[starts[most]])


def repeated_share(rows: np.ndarray) -> float:
    """Share of the rows, of shape (rows,), that are equal to an earlier one."""
    return 1 - len(np.unique(rows)) / len(rows) if len(rows) else 0.0
