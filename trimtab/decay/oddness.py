"""Learning from training rows what is odd: what odd_views.py needs to know, and how far sound rows reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trimtab.decay.odd_views import CELLS, VIEWS, Oddness, PairTable, Scale, cells, normal, normal_scores, views
from trimtab.decay.rows import Coded
from trimtab.spec import Feature

PAIRS = 30
"""How many pairs of columns have a table: those that tell most of each other."""
FOLDS = 5
_NUMBER_BINS = 10
_SCORES = np.linspace(-3, 3, 41)
_SHRINKAGE = 0.02
_SPREAD_SHARE = 0.3
"""Beyond the ends a standard deviation is that of the tail, and at least so much of that of the whole."""


def fit(features: Sequence[Feature], columns: Mapping[str, Coded]) -> Oddness:
    """Learn what rows look like. The tails are those of each fifth of the rows, seen by what the others taught.

    The fifths are spans of time where the rows are in its order: what a week of rain holds is news to the weeks before.
    A fifth's surprises are those of as many rows as there are in all: how odd a cell is in which no row lies depends on
    how many could have. Nor are the tails shorter than those of all rows by what all taught: where each fifth is alike,
    a value that many rows share would else be beyond them by a rounding.

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
        views(_learn(features, _where(columns, fold != left_out), rows), _where(columns, fold == left_out))
        for left_out in range(fold[-1] + 1 if rows > 1 else 0)
    ]
    seen = seen or [np.zeros((0, len(VIEWS)))]
    learned = _learn(features, columns)
    largest = np.maximum(_largest(np.concatenate(seen)), _largest(views(learned, columns)[: sum(map(len, seen))]))
    tails = tuple(tuple(float(value) for value in view) for view in largest.T)
    return learned.model_copy(update={"tails": tails})


def _largest(seen: np.ndarray) -> np.ndarray:
    """The largest tenth of each view, falling; float64 of shape (rows / 10, views)."""
    return -np.sort(-seen, axis=0)[: max(1, len(seen) // 10)]


def _where(columns: Mapping[str, Coded], chosen: np.ndarray) -> dict[str, Coded]:
    return {name: Coded(one.values[chosen], one.labels) for name, one in columns.items()}


def _learn(features: Sequence[Feature], columns: Mapping[str, Coded], of_rows: int | None = None) -> Oddness:
    """What the rows teach; ``of_rows``: with the surprises that so many like them would teach."""
    rows = len(columns[features[0].name].values)
    weight = (of_rows or rows) / max(1, rows)
    scales = tuple(_scale(feature.name, columns[feature.name], weight) for feature in features)
    numeric = [normal(scale, columns[scale.column].values) for scale in scales if scale.numeric]
    means = [float(np.nanmean(raw)) for raw in numeric]
    deviations = [float(np.nanstd(raw)) or 1.0 for raw in numeric]
    blank = Oddness(
        rows=rows,
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
            "pairs": _tables(cells(blank, columns), weight),
        }
    )


def _scale(name: str, column: Coded, weight: float) -> Scale:
    from scipy.special import ndtr

    present, rows = column.present, len(column.values)
    missing = _surprise(rows - len(present), rows, weight)
    unseen = _surprise(0, rows, weight)
    if column.labels is not None:
        counts = np.bincount(present.astype(np.int64), minlength=len(column.labels))
        order = [int(at) for at in np.argsort(-counts, kind="stable") if counts[at]]
        labels, shares = [column.labels[at] for at in order], [_surprise(int(counts[at]), rows, weight) for at in order]
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


def _surprise(count: int, rows: int, weight: float) -> float:
    return float(-2 * np.log((count * weight + 0.5) / (rows * weight + 1)))


def _tables(found: Sequence[np.ndarray], weight: float) -> tuple[PairTable, ...]:
    rows = max(1, len(found[0]))
    tables = []
    for second in range(len(found)):
        for first in range(second):
            counts = np.bincount(found[first] * CELLS + found[second], minlength=CELLS * CELLS).reshape(CELLS, CELLS)
            expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / rows
            there = counts > 0
            told = float(np.sum(counts[there] / rows * np.log(counts[there] / expected[there])))
            surprise = np.maximum(0.0, -2 * np.log((counts * weight + 0.5) / (expected * weight + 0.5)))
            tables.append((told, first, second, surprise.ravel()))
    tables.sort(key=lambda table: (-table[0], table[1:3]))
    return tuple(
        PairTable(first=first, second=second, surprises=tuple(float(value) for value in surprise))
        for _, first, second, surprise in tables[:PAIRS]
    )
