"""How odd a single row is: three views of it, each against the training rows.

far
    Squared Mahalanobis distance of the numbers' normal scores (Mahalanobis 1936; ranks made normal, so that no shape of
    a distribution and no absurd value moves the scale): an extreme value, or numbers that do not go together.
pair
    -2 log of how much rarer two values are together than they would be by chance, the most of the pairs that tell
    most of each other (mutual information): a combination that does not occur, of any two types.
rare
    -2 log of the share of the value, the most of the categories, booleans and missing values: a new category, a value
    missing that never was.

A row is an anomaly where one view is beyond what nearly all training rows reach (`Oddness.limits`), which oddness.py
learns. Chosen by measure (benchmarks/anomalies.py): of rows with one broken value or combination each it finds nearly
all, and an isolation forest, which is slower, less than one in a hundred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trimtab.decay.rows import Coded
from trimtab.records import Value

VIEWS = ("far", "pair", "rare")
CELLS = 16
NAMED = CELLS - 2
"""How many labels of a column have a cell of their own; then come all others, and missing."""
_FURTHEST = 30.0


class Scale(Value):
    """How a column's values become normal scores, cells and surprises.

    ``knots`` and ``scores`` are the normal score at each quantile; ``below`` and ``above`` a standard deviation beyond
    the ends. Cells lie between ``edges``, or are those of the first `CELLS` - 2 ``labels``; then come all others, and
    missing. ``surprises`` are those of the labels, ``unseen`` that of any other label, ``missing`` that of null.
    """

    column: str
    knots: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    below: float = 1.0
    above: float = 1.0
    edges: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    surprises: tuple[float, ...] = ()
    unseen: float = 0.0
    missing: float = 0.0

    @property
    def numeric(self) -> bool:
        """Whether it has an order."""
        return bool(self.knots)


class PairTable(Value):
    """Surprise of each cell of two columns together, row by row of the first's."""

    first: int
    second: int
    surprises: tuple[float, ...]


class Oddness(Value):
    """What the views need to know. Stored as JSON; fields are only ever added, with a default.

    ``means``, ``deviations`` and ``precision`` are those of the normal scores of the numeric columns; ``tails`` are the
    largest values of each view among ``rows`` training rows, which did not make the view themselves.
    """

    format_version: int = 1
    rows: int
    scales: tuple[Scale, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    pairs: tuple[PairTable, ...]
    tails: tuple[tuple[float, ...], ...] = ()

    def limits(self, share: float) -> np.ndarray:
        """The value of each view, of shape (views,), beyond which lies that share of sound rows over all views."""
        position = max(0, int(share / len(VIEWS) * (self.rows + 1)) - 1)
        return np.asarray([tail[min(position, len(tail) - 1)] if tail else np.inf for tail in self.tails])

    def expected_share(self, share: float) -> float:
        """The share of sound rows that are beyond the limits: that share, or the least that so few rows can tell."""
        return max(share, len(VIEWS) / (self.rows + 1))


def normal_scores(known: Oddness, columns: Mapping[str, Coded]) -> np.ndarray:
    """Standardised normal scores of the numeric columns, float64 of shape (rows, numeric columns); missing is 0."""
    numeric = [scale for scale in known.scales if scale.numeric]
    rows = len(next(iter(columns.values())).values)
    standard = np.zeros((rows, len(numeric)))
    for position, scale in enumerate(numeric):
        raw = normal(scale, columns[scale.column].values)
        standard[:, position] = np.nan_to_num((raw - known.means[position]) / known.deviations[position])
    return standard


def pulls(known: Oddness, standard: np.ndarray) -> np.ndarray:
    """What each numeric column adds to the squared distance; float64 of the shape of ``standard``."""
    size = len(known.means)
    added: np.ndarray = standard * (standard @ np.asarray(known.precision, dtype=np.float64).reshape(size, size))
    return added


def cells(known: Oddness, columns: Mapping[str, Coded]) -> list[np.ndarray]:
    """The cell of each row in each column, int64 of shape (rows,)."""
    return [_cells(scale, columns[scale.column]) for scale in known.scales]


def surprises(scale: Scale, column: Coded) -> np.ndarray:
    """How rare each row's own value is; float64 of shape (rows,); 0 for numbers that are there."""
    missing = np.isnan(column.values)
    if column.labels is None:
        return np.where(missing, scale.missing, 0.0)
    known = dict(zip(scale.labels, scale.surprises, strict=True))
    of_label = np.asarray([known.get(label, scale.unseen) for label in column.labels] or [0.0])
    found: np.ndarray = np.where(missing, scale.missing, of_label[np.where(missing, 0, column.values).astype(np.int64)])
    return found


def views(known: Oddness, columns: Mapping[str, Coded]) -> np.ndarray:
    """Each view of each row: float64 of shape (rows, views)."""
    standard = normal_scores(known, columns)
    far = pulls(known, standard).sum(axis=1)
    rare = np.zeros(len(standard))
    for scale in known.scales:
        np.maximum(rare, surprises(scale, columns[scale.column]), out=rare)
    found, pair = cells(known, columns), np.zeros(len(standard))
    for table in known.pairs:
        np.maximum(pair, pair_surprises(table, found), out=pair)
    return np.column_stack([far, pair, rare])


def pair_surprises(table: PairTable, found: Sequence[np.ndarray]) -> np.ndarray:
    """How seldom each row's two values occur together; float64 of shape (rows,)."""
    surprise: np.ndarray = np.asarray(table.surprises)[found[table.first] * CELLS + found[table.second]]
    return surprise


def normal(scale: Scale, values: np.ndarray) -> np.ndarray:
    """Normal scores of a numeric column, not standardised; of the shape of ``values``, NaN where they are."""
    knots = np.asarray(scale.knots)
    with np.errstate(over="ignore", invalid="ignore"):
        above = np.clip((values - knots[-1]) / scale.above, 0, _FURTHEST)
        below = np.clip((knots[0] - values) / scale.below, 0, _FURTHEST)
    return np.asarray(np.interp(values, knots, scale.scores) + above - below)


def _cells(scale: Scale, column: Coded) -> np.ndarray:
    missing = np.isnan(column.values)
    if column.labels is None:
        found = np.searchsorted(np.asarray(scale.edges), column.values, side="left")
    else:
        named = {label: cell for cell, label in enumerate(scale.labels[:NAMED])}
        of_label = np.asarray([named.get(label, NAMED) for label in column.labels] or [0])
        found = of_label[np.where(missing, 0, column.values).astype(np.int64)]
    return np.where(missing, CELLS - 1, found)
