"""What error a regression is expected to have on rows whose outcomes are not known yet.

Direct loss estimation: a second model learns each row's loss from its features and score on the reference, and
foretells it on incoming rows. **It assumes that the outcome given the features is what it was on the reference** (no
concept drift), and it cannot know losses in a region that the reference never saw.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.decay.profile import SCORE
from trimtab.records import Metric
from trimtab.spec import Feature, ModelSpec

ROWS = 12_000
WINDOW_ROWS = 20_000
FOLDS = 3
BINS = 20
CATEGORIES = 64
MINIMUM_LOSSES = 500
ROOT_MEAN_SQUARED_ERROR, MEAN_ABSOLUTE_ERROR = "root_mean_squared_error", "mean_absolute_error"
FORETOLD = (ROOT_MEAN_SQUARED_ERROR, MEAN_ABSOLUTE_ERROR)
_Z = 1.959963984540054


class RegressionEstimator:
    """Foretells the error of a regression; made once from `ROWS` of the reference's judged rows at most.

    Gradient-boosted trees foretell each row's loss, for a reference row those of the other folds in time (`FOLDS`). By
    how much rows of about the same foretold loss were off (`BINS`) is added, as trees draw far values to the mean. The
    95 % interval holds the error of the window as a sample, that of the reference in the bins where the window lies,
    and by how much the held-out folds differed from their estimates beyond chance. Where a shift goes far beyond the
    reference the estimate is drawn to what the reference knows: too small a loss, rather than too great a one.

    Parameters
    ----------
    spec
        The model's.
    metric
        One of `FORETOLD`: an R2 needs the variance of outcomes that nobody knows.
    rows
        The reference's judged rows in the order of time: the features and ``score``.
    outcomes
        What happened, of shape (rows,).
    """

    def __init__(self, spec: ModelSpec, metric: str, rows: pa.Table, outcomes: np.ndarray) -> None:
        some = _spread(rows.num_rows, ROWS)
        rows, outcomes = rows.take(some), outcomes[some]
        self._metric, self._features = metric, spec.features
        self._categories = {one.name: _frequent(rows[one.name]) for one in spec.features if one.type == "category"}
        matrix = self._encode(rows)
        residual = outcomes - matrix[:, -1]
        loss = residual**2 if metric == ROOT_MEAN_SQUARED_ERROR else np.abs(residual)
        folds = np.array_split(np.arange(len(loss)), FOLDS)
        self._models = [self._fit(np.delete(matrix, fold, axis=0), np.delete(loss, fold)) for fold in folds]
        foretold = np.empty(len(loss))
        for model, fold in zip(self._models, folds, strict=True):
            foretold[fold] = _predict(model, matrix[fold])
        off = loss - foretold
        self._edges = np.unique(np.quantile(foretold, np.linspace(0, 1, BINS + 1)[1:-1]))
        at = np.searchsorted(self._edges, foretold, side="right")
        counts = np.maximum(np.bincount(at, minlength=BINS), 1)
        self._off = np.bincount(at, off, BINS) / counts
        self._off_variance = np.bincount(at, (off - self._off[at]) ** 2, BINS) / counts / np.maximum(counts - 1, 1)
        excess = [float(off[fold].mean() ** 2 - off[fold].var() / fold.size) for fold in folds]
        self._instability = max(0.0, float(np.mean(excess)))

    def estimate(self, rows: pa.Table) -> Metric | None:
        """The error to be expected on these rows (features and ``score``); None without rows.

        Of more than `WINDOW_ROWS` rows as many are looked at, spread evenly.
        """
        matrix = self._encode(rows.take(_spread(rows.num_rows, WINDOW_ROWS)))
        matrix = matrix[np.isfinite(matrix[:, -1])]
        if not len(matrix):
            return None
        foretold = np.mean([_predict(model, matrix) for model in self._models], axis=0)
        at = np.searchsorted(self._edges, foretold, side="right")
        shares = np.bincount(at, minlength=BINS) / at.size
        mean = float(foretold.mean() + shares @ self._off)
        sampling = float((foretold + self._off[at]).var()) / at.size
        margin = _Z * float(np.sqrt(sampling + shares**2 @ self._off_variance + self._instability))
        values = np.maximum([mean, mean - margin, mean + margin], 0.0)
        value, low, high = np.sqrt(values) if self._metric == ROOT_MEAN_SQUARED_ERROR else values
        return Metric(name=self._metric, value=float(value), low=float(low), high=float(high), rows=rows.num_rows)

    def _fit(self, matrix: np.ndarray, loss: np.ndarray) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(
            max_iter=30,
            max_leaf_nodes=15,
            min_samples_leaf=50,
            max_bins=CATEGORIES + 1,
            early_stopping=False,
            categorical_features=np.array([*(one.type == "category" for one in self._features), False]),
            learning_rate=0.15,
            random_state=0,
        )
        with _one_thread():
            return model.fit(matrix, loss)

    def _encode(self, rows: pa.Table) -> np.ndarray:
        """Features, then the score, as float64 of shape (rows, features + 1); categories as codes."""
        return np.column_stack([*(self._column(one, rows[one.name]) for one in self._features), _numbers(rows[SCORE])])

    def _column(self, feature: Feature, values: pa.ChunkedArray) -> np.ndarray:
        if feature.type == "category":
            return _numbers(pc.index_in(pc.cast(values, pa.string()), self._categories[feature.name]))
        return _numbers(pc.cast(values, pa.int8()) if feature.type == "boolean" else values)


def _predict(model: Any, matrix: np.ndarray) -> np.ndarray:
    with _one_thread():
        return np.asarray(model.predict(matrix), dtype=np.float64)


def _one_thread() -> Any:
    """Threads on so few rows wait for a busy neighbour twenty times longer than they help."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def _frequent(values: pa.ChunkedArray) -> pa.Array:
    """The most frequent categories, `CATEGORIES` at most."""
    counts = pc.value_counts(pc.drop_null(pc.cast(values, pa.string()))).to_pylist()
    ordered = sorted(counts, key=lambda one: (-one["counts"], one["values"]))[:CATEGORIES]
    return pa.array([one["values"] for one in ordered], pa.string())


def _numbers(values: pa.ChunkedArray | pa.Array) -> np.ndarray:
    return np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _spread(rows: int, most: int) -> np.ndarray:
    """Places of ``most`` rows at most, spread evenly."""
    return np.linspace(0, rows - 1, min(rows, most)).astype(np.int64)
