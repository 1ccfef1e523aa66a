"""What sound rows look like window by window: how far the training rows themselves went in each window's span.

A feature may be one value for hours, be missing for days, or repeat its rows, and be right. So what a window is held
against is not the training rows at large, but the worst of their own windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from trimtab.decay.rows import Coded, code_all, distinguish, evenly, longest_run, mix, repeated_share, time_order
from trimtab.records import Value
from trimtab.spec import ModelSpec

MOST_SPANS = 60
BLOCK_ROWS = 20_000
"""Rows of a span that are looked at: so many evenly spaced for shares, so many in a row for runs and repeats."""

LEVELS = tuple(round(level / 50, 2) for level in range(1, 50))
"""Levels of the quantiles that are kept."""


class ColumnSoundness(Value):
    """One column over all spans.

    ``top_share`` is the largest share that one value had of a span's values, ``longest_run`` the most rows in a row
    with one value. ``quantiles`` are those of all rows, then of each span, at `LEVELS`, of numbers only; ``nonzero``
    are the same without zeros.
    """

    column: str
    top_share: float = 0.0
    longest_run: int = 0
    minimum: float | None = None
    maximum: float | None = None
    quantiles: tuple[tuple[float, ...], ...] = ()
    nonzero: tuple[tuple[float, ...], ...] = ()


class Soundness(Value):
    """All columns over all spans of the training rows. Stored as JSON; fields are only ever added, with a default.

    ``rows`` is the largest number of rows of a span, ``block`` the largest number that repeats were counted in.
    ``repeated`` and ``repeated_requests`` are the largest shares of rows of a span that were equal to an earlier one in
    their features, and in their features and their event time. ``longest_gap_s`` is the longest time without a row.
    ``outcomes`` is the target, without quantiles; None where the rows had none, or were looked at before it was kept.
    """

    format_version: int = 1
    spans: int
    rows: int
    block: int
    repeated: float
    repeated_requests: float
    longest_gap_s: float
    columns: tuple[ColumnSoundness, ...]
    outcomes: ColumnSoundness | None = None

    def column(self, name: str) -> ColumnSoundness | None:
        """What is known of that column."""
        return next((column for column in self.columns if column.column == name), None)


def soundness(spec: ModelSpec, training: pa.Table) -> Soundness:
    """What the training rows looked like in each of their spans of a window's length.

    Parameters
    ----------
    spec
        The model's spec: which columns, and how long a window is.
    training
        The training rows: event time, features and, if it is known, the target; no nulls among the times. `MOST_SPANS`
        spans at most are looked at.
    """
    training = training.take(time_order(training[spec.event_time]))
    times = training[spec.event_time].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    spans = list(_spans(times, int(spec.window.total_seconds() * 1e6)))
    coded = code_all(training, spec.features)
    blocks = [slice(span.start, min(span.stop, span.start + BLOCK_ROWS)) for span in spans]
    features = [coded[name].values for name in spec.feature_names]
    alike = [mix([column[block] for column in features]) for block in blocks]
    again = [mix([rows.view(np.int64), times[block]]) for rows, block in zip(alike, blocks, strict=True)]
    return Soundness(
        spans=len(spans),
        rows=max((span.stop - span.start for span in spans), default=0),
        block=max((block.stop - block.start for block in blocks), default=0),
        repeated=max((repeated_share(rows) for rows in alike), default=0.0),
        repeated_requests=max((repeated_share(rows) for rows in again), default=0.0),
        longest_gap_s=float(np.diff(times).max(initial=0)) / 1e6,
        columns=tuple(_column(name, coded[name], spans, blocks) for name in spec.feature_names),
        outcomes=_column(spec.target.name, distinguish(training[spec.target.name]), spans, blocks)
        if spec.target.name in training.column_names
        else None,
    )


def quantiles(values: np.ndarray) -> tuple[float, ...]:
    """Quantiles of finite values, of shape (rows,), at `LEVELS`; none without values."""
    return tuple(quantiles_at(values, LEVELS).tolist()) if len(values) else ()


def quantiles_at(values: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Quantiles of at least one finite value, of shape (levels,), all of them finite.

    They lie between values, as numpy takes them by default; on values where the difference of two is more than a float
    holds.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found: np.ndarray = np.quantile(values, levels)
    if not np.isfinite(found).all():
        found = np.quantile(values, levels, method="inverted_cdf")
    return found


def top_share(values: np.ndarray) -> float:
    """Share of the most common of finite values, of shape (rows,); 0 without any."""
    return float(np.unique(values, return_counts=True)[1].max() / len(values)) if len(values) else 0.0


def _spans(times: np.ndarray, length_us: int) -> Iterator[slice]:
    """Whole spans of sorted times, back from the newest; all rows as one where they are shorter than a span."""
    if not len(times):
        return
    count = max(1, int((times[-1] - times[0]) // length_us))
    ends = times[-1] + 1 - length_us * np.arange(count)
    for end in ends[evenly(count, MOST_SPANS)]:
        start = 0 if count == 1 else int(np.searchsorted(times, end - length_us))
        stop = int(np.searchsorted(times, end))
        if stop > start:
            yield slice(start, stop)


def _column(name: str, column: Coded, spans: list[slice], blocks: list[slice]) -> ColumnSoundness:
    numeric = column.labels is None
    sampled = [column.values[span][evenly(span.stop - span.start, BLOCK_ROWS)] for span in spans]
    sampled = [values[np.isfinite(values)] for values in sampled]
    pooled = column.present[evenly(len(column.present), MOST_SPANS * BLOCK_ROWS)]
    of_each = [pooled, *sampled] if numeric else []
    return ColumnSoundness(
        column=name,
        top_share=max((top_share(values) for values in sampled), default=0.0),
        longest_run=max((longest_run(column.values[block])[0] for block in blocks), default=0),
        minimum=float(column.present.min()) if numeric and len(pooled) else None,
        maximum=float(column.present.max()) if numeric and len(pooled) else None,
        quantiles=tuple(found for values in of_each if (found := quantiles(values))),
        nonzero=tuple(found for values in of_each if (found := quantiles(values[values != 0]))),
    )
