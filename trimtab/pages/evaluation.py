"""The picture of an evaluation: how well ranked and how well calibrated each model's scores are."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import numpy as np

from trimtab.decay.performance import one_score

_BINS = 10
_COLOURS = ("#0b6e99", "#c2571a", "#4f7d3a", "#7a4fa3", "#9a8412")


def plot_evaluation(kind: str, target: np.ndarray, scores: Mapping[str, np.ndarray]) -> str:
    """Draw ROC and calibration curves (binary), the calibration of the likeliest class (multiclass), or predicted
    against actual (regression).

    Parameters
    ----------
    kind
        ``binary``, ``multiclass`` or ``regression``.
    target
        What happened, of shape (rows,); of several classes the place of one.
    scores
        By label, what each model said, of shape (rows,); of several classes (rows, classes).

    Returns
    -------
    str
        A PNG as a data URI, which renders offline.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), dpi=110, layout="constrained")
    if kind == "binary":
        left, right = figure.subplots(1, 2)
        _guide(left, "false positive rate", "true positive rate", "ranking (ROC)")
        _guide(right, "predicted probability", "share that happened", "calibration")
    elif kind == "multiclass":
        left = right = figure.subplots(1, 1)
        _guide(left, "probability of the likeliest class", "share that was right", "calibration")
    else:
        left = right = figure.subplots(1, 1)
        _guide(left, "predicted", "actual", "mean actual value by predicted value", diagonal=False)
    for (label, score), colour in zip(scores.items(), _COLOURS * len(scores), strict=False):
        if kind == "binary":
            left.plot(*_roc(target, score), color=colour, label=label, linewidth=1.6)
        said, happened = one_score(score, target)
        right.plot(*_by_bin(happened, said), color=colour, label=label, marker="o", markersize=4, linewidth=1.2)
    left.legend(frameon=False, fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()


def _roc(target: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    happened = target[np.argsort(-score, kind="stable")] == 1
    hits, misses = np.cumsum(happened), np.cumsum(~happened)
    at = np.unique(np.linspace(0, len(target) - 1, min(len(target), 200)).astype(int))
    return misses[at] / max(misses[-1], 1), hits[at] / max(hits[-1], 1)


def _by_bin(target: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edges = np.unique(np.quantile(score, np.linspace(0, 1, _BINS + 1)))
    at = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, max(len(edges) - 2, 0))
    rows = np.bincount(at)
    filled = rows > 0
    return (
        (np.bincount(at, weights=score) / np.maximum(rows, 1))[filled],
        (np.bincount(at, weights=target) / np.maximum(rows, 1))[filled],
    )


def _guide(axes: object, horizontal: str, vertical: str, title: str, *, diagonal: bool = True) -> None:
    if diagonal:
        axes.plot([0, 1], [0, 1], color="#b8c2cc", linewidth=1, linestyle="--")  # type: ignore[attr-defined]
    axes.set(xlabel=horizontal, ylabel=vertical)  # type: ignore[attr-defined]
    axes.set_title(title, fontsize=10)  # type: ignore[attr-defined]
    axes.spines[["top", "right"]].set_visible(False)  # type: ignore[attr-defined]
