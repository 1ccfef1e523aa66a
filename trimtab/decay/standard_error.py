"""Metrics with their standard errors at once, without resampling: for many small groups of rows.

Each row's influence on a metric is what it would move it by; their spread is the metric's standard error (Hampel 1974).
For an AUC that is DeLong, DeLong & Clarke-Pearson (1988).
"""

from __future__ import annotations

import math

import numpy as np

from trimtab.metrics import ROW_VALUES


def with_standard_error(metric: str, target: np.ndarray, score: np.ndarray, threshold: float) -> tuple[float, float]:
    """The metric, and its standard error.

    Parameters
    ----------
    metric
        One of ``trimtab.spec.METRICS``.
    target, score
        As in `trimtab.metrics.compare`.
    threshold
        The probability from which on a row counts as predicted 1.

    Returns
    -------
    tuple
        NaN where it cannot be computed, such as an AUC with one class only.
    """
    value, influence = _influence(metric, target, score, threshold)
    return value, math.sqrt(float(np.mean(influence**2)) / max(len(target) - 1, 1))


def _influence(metric: str, target: np.ndarray, score: np.ndarray, threshold: float) -> tuple[float, np.ndarray]:
    if metric == "roc_auc" and score.ndim == 2:
        found = [_area((target == at).astype(np.float64), score[:, at]) for at in range(score.shape[1])]
        return float(np.mean([value for value, _ in found])), np.mean([rows for _, rows in found], axis=0)
    if metric == "roc_auc":
        return _area(target, score)
    if metric == "r2_score":
        return _determination(target, score)
    rows = ROW_VALUES[metric](target, score, threshold)
    mean = float(rows.mean())
    if metric == "root_mean_squared_error":
        root = math.sqrt(mean)
        return root, (rows - mean) / (2 * root) if root else np.zeros(len(rows))
    return mean, rows - mean


def _area(target: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    one = target == 1
    ones, zeros = np.sort(score[one]), np.sort(score[~one])
    if not len(ones) or not len(zeros) or np.isnan(score).any():
        return math.nan, np.full(len(target), math.nan)
    beaten = (np.searchsorted(zeros, score, "left") + np.searchsorted(zeros, score, "right")) / (2 * len(zeros))
    won = 1 - (np.searchsorted(ones, score, "left") + np.searchsorted(ones, score, "right")) / (2 * len(ones))
    area = float(beaten[one].mean())
    scale = len(target) / np.where(one, len(ones), len(zeros))
    return area, (np.where(one, beaten, won) - area) * scale


def _determination(target: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    residual, centred = (score - target) ** 2, (target - target.mean()) ** 2
    variance = float(centred.mean())
    if variance <= 0:
        return math.nan, np.full(len(target), math.nan)
    unexplained = float(residual.mean()) / variance
    return 1 - unexplained, (unexplained * centred - residual) / variance
