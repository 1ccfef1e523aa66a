"""What error a regression is expected to have on rows whose outcomes are not known yet.

Direct loss estimation: a second model learns each row's loss from its features and score on the reference, and foretells
it on incoming rows. **It assumes that the outcome given the features is what it was on the reference** (no concept
drift), and it cannot know losses in a region that the reference never saw.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.decay.profile import SCORE
from trimtab.records import Metric
from trimtab.spec import Feature, ModelSpec

ROWS = 20_000
WINDOW_ROWS = 50_000
FOLDS = 5
CATEGORIES = 64
MINIMUM_REFERENCE_ROWS = 500
_Z = 1.959963984540054


class RegressionEstimator:
    """Foretells the errors of a regression; made once from `ROWS` of the reference's judged rows at most.

    ``mean_absolute_error`` and ``root_mean_squared_error``; an R2 needs the variance of outcomes that nobody knows. The
    loss is foretold by gradient-boosted trees, for reference rows by those of the other `FOLDS` - 1 folds in time.
    The 95 % interval holds the error of the window as a sample, that of the reference, and by how much the held-out
    folds differed from their estimates beyond chance.

    Parameters
    ----------
    spec
        The model's.
    rows
        The reference's judged rows in the order of time: the features and ``score``.
    outcomes
        What happened, of shape (rows,).
    """

    def __init__(self, spec: ModelSpec, rows: pa.Table, outcomes: np.ndarray) -> None:
        some = np.linspace(0, rows.num_rows - 1, min(rows.num_rows, ROWS)).astype(np.int64)
        rows, outcomes = rows.take(some), outcomes[some]
        self._features = spec.features
        self._categories = {one.name: _frequent(rows[one.name]) for one in spec.features if one.type == "category"}
        self._matrix = self._encode(rows)
        residual = np.abs(outcomes - self._matrix[:, -1])
        self._losses = {
            name: _Loss(self._matrix, loss, np.array([*(one.type == "category" for one in spec.features), False]))
            for name, loss in (("root_mean_squared_error", residual**2), ("mean_absolute_error", residual))
        }

    def estimate(self, rows: pa.Table, metrics: tuple[str, ...] | None = None) -> dict[str, Metric]:
        """The errors to be expected on these rows (features and ``score``), by name; empty without rows.

        Of more than `WINDOW_ROWS` rows as many are looked at, spread evenly.
        """
        if not rows.num_rows:
            return {}
        count = rows.num_rows
        matrix = self._encode(rows.take(np.linspace(0, count - 1, min(count, WINDOW_ROWS)).astype(np.int64)))
        matrix = matrix[np.isfinite(matrix[:, -1])]
        found = {}
        for name in metrics or tuple(self._losses):
            if name in self._losses and len(matrix):
                mean, margin = self._losses[name].mean(matrix)
                values = np.maximum([mean, mean - margin, mean + margin], 0.0)
                value, low, high = np.sqrt(values) if name.startswith("root") else values
                found[name] = Metric(name=name, value=float(value), low=float(low), high=float(high), rows=count)
        return found

    def _encode(self, rows: pa.Table) -> np.ndarray:
        """Features, then the score, as float64 of shape (rows, features + 1); categories as codes."""
        return np.column_stack([*(self._column(one, rows[one.name]) for one in self._features), _numbers(rows[SCORE])])

    def _column(self, feature: Feature, values: pa.ChunkedArray) -> np.ndarray:
        if feature.type == "category":
            return _numbers(pc.index_in(pc.cast(values, pa.string()), self._categories[feature.name]))
        return _numbers(pc.cast(values, pa.int8()) if feature.type == "boolean" else values)


class _Loss:
    """One loss, and what foretells its mean."""

    def __init__(self, matrix: np.ndarray, loss: np.ndarray, categorical: np.ndarray) -> None:
        self._categorical = categorical
        folds = np.array_split(np.arange(len(loss)), FOLDS)
        off, foretold = np.empty(len(loss)), np.empty(len(loss))
        for fold in folds:
            others = np.ones(len(loss), dtype=bool)
            others[fold] = False
            foretold[fold] = self._fit(matrix[others], loss[others]).predict(matrix[fold])
            off[fold] = loss[fold] - foretold[fold]
        self._model: Any = self._fit(matrix, loss)
        # Folds that differ by more than their sampling error are an error that no number of rows takes away.
        excess = [off[fold].mean() ** 2 - (off[fold].var() + foretold[fold].var()) / len(fold) for fold in folds]
        self._variance = off.var() / len(loss) + max(0.0, float(np.mean(excess)))
        self._noise = float(off.var())

    def mean(self, matrix: np.ndarray) -> tuple[float, float]:
        """The mean loss to be expected, and half the width of its interval."""
        foretold = self._model.predict(matrix)
        return float(foretold.mean()), _Z * float(np.sqrt(foretold.var() / len(matrix) + self._variance))

    def _fit(self, matrix: np.ndarray, loss: np.ndarray) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(
            max_iter=40,
            max_leaf_nodes=15,
            min_samples_leaf=50,
            max_bins=CATEGORIES + 1,
            early_stopping=False,
            categorical_features=self._categorical,
            random_state=0,
        )
        return model.fit(matrix, loss)


def _frequent(values: pa.ChunkedArray) -> pa.Array:
    """The most frequent categories, `CATEGORIES` at most."""
    counts = pc.value_counts(pc.drop_null(pc.cast(values, pa.string()))).to_pylist()
    ordered = sorted(counts, key=lambda one: (-one["counts"], one["values"]))[:CATEGORIES]
    return pa.array([one["values"] for one in ordered], pa.string())


def _numbers(values: pa.ChunkedArray | pa.Array) -> np.ndarray:
    return np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
