"""What is measured of performance and of groups."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from trimtab.decay.fairness import selection
from trimtab.decay.performance import (
    Performance,
    against_constant,
    against_predecessor,
    allowed_drop,
    best_constant,
    calibration,
    is_lost,
    loss_limit,
    of_best_constant,
    realised,
)
from trimtab.decay.slices import group_rows
from trimtab.models import load_model
from trimtab.records import Metric
from trimtab.settings import Settings
from trimtab.spec import ModelSpec


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    monkeypatch.setenv("TRIMTAB_MODELS_DIR", "tests/models")
    return load_model(Settings.from_env().models_dir, "loan").spec


def calibrated(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    scores = random.random(rows)
    return scores, (random.random(rows) < scores).astype(float)


def test_realised_metrics_are_scikit_learns_with_intervals_around_them(spec):
    """The values are the textbook's, and lie within their own intervals."""
    scores, outcomes = calibrated(2_000)
    found = realised(spec, scores, outcomes)
    assert found["log_loss"].value == pytest.approx(log_loss(outcomes, scores))
    assert found["roc_auc"].value == pytest.approx(roc_auc_score(outcomes, scores))
    assert all(metric.low < metric.value < metric.high and metric.rows == 2_000 for metric in found.values())


@pytest.mark.parametrize("outcomes", [[], [1.0], [1.0] * 500, [1.0] * 500 + [0.0] * 4])
def test_nothing_is_said_of_outcomes_that_say_nothing(spec, outcomes):
    """No rows, or too few of one class: no metric, rather than a NaN or a guess."""
    assert realised(spec, np.full(len(outcomes), 0.5), np.array(outcomes)) == {}
    assert against_predecessor(spec, np.full(len(outcomes), 0.5), np.zeros(0), np.array(outcomes), 0.95) is None


@pytest.mark.parametrize(
    ("kind", "metric", "outcomes", "best"),
    [
        ("binary", "log_loss", [0, 0, 0, 1], -0.75 * np.log(0.75) - 0.25 * np.log(0.25)),
        ("binary", "brier_loss", [0, 0, 0, 1], 0.1875),
        ("binary", "roc_auc", [0, 0, 0, 1], 0.5),
        ("binary", "accuracy", [0, 0, 0, 1], 0.75),
        ("binary", "accuracy", [1, 1, 0, 1], 0.75),
        ("regression", "r2_score", [1, 2, 3, 14], 0),
        ("regression", "root_mean_squared_error", [1, 2, 3, 14], 27.5**0.5),
        ("regression", "mean_absolute_error", [1, 2, 3, 14], 3.5),
        ("multiclass", "log_loss", [0, 1, 2, 2], 1.5 * np.log(2)),
        ("multiclass", "accuracy", [0, 1, 2, 2], 0.5),
        ("multiclass", "roc_auc", [0, 1, 2, 2], 0.5),
    ],
)
def test_the_best_constant_achieves_what_a_model_without_skill_does(spec, kind, metric, outcomes, best):
    """By every metric; of one class nothing can be said."""
    classes = ("a", "b", "c") if kind == "multiclass" else ()
    target = spec.target.model_copy(update={"kind": kind, "classes": classes})
    asked = spec.model_copy(update={"target": target, "policy": spec.policy.model_copy(update={"metric": metric})})
    known = np.tile(np.array(outcomes, dtype=float), 5)
    constant = best_constant(asked, known)
    said = np.broadcast_to(constant, (len(known), *np.shape(constant)))
    assert realised(asked, said, known)[metric].value == pytest.approx(best, abs=1e-12)
    assert of_best_constant(asked, known) == pytest.approx(best, abs=1e-12)
    same = against_constant(asked, said, known)
    assert same is not None
    assert same.low == same.value == same.high == 0
    if kind != "regression":
        assert against_constant(asked, np.broadcast_to(said[0], (20, *said.shape[1:])), np.ones(20)) is None
        assert of_best_constant(asked, np.ones(20)) is None


def test_the_difference_from_a_constant_is_paired(spec):
    """What makes rows hard makes them so for both: its interval is a fraction of the metric's own."""
    random = np.random.default_rng(4)
    outcomes = (random.random(2_000) < 0.03).astype(float)
    scores = np.clip(0.03 + random.normal(0, 0.01, 2_000), 0.001, 1)
    difference = against_constant(spec, scores, outcomes)
    own = realised(spec, scores, outcomes)["log_loss"]
    assert difference is not None
    assert difference.value == pytest.approx(own.value - log_loss(outcomes, np.full(2_000, outcomes.mean())), abs=1e-12)
    assert difference.high - difference.low < (own.high - own.low) / 3


def test_a_worse_release_differs_from_its_predecessor_beyond_doubt(spec):
    """The paired interval of a clearly worse release lies wholly on the bad side; of an equal one it holds zero."""
    scores, outcomes = calibrated(3_000)
    worse = against_predecessor(spec, 1 - scores, scores, outcomes, 0.99)
    assert worse is not None
    assert worse.low > 0
    equal = against_predecessor(spec, scores, scores, outcomes, 0.99)
    assert equal is not None
    assert equal.low <= 0 <= equal.high


@pytest.mark.parametrize(
    ("metric", "at_evaluation", "constant", "drop", "allowed"),
    [
        ("log_loss", 0.006, 0.0128, None, 0.00068),
        ("root_mean_squared_error", 2_500.0, 9_500.0, None, 700.0),
        ("roc_auc", 0.8, 0.5, None, 0.03),
        ("roc_auc", 0.45, 0.5, None, 0.0),
        ("log_loss", 0.7, 0.69, None, 0.0),
        ("log_loss", 0.7, None, None, 0.0),
        ("log_loss", 0.006, 0.0128, 0.03, 0.03),
    ],
)
def test_a_tenth_of_what_it_was_better_than_a_constant_may_be_lost(
    spec, metric, at_evaluation, constant, drop, allowed
):
    """In every unit and at every base rate, unless the spec states a number."""
    policy = spec.policy.model_copy(update={"performance_drop": drop})
    reference = Metric(name=metric, value=at_evaluation, low=at_evaluation, high=at_evaluation, rows=100)
    assert allowed_drop(policy, Performance(reference=reference, constant=constant)) == pytest.approx(allowed)


def test_a_metric_is_lost_only_when_its_whole_interval_is_beyond_the_limit():
    """Losses rise and scores fall; an interval that touches the limit is no loss."""
    loss = Metric(name="log_loss", value=0.4, low=0.38, high=0.42, rows=100)
    auc = Metric(name="roc_auc", value=0.8, low=0.78, high=0.82, rows=100)
    assert loss_limit(loss, 0.1) == pytest.approx(0.5)
    assert loss_limit(auc, 0.1) == pytest.approx(0.7)
    assert is_lost(loss.model_copy(update={"value": 0.55, "low": 0.51, "high": 0.6}), 0.5)
    assert not is_lost(loss.model_copy(update={"value": 0.55, "low": 0.5, "high": 0.6}), 0.5)
    assert is_lost(auc.model_copy(update={"value": 0.6, "low": 0.5, "high": 0.69}), 0.7)
    assert not is_lost(auc.model_copy(update={"value": 0.6, "low": 0.5, "high": 0.7}), 0.7)


def test_calibration_bins_hold_all_rows_and_follow_a_calibrated_score():
    """Each bin has about as many rows, and of a calibrated score the diagonal lies in nearly all intervals."""
    scores, outcomes = calibrated(5_000)
    bins = calibration(scores, outcomes)
    assert sum(one.rows for one in bins) == 5_000
    assert sum(one.low <= one.score <= one.high for one in bins) >= 8
    assert calibration(np.zeros(0), np.zeros(0)) == ()


def test_selection_rates_have_a_ratio_with_its_interval():
    """Half of one group and a quarter of the other: 0.5, within its interval; unknown and small groups are left out."""
    groups = group_rows(pa.chunked_array([["a"] * 400 + ["b"] * 400 + [None] * 100 + ["few"] * 49]), "category")
    selected = np.array([True, False] * 200 + [True, False, False, False] * 100 + [True] * 149)
    found = selection("group", groups, selected, 50)
    assert [(rate.group, rate.rate) for rate in found.groups] == [("a", 0.5), ("b", 0.25)]
    assert found.ratio == 0.5
    assert found.low is not None
    assert found.high is not None
    assert 0.3 < found.low < 0.5 < found.high < 0.65
    assert all(rate.low < rate.rate < rate.high for rate in found.groups)


@pytest.mark.parametrize("selected", [[False] * 200, [True] * 200, [True] * 100 + [False] * 100])
def test_groups_at_the_ends_have_an_interval_too(selected):
    """None or all selected: no division by zero, and no ratio where nobody is selected."""
    groups = group_rows(pa.chunked_array([["a"] * 100 + ["b"] * 100]), "category")
    found = selection("group", groups, np.array(selected), 50)
    if not any(selected):
        assert found.ratio is None
    else:
        assert found.low is not None
        assert found.ratio is not None
        assert found.high is not None
        assert 0 <= found.low <= found.ratio <= found.high
