"""What a model still achieves, on the predictions whose outcomes are known."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from trimtab import metrics
from trimtab.decay.standard_error import with_standard_error
from trimtab.records import Metric, Value, higher_is_better, is_worse
from trimtab.spec import DecayPolicy, ModelSpec

PREDECESSOR_ROWS = 10_000
"""The newest rows of a release's probation on which its predecessor is scored too."""

SHARE_OF_SKILL = 0.1
CALIBRATION_BINS = 10
MINIMUM_OF_A_CLASS = 5


class CalibrationBin(Value):
    """Predictions of about the same score: their mean score, the mean outcome with its 95 % interval, their number."""

    score: float
    outcome: float
    low: float
    high: float
    rows: int


class Performance(Value):
    """What a release achieved on the predictions that are old enough for their outcomes to be known.

    ``mature`` rows, of which ``outcomes`` have an outcome; ``metrics`` by name are empty where nothing can be said.
    ``reference`` is the policy metric at the release's evaluation, ``constant`` that of the best constant answer to the
    rows that it was evaluated on, ``against_predecessor`` the release's policy metric
    minus its predecessor's on the same rows, ``against_constant`` minus that of the best constant answer to them, in
    hindsight; None where nothing can be said. ``estimated`` is the policy metric as it was to be expected of these rows
    without their outcomes.
    """

    mature: int = 0
    outcomes: int = 0
    metrics: dict[str, Metric] = Field(default_factory=dict)
    reference: Metric | None = None
    constant: float | None = None
    against_predecessor: Metric | None = None
    against_constant: Metric | None = None
    calibration: tuple[CalibrationBin, ...] = ()
    calibration_error: Metric | None = None
    reference_calibration_error: Metric | None = None
    estimated: Metric | None = None


def realised(spec: ModelSpec, scores: np.ndarray, outcomes: np.ndarray) -> dict[str, Metric]:
    """The metrics of the spec's kind with 95 % intervals, by name.

    Parameters
    ----------
    scores, outcomes
        Of shape (rows,), float64, scores of several classes (rows, classes); rows without an outcome must have been
        left out.

    Returns
    -------
    dict
        Empty where nothing can be said: no rows, or too few of one class.
    """
    if not measurable(spec, outcomes):
        return {}
    threshold = spec.serving.decision_threshold
    found = metrics.compare(spec.target.kind, outcomes, {"release": scores}, threshold=threshold).scores["release"]
    return {name: metric for name, metric in found.items() if math.isfinite(metric.value)}


def against_constant(spec: ModelSpec, release: np.ndarray, outcomes: np.ndarray) -> Metric | None:
    """The policy metric of the release minus that of the best constant answer to the same rows, in hindsight: what a
    model without skill achieves.

    Parameters
    ----------
    release, outcomes
        Scores and what happened, as `realised` takes them.

    Returns
    -------
    Metric or None
        With the paired 95 % interval, which is narrow beside the metric's own: what makes rows hard makes them so for
        both. None where nothing can be said.
    """
    if not measurable(spec, outcomes):
        return None
    constant = best_constant(spec, outcomes)
    said = np.broadcast_to(constant, (len(outcomes), *np.shape(constant)))
    return _difference(spec, release, said, outcomes, confidence=0.95)


def best_constant(spec: ModelSpec, outcomes: np.ndarray) -> float | np.ndarray:
    """The one answer that the policy metric likes best for these outcomes: a number, of several classes (classes,)."""
    if spec.target.kind == "regression":
        return float(np.median(outcomes) if spec.policy_metric == "mean_absolute_error" else outcomes.mean())
    if spec.target.kind == "binary":
        share = float(outcomes.mean())
        return float(share >= 0.5) if spec.policy_metric == "accuracy" else share
    return np.bincount(outcomes.astype(np.int64), minlength=len(spec.target.classes)) / len(outcomes)


def of_best_constant(spec: ModelSpec, outcomes: np.ndarray) -> float | None:
    """The policy metric of the best constant answer to rows with these outcomes, of shape (rows,); None where nothing
    can be said."""
    if not measurable(spec, outcomes):
        return None
    constant = best_constant(spec, outcomes)
    said = np.broadcast_to(constant, (len(outcomes), *np.shape(constant)))
    value, _ = with_standard_error(spec.policy_metric, outcomes, said, spec.serving.decision_threshold)
    return value if math.isfinite(value) else None


def against_predecessor(
    spec: ModelSpec, release: np.ndarray, predecessor: np.ndarray, outcomes: np.ndarray, confidence: float
) -> Metric | None:
    """The policy metric of the release minus that of its predecessor on the same rows, with the paired interval.

    Parameters
    ----------
    release, predecessor, outcomes
        Scores of both and what happened, of shape (rows,).
    confidence
        Of the interval.

    Returns
    -------
    Metric or None
        In the metric's own unit; None where nothing can be said.
    """
    return _difference(spec, release, predecessor, outcomes, confidence) if measurable(spec, outcomes) else None


def _difference(
    spec: ModelSpec, release: np.ndarray, other: np.ndarray, outcomes: np.ndarray, confidence: float
) -> Metric | None:
    difference = metrics.compare(
        spec.target.kind,
        outcomes,
        {"release": release, "other": other},
        baseline="other",
        metrics=[spec.policy_metric],
        threshold=spec.serving.decision_threshold,
        confidence=confidence,
    ).differences["release"][spec.policy_metric]
    return difference if math.isfinite(difference.value) else None


def calibration(scores: np.ndarray, outcomes: np.ndarray, bins: int = CALIBRATION_BINS) -> tuple[CalibrationBin, ...]:
    """Mean outcome beside mean score, in bins of about as many rows each, by rising score."""
    order = np.argsort(scores, kind="stable")
    found = []
    for rows in np.array_split(order, min(bins, len(order))) if len(order) else []:
        mean = float(outcomes[rows].mean())
        margin = 1.96 * float(outcomes[rows].std()) / math.sqrt(len(rows))
        found.append(
            CalibrationBin(
                score=float(scores[rows].mean()), outcome=mean, low=mean - margin, high=mean + margin, rows=len(rows)
            )
        )
    return tuple(found)


def one_score(scores: np.ndarray, outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One probability a row and whether it came true, both of shape (rows,): of several classes the likeliest one's."""
    if scores.ndim == 1:
        return scores, outcomes
    return scores.max(axis=1, initial=0.0), (scores.argmax(axis=1) == outcomes).astype(np.float64)


def measurable(spec: ModelSpec, outcomes: np.ndarray) -> bool:
    """Whether metrics can be computed: two rows, and of a class outcome some of every class."""
    if spec.target.kind == "multiclass":
        places = outcomes.astype(np.int64)
        return bool(np.bincount(places, minlength=len(spec.target.classes)).min() >= MINIMUM_OF_A_CLASS)
    if spec.target.kind == "binary":
        ones = int(np.sum(outcomes == 1))
        return min(ones, len(outcomes) - ones) >= MINIMUM_OF_A_CLASS
    return len(outcomes) >= 2


def allowed_drop(policy: DecayPolicy, found: Performance) -> float:
    """How much worse than at evaluation the policy metric may be: the policy's ``performance_drop``, or else
    `SHARE_OF_SKILL` of what the release was better than a constant answer; 0 if it never was."""
    if policy.performance_drop is not None:
        return policy.performance_drop
    if found.reference is None or found.constant is None:
        return 0.0
    better = found.reference.value - found.constant
    return SHARE_OF_SKILL * max(better if higher_is_better(found.reference.name) else -better, 0.0)


def loss_limit(reference: Metric, drop: float) -> float:
    """The value that is worse than the reference by ``drop``."""
    return reference.value - drop if higher_is_better(reference.name) else reference.value + drop


def is_lost(metric: Metric, limit: float) -> bool:
    """Whether the metric's whole interval is worse than the limit."""
    return is_worse(metric.name, metric.high if higher_is_better(metric.name) else metric.low, limit)
