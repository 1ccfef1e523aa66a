"""How much the model owes to each feature: permutation importance (Breiman 2001; Fisher, Rudin & Dominici 2019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

MAXIMUM_ROWS = 2_000
"""Rows that are scored once for each feature, and once more."""
_CLIP = 1e-6

Predict = Callable[[pa.Table], np.ndarray]
"""From rows with the features to scores of shape (rows,), or of several classes (rows, classes)."""


def permutation_importance(
    predict: Predict, kind: str, features: Sequence[str], rows: pa.Table, outcome: np.ndarray, seed: int = 0
) -> dict[str, float]:
    """By how much the loss rises when a feature's values are dealt out anew, as a share of all rises.

    Parameters
    ----------
    predict
        What the model says of rows.
    kind
        The target's: ``binary`` and ``multiclass`` are judged by log-loss, ``regression`` by squared error.
    features
        Their names.
    rows
        With these features, that the model was not trained on; `MAXIMUM_ROWS` of them are drawn.
    outcome
        What happened, of shape (rows,), of several classes its place; rows where it is NaN do not count.
    seed
        Of the draw and the deals.

    Returns
    -------
    dict
        By feature, adding up to 1; empty where no feature lowers the loss, or nothing can be said.
    """
    random = np.random.default_rng(seed)
    known = np.flatnonzero(~np.isnan(outcome))
    if not len(known):
        return {}
    drawn = np.sort(random.choice(known, min(len(known), MAXIMUM_ROWS), replace=False))
    rows, outcome, loss = rows.take(drawn), outcome[drawn], _LOSSES[kind]
    least = loss(outcome, predict(rows))
    rises = {}
    for name in features:
        dealt = rows[name].take(random.permutation(len(drawn)))
        rises[name] = loss(outcome, predict(rows.set_column(rows.column_names.index(name), name, dealt))) - least
    total = sum(max(rise, 0.0) for rise in rises.values())
    return {name: max(rise, 0.0) / total for name, rise in rises.items()} if total > 0 else {}


def _log_loss(outcome: np.ndarray, score: np.ndarray) -> float:
    score = np.clip(score, _CLIP, 1 - _CLIP)
    if score.ndim == 2:
        return float(-np.mean(np.log(score[np.arange(len(score)), outcome.astype(np.int64)])))
    return float(-np.mean(outcome * np.log(score) + (1 - outcome) * np.log(1 - score)))


def _squared_error(outcome: np.ndarray, score: np.ndarray) -> float:
    return float(np.mean((outcome - score) ** 2))


_LOSSES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "binary": _log_loss,
    "multiclass": _log_loss,
    "regression": _squared_error,
}
