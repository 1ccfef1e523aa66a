"""Metrics are scikit-learn's, intervals are paired, and what cannot be computed is not a number."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from sklearn import metrics as reference

from trimtab import metrics
from trimtab.errors import EvaluationError
from trimtab.metrics import compare

RANDOM = np.random.default_rng(5)
TARGET = (RANDOM.random(2_000) < 0.3).astype(int)
GOOD = np.round(np.clip(0.25 + 0.3 * TARGET + RANDOM.normal(0, 0.15, 2_000), 0.01, 0.99), 2)
POOR = np.round(np.clip(0.3 + 0.05 * TARGET + RANDOM.normal(0, 0.15, 2_000), 0.01, 0.99), 2)


def test_binary_metrics_are_those_of_scikit_learn() -> None:
    """With ties in the scores too, every binary metric equals scikit-learn's."""
    found = compare("binary", TARGET, {"a": GOOD}, threshold=0.4, resamples=0).scores["a"]
    assert found["log_loss"].value == pytest.approx(reference.log_loss(TARGET, GOOD), abs=1e-12)
    assert found["roc_auc"].value == pytest.approx(reference.roc_auc_score(TARGET, GOOD), abs=1e-12)
    assert found["brier_loss"].value == pytest.approx(reference.brier_score_loss(TARGET, GOOD), abs=1e-12)
    assert found["accuracy"].value == pytest.approx(reference.accuracy_score(TARGET, GOOD >= 0.4), abs=1e-12)


def test_regression_metrics_are_those_of_scikit_learn() -> None:
    """Every regression metric equals scikit-learn's."""
    target = RANDOM.normal(50, 10, 500)
    score = target + RANDOM.normal(1, 4, 500)
    found = compare("regression", target, {"a": score}, resamples=0).scores["a"]
    assert found["root_mean_squared_error"].value == pytest.approx(reference.root_mean_squared_error(target, score))
    assert found["mean_absolute_error"].value == pytest.approx(reference.mean_absolute_error(target, score))
    assert found["r2_score"].value == pytest.approx(reference.r2_score(target, score))


def test_intervals_cover_as_often_as_they_say() -> None:
    """Over many samples the 95 % interval of the AUC holds the true AUC in about 95 % of them."""
    covered = 0
    for sample in range(100):
        random = np.random.default_rng(sample)
        target = np.repeat([0, 1], 150)
        score = random.normal(0, 1, 300) + target
        interval = compare("binary", target, {"a": score}, metrics=("roc_auc",), resamples=200, seed=sample)
        found = interval.scores["a"]["roc_auc"]
        covered += found.low <= 0.5 * math.erfc(-0.5) <= found.high
    assert 88 <= covered <= 100


def test_the_interval_of_a_difference_is_paired() -> None:
    """Two models that err alike differ by far less than each of them is uncertain."""
    near = np.clip(GOOD + 0.001, 0, 1)
    found = compare("binary", TARGET, {"a": GOOD, "b": near}, baseline="a")
    own, difference = found.scores["b"]["log_loss"], found.differences["b"]["log_loss"]
    assert difference.high - difference.low < 0.05 * (own.high - own.low)
    assert set(found.differences) == {"b"}


def test_the_same_seed_gives_the_same_intervals() -> None:
    """Evaluating twice states the same numbers."""
    scores = {"a": GOOD, "b": POOR}
    assert compare("binary", TARGET, scores, baseline="a", seed=3) == compare(
        "binary", TARGET, scores, baseline="a", seed=3
    )


def test_a_nan_among_the_scores_is_a_nan_in_every_metric() -> None:
    """One score that is no number leaves no metric of that model a number, nor any difference."""
    broken = GOOD.copy()
    broken[7] = np.nan
    found = compare("binary", TARGET, {"a": POOR, "b": broken}, baseline="a")
    for metric in (*found.scores["b"].values(), *found.differences["b"].values()):
        assert math.isnan(metric.value)
        assert math.isnan(metric.low)


def test_the_auc_of_one_class_is_not_a_number() -> None:
    """Where nothing can be ranked no AUC is made up; the other metrics stand."""
    found = compare("binary", np.zeros(50, dtype=int), {"a": GOOD[:50]}).scores["a"]
    assert math.isnan(found["roc_auc"].value)
    assert math.isfinite(found["log_loss"].value)


@pytest.mark.parametrize(
    ("target", "score", "says"),
    [
        (np.array([]), np.array([]), "no rows"),
        (np.array([0, 1, 2]), np.array([0.1, 0.2, 0.3]), "must be 0 or 1"),
        (np.array([0.0, np.nan]), np.array([0.1, 0.2]), "no numbers"),
        (np.array([0, 1]), np.array([[0.1, 0.9], [0.2, 0.8]]), "one a row"),
    ],
)
def test_unusable_rows_are_refused(target: np.ndarray, score: np.ndarray, says: str) -> None:
    """No rows, a wrong target or scores of a wrong shape are named, not computed on."""
    with pytest.raises(EvaluationError, match=says):
        compare("binary", target, {"a": score})


def test_comparing_three_models_on_20000_rows_takes_seconds_at_most() -> None:
    """500 resamples of 20,000 rows for three models take less than three seconds of computing."""
    target = np.tile(TARGET, 10)
    scores = {name: np.tile(score, 10) for name, score in (("a", GOOD), ("b", POOR), ("c", GOOD))}
    started = time.process_time()
    compare("binary", target, scores, baseline="a")
    assert time.process_time() - started < 3


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_the_intervals_of_many_rows_are_those_that_resampling_all_of_them_gives(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About the same value, as wide within a sixth, and of a difference too."""
    random = np.random.default_rng(8)
    signal = random.normal(0, 1, 60_000)
    target = (signal + random.normal(0, 1, 60_000) > 1) if kind == "binary" else signal + random.standard_t(5, 60_000)
    target = target.astype(float)
    scores = {"a": 1 / (1 + np.exp(2 - signal)), "b": 1 / (1 + np.exp(2 - signal - random.normal(0, 0.3, 60_000)))}
    monkeypatch.setattr(metrics, "RESAMPLED_ROWS", 6_000)
    sampled = compare(kind, target, scores, baseline="a")
    monkeypatch.setattr(metrics, "RESAMPLED_ROWS", 60_000)
    whole = compare(kind, target, scores, baseline="a")
    for name, all_rows in (*whole.scores["a"].items(), *whole.differences["b"].items()):
        few = (sampled.scores["a"] if all_rows in whole.scores["a"].values() else sampled.differences["b"])[name]
        assert few.value == all_rows.value
        assert few.low < few.value < few.high
        assert (few.high - few.low) / (all_rows.high - all_rows.low) == pytest.approx(1, abs=1 / 6)


def test_all_rows_are_resampled_where_a_class_is_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample would have next to none of it."""
    target = (np.arange(60_000) % 2_000 == 0).astype(float)
    scores = {"a": np.where(target == 1, 0.002, 0.0005)}
    whole = compare("binary", target, scores, resamples=50)
    monkeypatch.setattr(metrics, "RESAMPLED_ROWS", 6_000)
    assert compare("binary", target, scores, resamples=50).scores["a"]["log_loss"] == whole.scores["a"]["log_loss"]


def test_targets_too_large_to_be_squared_leave_the_metrics_that_square_them_unsaid() -> None:
    """Without a warning; the mean absolute error can still be said."""
    target = np.where(np.arange(50) % 7 == 0, 1e300, 1.0)
    found = compare("regression", target, {"model": np.ones(50)}).scores["model"]
    assert math.isnan(found["r2_score"].value)
    assert not math.isfinite(found["root_mean_squared_error"].value)
    assert found["mean_absolute_error"].value == pytest.approx(1.6e299)
