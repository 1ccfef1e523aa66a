"""How odd a single row is: three views of it, each against the training rows.

far
    Squared Mahalanobis distance of the numbers' normal scores (Mahalanobis 1936; ranks made normal, so that no shape of
    a distribution and no absurd value moves the scale): an extreme value, or numbers that do not go together.
pair
    -2 log of how much rarer two values are together than they would be by chance, the most of the `PAIRS` pairs that
    tell most of each other (mutual information): a combination that does not occur, of any two types.
rare
    -2 log of the share of the value, the most of the categories, booleans and missing values: a new category, a value
    missing that never was.

A row is an anomaly where one view is beyond what nearly all training rows reach (`Oddness.limits`). Chosen by measure
(benchmarks/anomalies.py): of rows with one broken value or combination each it finds nearly all, and an isolation
forest, which is slower, less than one in a hundred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trimtab.decay.rows import Coded
from trimtab.records import Value
from trimtab.spec import Feature

VIEWS = ("far", "pair", "rare")
PAIRS = 30
CELLS = 16
FOLDS = 5
_NUMBER_BINS, _NAMED = 10, CELLS - 2
_SCORES = np.linspace(-3, 3, 41)
_FURTHEST = 30.0
_SHRINKAGE = 0.02
_SPREAD_SHARE = 0.3
"""Beyond the ends a standard deviation is that of the tail, and at least so much of that of the whole."""


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
        raw = _normal(scale, columns[scale.column].values)
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


def fit(features: Sequence[Feature], columns: Mapping[str, Coded]) -> Oddness:
    """Learn what rows look like. The tails are those of each fifth of the rows, seen by what the others taught.

    The fifths are spans of time where the rows are in its order: what a week of rain holds is news to the weeks before.

    Parameters
    ----------
    features
        The model's.
    columns
        Training rows by feature, in order of their event time.
    """
    rows = len(columns[features[0].name].values)
    fold = np.arange(rows) * min(FOLDS, rows) // max(1, rows)
    seen = [
        views(_learn(features, _where(columns, fold != left_out)), _where(columns, fold == left_out))
        for left_out in range(fold[-1] + 1 if rows > 1 else 0)
    ]
    seen = seen or [np.zeros((0, len(VIEWS)))]
    largest = -np.sort(-np.concatenate(seen), axis=0)[: max(1, rows // 10)]
    tails = tuple(tuple(float(value) for value in view) for view in largest.T)
    return _learn(features, columns).model_copy(update={"tails": tails})


def _where(columns: Mapping[str, Coded], chosen: np.ndarray) -> dict[str, Coded]:
    return {name: Coded(one.values[chosen], one.labels) for name, one in columns.items()}


def _learn(features: Sequence[Feature], columns: Mapping[str, Coded]) -> Oddness:
    scales = tuple(_scale(feature.name, columns[feature.name]) for feature in features)
    numeric = [_normal(scale, columns[scale.column].values) for scale in scales if scale.numeric]
    means = [float(np.nanmean(raw)) for raw in numeric]
    deviations = [float(np.nanstd(raw)) or 1.0 for raw in numeric]
    blank = Oddness(
        rows=len(columns[features[0].name].values),
        scales=scales,
        means=tuple(means),
        deviations=tuple(deviations),
        precision=(),
        pairs=(),
    )
    standard = normal_scores(blank, columns)
    together = standard.T @ standard / max(1, len(standard))
    # Towards no correlation: what is nearly a sum of others would else be blown up.
    precision = np.linalg.inv(together * (1 - _SHRINKAGE) + _SHRINKAGE * np.eye(len(numeric)))
    return blank.model_copy(
        update={
            "precision": tuple(tuple(float(value) for value in row) for row in precision),
            "pairs": _tables(cells(blank, columns)),
        }
    )


def _scale(name: str, column: Coded) -> Scale:
    from scipy.special import ndtr

    present, rows = column.present, len(column.values)
    missing = _surprise(rows - len(present), rows)
    unseen = _surprise(0, rows)
    if column.labels is not None:
        counts = np.bincount(present.astype(np.int64), minlength=len(column.labels))
        order = [int(at) for at in np.argsort(-counts, kind="stable") if counts[at]]
        labels, shares = [column.labels[at] for at in order], [_surprise(int(counts[at]), rows) for at in order]
        return Scale(column=name, labels=tuple(labels), surprises=tuple(shares), unseen=unseen, missing=missing)
    if not len(present):
        return Scale(column=name, missing=missing, unseen=unseen)
    quantiles = np.quantile(present, ndtr(_SCORES))
    knots, position = np.unique(quantiles, return_inverse=True)
    scores = np.bincount(position, _SCORES) / np.bincount(position)
    # A constant says nothing of its own spread; a tenth of it stands in.
    spread = (quantiles[-1] - quantiles[0]) / 6 or max(abs(float(quantiles[0])), 1.0) / 10
    return Scale(
        column=name,
        knots=tuple(float(knot) for knot in knots),
        scores=tuple(float(score) for score in scores),
        below=max(float(quantiles[13] - quantiles[0]) / 2, _SPREAD_SHARE * float(spread)),
        above=max(float(quantiles[-1] - quantiles[-14]) / 2, _SPREAD_SHARE * float(spread)),
        edges=tuple(float(edge) for edge in np.unique(np.quantile(present, np.arange(1, _NUMBER_BINS) / _NUMBER_BINS))),
        missing=missing,
        unseen=unseen,
    )


def _surprise(count: int, rows: int) -> float:
    return float(-2 * np.log((count + 0.5) / (rows + 1)))


def _normal(scale: Scale, values: np.ndarray) -> np.ndarray:
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
        named = {label: cell for cell, label in enumerate(scale.labels[:_NAMED])}
        of_label = np.asarray([named.get(label, _NAMED) for label in column.labels] or [0])
        found = of_label[np.where(missing, 0, column.values).astype(np.int64)]
    return np.where(missing, CELLS - 1, found)


def _tables(found: Sequence[np.ndarray]) -> tuple[PairTable, ...]:
    rows = max(1, len(found[0]))
    tables = []
    for second in range(len(found)):
        for first in range(second):
            counts = np.bincount(found[first] * CELLS + found[second], minlength=CELLS * CELLS).reshape(CELLS, CELLS)
            expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / rows
            there = counts > 0
            told = float(np.sum(counts[there] / rows * np.log(counts[there] / expected[there])))
            surprise = np.maximum(0.0, -2 * np.log((counts + 0.5) / (expected + 0.5)))
            tables.append((told, first, second, surprise.ravel()))
    tables.sort(key=lambda table: (-table[0], table[1:3]))
    return tuple(
        PairTable(first=first, second=second, surprises=tuple(float(value) for value in surprise))
        for _, first, second, surprise in tables[:PAIRS]
    )
