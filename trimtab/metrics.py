"""Metrics on one set of rows for several models at once, with paired bootstrap intervals.

The rows are resampled, not the models: each resample weighs every model's rows alike, so that the interval of a
difference is the paired one (Efron & Tibshirani, *An Introduction to the Bootstrap*, 1993, ch. 8 and 13: percentile
intervals). A resample is a vector of weights, so no rows are copied and an AUC needs no new sort. Of many rows a sample
is resampled, and what its metrics vary by is brought to the size of the whole: every metric here varies as one over the
root of the number of rows (Bickel, Götze & van Zwet 1997, *Resampling fewer than n observations*).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.errors import EvaluationError
from trimtab.records import Metric
from trimtab.spec import METRICS

CLIP = 1e-15
RESAMPLES = 500
RESAMPLED_ROWS = 50_000
"""Of more rows so many are resampled: a million would take ten seconds, and tell no more than this of what varies."""
SCORE_CONFIDENCE = 0.95
_OF_EACH_CLASS = 200

Weighted = Callable[[np.ndarray], float]
"""A metric that is prepared for one model's rows: weights of shape (rows,) in, the metric out."""


@dataclass(frozen=True)
class Comparison:
    """Metrics by model, and (model minus baseline) by model but the baseline; each with its interval."""

    scores: dict[str, dict[str, Metric]]
    differences: dict[str, dict[str, Metric]]


@np.errstate(over="ignore", invalid="ignore")
def compare(
    kind: str,
    target: np.ndarray,
    scores: Mapping[str, np.ndarray],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    threshold: float = 0.5,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compute every metric for every model on the same rows.

    Parameters
    ----------
    kind
        ``binary``, ``multiclass`` or ``regression``.
    target
        What happened, of shape (rows,): 0 or 1, the place of the class, or a number.
    scores
        By model, what it said, of shape (rows,): the probability of 1, or a number; of several classes the probability
        of each, of shape (rows, classes). A NaN makes every metric of that model NaN; what is too large to be squared
        makes those infinite or NaN that square it.
    baseline
        The model that the others are compared with; None: with none.
    metrics
        Which metrics; all of that kind by default.
    threshold
        The probability from which on a row counts as predicted 1 (accuracy).
    confidence
        Of the intervals of the differences; those of the scores are 95 %.
    resamples, seed
        Number of bootstrap resamples (0: no intervals, they are NaN), and the seed that they follow from.

    Raises
    ------
    EvaluationError
        If there are no rows, a model's scores are not one a row, or the target is not what the kind asks for.
    """
    names = METRICS[kind] if metrics is None else tuple(metrics)
    rows = len(target)
    _check(kind, target, scores)

    def prepared(taken: np.ndarray | slice) -> dict[str, list[Weighted]]:
        return {
            model: [
                METRIC_FUNCTIONS[name](target[taken], np.asarray(score, np.float64)[taken], threshold) for name in names
            ]
            for model, score in scores.items()
        }

    whole = prepared(slice(None))
    values = _values(whole, np.ones(rows))
    random = np.random.default_rng(seed)
    if resamples and _is_more_than_enough(kind, target):
        part = prepared(np.sort(random.choice(rows, RESAMPLED_ROWS, replace=False)))
        of_part, scale = _values(part, np.ones(RESAMPLED_ROWS)), np.sqrt(RESAMPLED_ROWS / rows)
        drawn = {
            model: values[model] + (each - of_part[model]) * scale
            for model, each in _resampled(part, RESAMPLED_ROWS, resamples, random).items()
        }
    else:
        drawn = _resampled(whole, rows, resamples, random)

    def described(value: np.ndarray, draws: np.ndarray, level: float) -> dict[str, Metric]:
        return {name: _metric(name, value[at], draws[:, at], level, rows) for at, name in enumerate(names)}

    return Comparison(
        {model: described(values[model], drawn[model], SCORE_CONFIDENCE) for model in scores},
        {
            model: described(values[model] - values[baseline], drawn[model] - drawn[baseline], confidence)
            for model in scores
            if baseline is not None and model != baseline
        },
    )


def _is_more_than_enough(kind: str, target: np.ndarray) -> bool:
    """Whether a sample varies as the whole does: it is large, and has some of each class that there is."""
    if len(target) <= RESAMPLED_ROWS:
        return False
    if kind == "regression":
        return True
    fewest = np.unique(target, return_counts=True)[1].min()
    return bool(fewest * RESAMPLED_ROWS / len(target) >= _OF_EACH_CLASS)


def _resampled(
    prepared: Mapping[str, Sequence[Weighted]], rows: int, resamples: int, random: np.random.Generator
) -> dict[str, np.ndarray]:
    """By model its metrics on each resample of the rows: float64 of shape (resamples, metrics)."""
    drawn = {model: np.empty((resamples, len(metrics))) for model, metrics in prepared.items()}
    for resample in range(resamples):
        weights = np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64)
        for model, row in _values(prepared, weights).items():
            drawn[model][resample] = row
    return drawn


def _values(prepared: Mapping[str, Sequence[Weighted]], weights: np.ndarray) -> dict[str, np.ndarray]:
    return {model: np.array([metric(weights) for metric in metrics]) for model, metrics in prepared.items()}


def _metric(name: str, value: float, draws: np.ndarray, confidence: float, rows: int) -> Metric:
    # A resample in which the metric is undefined (one class only) says nothing; a model that is undefined is NaN.
    usable = draws[np.isfinite(draws)]
    low = high = float("nan")
    if np.isfinite(value) and len(usable):
        low, high = np.quantile(usable, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Metric(name=name, value=float(value), low=float(low), high=float(high), rows=rows)


def _check(kind: str, target: np.ndarray, scores: Mapping[str, np.ndarray]) -> None:
    if len(target) == 0:
        raise EvaluationError("there are no rows to evaluate on; at least one is needed")
    several = kind == "multiclass"
    for model, score in scores.items():
        if np.shape(score)[:1] != np.shape(target) or np.ndim(score) != 1 + several:
            wanted = f"one a row and class is needed: ({len(target)}, classes)" if several else "one a row is needed: "
            raise EvaluationError(
                f"scores of {model} have shape {np.shape(score)}; {wanted}{'' if several else np.shape(target)}"
            )
    if not np.isfinite(target).all():
        raise EvaluationError(f"the target holds {int((~np.isfinite(target)).sum())} values that are no numbers")
    if kind == "binary" and (wrong := sorted(set(np.unique(target)) - {0, 1})):
        raise EvaluationError(f"the target of a binary model holds {wrong[:5]}; it must be 0 or 1")
    classes = min((np.shape(score)[1] for score in scores.values()), default=0) if several else 0
    if several and (wrong := sorted(set(np.unique(target)) - set(range(classes)))):
        raise EvaluationError(f"the target holds {wrong[:5]}; it must be the place of a class, 0 to {classes - 1}")


def _log_loss(target: np.ndarray, score: np.ndarray, threshold: float) -> np.ndarray:
    chosen = _of_outcome(target, score) if score.ndim == 2 else np.where(target == 1, score, 1 - score)
    return np.asarray(-np.log(np.clip(chosen, CLIP, 1 - CLIP)))


def _brier_loss(target: np.ndarray, score: np.ndarray, threshold: float) -> np.ndarray:
    if score.ndim == 2:
        # Brier's own form (1950): the sum over classes, so that two classes lose twice what a binary target does.
        return np.asarray((score**2).sum(axis=1) - 2 * _of_outcome(target, score) + 1)
    return np.asarray((score - target) ** 2)


def _accuracy(target: np.ndarray, score: np.ndarray, threshold: float) -> np.ndarray:
    # A NaN is not a wrong answer but none: it must not look like a low accuracy.
    if score.ndim == 2:
        right = (score.argmax(axis=1) == target).astype(np.float64)
        return np.where(np.isnan(score).any(axis=1), np.nan, right)
    return np.where(np.isnan(score), np.nan, ((score >= threshold) == (target == 1)).astype(np.float64))


def _squared_error(target: np.ndarray, score: np.ndarray, threshold: float) -> np.ndarray:
    return np.asarray((score - target) ** 2)


def _absolute_error(target: np.ndarray, score: np.ndarray, threshold: float) -> np.ndarray:
    return np.asarray(np.abs(score - target))


def _of_outcome(target: np.ndarray, score: np.ndarray) -> np.ndarray:
    # The scores of a row with a NaN may say anything of the class that happened: they say nothing.
    chosen = score[np.arange(len(score)), target.astype(np.int64)]
    return np.where(np.isnan(score).any(axis=1), np.nan, chosen)


ROW_VALUES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "log_loss": _log_loss,
    "brier_loss": _brier_loss,
    "accuracy": _accuracy,
    "root_mean_squared_error": _squared_error,
    "mean_absolute_error": _absolute_error,
}
"""(target, score, threshold) to one value a row, for the metrics that are their mean, or the root of it."""


def _roc_auc(target: np.ndarray, score: np.ndarray, threshold: float) -> Weighted:
    """The share of (1, 0) pairs that are ranked rightly, ties counting half (Hanley & McNeil 1982); of several classes
    the mean of each against the rest."""
    if score.ndim == 2:
        places = range(score.shape[1])
        areas = [_roc_auc((target == at).astype(np.float64), score[:, at], threshold) for at in places]
        return lambda weights: float(np.mean([area(weights) for area in areas]))
    ones, zeros = np.flatnonzero(target == 1), np.flatnonzero(target == 0)
    zeros = zeros[np.argsort(score[zeros], kind="stable")]
    below = np.searchsorted(score[zeros], score[ones], side="left")
    up_to = np.searchsorted(score[zeros], score[ones], side="right")
    unusable = bool(np.isnan(score).any())

    def area(weights: np.ndarray) -> float:
        weight_of_ones = weights[ones]
        weight_below = np.concatenate(([0.0], np.cumsum(weights[zeros])))
        pairs = weight_of_ones.sum() * weight_below[-1]
        if unusable or pairs == 0:
            return float("nan")
        return float((weight_of_ones * (weight_below[below] + weight_below[up_to])).sum() / (2 * pairs))

    return area


def _root_mean_squared_error(target: np.ndarray, score: np.ndarray, threshold: float) -> Weighted:
    mean = _mean(_squared_error(target, score, threshold))
    return lambda weights: float(np.sqrt(mean(weights)))


def _mean_of(metric: str) -> Callable[[np.ndarray, np.ndarray, float], Weighted]:
    return lambda target, score, threshold: _mean(ROW_VALUES[metric](target, score, threshold))


def _r2_score(target: np.ndarray, score: np.ndarray, threshold: float) -> Weighted:
    residual, centred = _mean((score - target) ** 2), target - target.mean()
    mean, mean_square = _mean(centred), _mean(centred**2)

    def determination(weights: np.ndarray) -> float:
        variance = mean_square(weights) - np.square(mean(weights))
        return 1 - residual(weights) / variance if variance > 0 else float("nan")

    return determination


def _mean(row_values: np.ndarray) -> Weighted:
    # Not a dot product: BLAS threads on such short vectors wait for a busy neighbour a thousand times longer.
    return lambda weights: float((weights * row_values).sum() / weights.sum())


METRIC_FUNCTIONS: dict[str, Callable[[np.ndarray, np.ndarray, float], Weighted]] = {
    "log_loss": _mean_of("log_loss"),
    "roc_auc": _roc_auc,
    "brier_loss": _mean_of("brier_loss"),
    "accuracy": _mean_of("accuracy"),
    "root_mean_squared_error": _root_mean_squared_error,
    "mean_absolute_error": _mean_of("mean_absolute_error"),
    "r2_score": _r2_score,
}
"""Each metric of ``trimtab.spec.METRICS``: (target, score, threshold) of one model to the weighted metric."""
