"""Performance that is foretold before outcomes arrive."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from trimtab.decay.estimation import ClassifierEstimator, ScoreHistogram
from trimtab.decay.loss_estimation import RegressionEstimator
from trimtab.decay.measurements import Measurements
from trimtab.decay.performance import Performance
from trimtab.decay.signals.names import ESTIMATED
from trimtab.decay.signals.performance import of_estimate
from trimtab.metrics import compare
from trimtab.records import Metric, Signal
from trimtab.spec import DecayPolicy, Feature, ModelSpec, Target, Trainer

NANNYML = Path("../shared/data/nannyml")
needs_nannyml = pytest.mark.skipif(not NANNYML.is_dir(), reason="NannyML's public data is not in ../shared/data")


def model(target: Target, **policy) -> ModelSpec:
    return ModelSpec(
        name="loan",
        source="data:load",
        target=target,
        features=(Feature(name="spread", type="number"), Feature(name="kind", type="category")),
        suite="loan",
        trainers=(Trainer(name="trees", function="training:train"),),
        policy=DecayPolicy(**policy),
    )


BINARY = Target(name="repaid")
SEVERAL = Target(name="colour", kind="multiclass", classes=("red", "green", "blue"))


def binary(rows: int, seed: int, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are too sure of themselves; the less spread, the harder the rows."""
    random = np.random.default_rng(seed)
    logit = random.normal(0, spread, rows)
    happens = random.random(rows) < 1 / (1 + np.exp(-logit))
    return 1 / (1 + np.exp(-1.6 * logit - 0.3)), happens.astype(float)


def several(rows: int, seed: int, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(0, spread, (rows, 3))
    happens = (logits + random.gumbel(size=logits.shape)).argmax(axis=1).astype(float)
    said = np.exp(1.4 * logits)
    return said / said.sum(axis=1, keepdims=True), happens


@pytest.mark.parametrize(("target", "draw"), [(BINARY, binary), (SEVERAL, several)])
def test_what_a_shift_of_scores_costs_is_foretold_within_the_interval(target, draw):
    """Of 20 references, each metric on harder rows lies in its 95 % interval as often as 95 % allow."""
    spec = model(target)
    scores, outcomes = draw(200_000, 99, 1.0)
    truth = {
        name: one.value for name, one in compare(target.kind, outcomes, {"a": scores}, resamples=0).scores["a"].items()
    }
    hits = dict.fromkeys(truth, 0)
    for seed in range(20):
        estimator = ClassifierEstimator(spec, *draw(8_000, seed))
        assert all(estimator.calibrated)
        for name, found in estimator.estimate(draw(3_000, 100 + seed, 1.0)[0]).items():
            hits[name] += found.low <= truth[name] <= found.high
    # 15 of 20 or fewer happens to an honest 95 % interval once in 390 times.
    assert min(hits.values()) >= 16, hits


def test_scores_beyond_all_of_the_references_are_told_apart():
    """What was rare becomes frequent: rows whose scores the reference never had still have different chances."""
    spec = model(BINARY)

    def draw(rows: int, seed: int, centre: float) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        scores = 1 / (1 + np.exp(-random.normal(centre, 0.5, rows)))
        return scores, (random.random(rows) < scores).astype(float)

    scores, outcomes = draw(200_000, 99, -1.5)
    truth = roc_auc_score(outcomes, scores)
    off = []
    for seed in range(6):
        found = ClassifierEstimator(spec, *draw(6_000, seed, -4.0)).estimate(draw(2_000, 100 + seed, -1.5)[0])
        assert all(one.low < one.value < one.high for one in found.values())
        off.append(found["roc_auc"].value - truth)
    assert np.mean(off) == pytest.approx(0, abs=0.03)


def test_a_calibrated_score_is_left_as_it_is():
    """No calibration is used where it foretells held-out outcomes no better than the score."""
    random = np.random.default_rng(1)
    scores = random.random(2_000)
    outcomes = (random.random(2_000) < scores).astype(float)
    assert ClassifierEstimator(model(BINARY), scores, outcomes).calibrated == (False,)


def test_a_few_rows_mend_a_model_that_is_too_sure_of_itself():
    """Of 800 rows isotonic regression learns nothing that holds; the estimate would be as sure as the scores then."""
    truth = realised_log_loss(*several(200_000, 99))
    found = [
        ClassifierEstimator(model(SEVERAL), *several(800, seed)).estimate(several(5_000, 100 + seed)[0])["log_loss"]
        for seed in range(12)
    ]
    assert abs(np.mean([one.value for one in found]) - truth) < 0.03
    assert sum(one.low <= truth <= one.high for one in found) >= 10


def realised_log_loss(scores: np.ndarray, outcomes: np.ndarray) -> float:
    return float(-np.log(scores[np.arange(len(outcomes)), outcomes.astype(int)]).mean())


def test_counts_of_hours_add_up_to_the_day():
    """The estimate from merged histograms is that from all the rows."""
    estimator = ClassifierEstimator(model(BINARY), *binary(5_000, 0))
    scores = binary(4_000, 1)[0]
    hours = [ScoreHistogram.of(part, estimator.edges[0], 0.5) for part in np.array_split(scores, 4)]
    merged = estimator.estimate_counted([hours[0] + hours[1] + hours[2] + hours[3]])
    for name, found in estimator.estimate(scores).items():
        assert merged[name].value == pytest.approx(found.value, abs=1e-12)
        assert merged[name].low == pytest.approx(found.low, abs=1e-9)


def test_one_row_has_an_estimate_too():
    """Without a warning, though some draws of such a window hold no row."""
    found = ClassifierEstimator(model(BINARY), *binary(2_000, 5)).estimate(np.array([0.9]))
    assert found["log_loss"].low < found["log_loss"].value < found["log_loss"].high


def test_rows_without_a_score_are_left_out():
    """NaN scores say nothing, and no rows give no estimate."""
    estimator = ClassifierEstimator(model(BINARY), *binary(3_000, 0))
    scores = binary(1_000, 1)[0]
    assert estimator.estimate(np.append(scores, np.nan)) == estimator.estimate(scores)
    assert estimator.estimate(np.array([np.nan])) == {}


def regression(rows: int, seed: int, shift: float = 0.0) -> tuple[pa.Table, np.ndarray]:
    random = np.random.default_rng(seed)
    spread = random.gamma(4, 0.25, rows) + shift
    kind = np.where(random.random(rows) < 0.2 + shift / 2, "odd", "plain")
    score = random.normal(size=rows)
    outcome = score + random.normal(size=rows) * spread * np.where(kind == "odd", 2, 1)
    return pa.table({"spread": spread, "kind": kind, "score": score}), outcome


@pytest.mark.parametrize("metric", ["root_mean_squared_error", "mean_absolute_error"])
def test_what_a_shift_costs_a_regression_is_foretold(metric):
    """Rows of a noisier sort: the error rises, and lies in the interval of nearly every reference."""
    spec = model(Target(name="delay", kind="regression"))
    hits = 0
    for seed in range(10):
        estimator = RegressionEstimator(spec, metric, *regression(8_000, seed))
        calm, noisy = estimator.estimate(regression(3_000, 50)[0]), estimator.estimate(regression(3_000, 60, 0.3)[0])
        assert calm is not None
        assert noisy is not None
        assert calm.high < noisy.low
        truth = [
            compare("regression", outcomes, {"a": rows["score"].to_numpy()}, metrics=[metric], resamples=0)
            .scores["a"][metric]
            .value
            for rows, outcomes in (regression(100_000, 70), regression(100_000, 70, 0.3))
        ]
        hits += (calm.low <= truth[0] <= calm.high) + (noisy.low <= truth[1] <= noisy.high)
    assert hits >= 16


def signal(spec: ModelSpec, estimated: Metric, reference: Metric) -> Signal:
    now = datetime(2018, 1, 1, tzinfo=UTC)
    performance = Performance(reference=reference)
    window = Measurements(start=now, end=now, as_of=now, rows=1, estimated=estimated, performance=performance)
    (found,) = of_estimate(spec, window)
    return found


def test_an_estimate_that_is_surely_worse_is_breached_and_says_what_it_assumes():
    """Only where the whole interval is beyond the limit, and the rows are many enough."""
    spec = model(BINARY, metric="roc_auc", performance_drop=0.05)
    reference = Metric(name="roc_auc", value=0.9, low=0.89, high=0.91, rows=1_000)
    worse = reference.model_copy(update={"value": 0.8, "low": 0.78, "high": 0.84})
    found = signal(spec, worse, reference)
    assert found.breached
    assert found.name == ESTIMATED + "roc_auc"
    assert "estimate" in found.detail
    assert not signal(spec, worse.model_copy(update={"high": 0.86}), reference).breached
    assert not signal(spec, worse.model_copy(update={"rows": 10}), reference).breached


def chunks(name: str, score: str, target: str):
    """The estimator of the reference, its AUC, and the analysis's scores and outcomes."""
    reference, analysis, later = (
        pq.read_table(NANNYML / f"{name}_{part}.parquet") for part in ("reference", "analysis", "analysis_target")
    )
    said, happened = (np.asarray(reference[column].to_numpy(), dtype=float) for column in (score, target))
    spec = model(Target(name=target), metric="roc_auc", performance_drop=0.005)
    auc = float(roc_auc_score(happened, said))
    at_evaluation = Metric(name="roc_auc", value=auc, low=auc, high=auc, rows=len(said))
    estimator = ClassifierEstimator(spec, said, happened)
    return spec, estimator, at_evaluation, np.asarray(analysis[score].to_numpy(), dtype=float), later[target].to_numpy()


@needs_nannyml
def test_the_fall_of_the_car_loan_model_is_told_before_its_outcomes():
    """Silent on the first five chunks of 5,000 rows, breached on each of the last five; within 0.007 of what came."""
    spec, estimator, at_evaluation, scores, outcomes = chunks("synthetic_car_loan", "y_pred_proba", "repaid")
    found = [estimator.estimate(scores[at : at + 5_000])["roc_auc"] for at in range(0, 50_000, 5_000)]
    assert [signal(spec, one, at_evaluation).breached for one in found] == [False] * 5 + [True] * 5
    came = [roc_auc_score(outcomes[at : at + 5_000], scores[at : at + 5_000]) for at in range(0, 50_000, 5_000)]
    assert max(abs(one.value - auc) for one, auc in zip(found, came, strict=True)) < 0.007


@needs_nannyml
def test_employment_in_massachusetts_never_alarms():
    """Three years whose AUC holds as a whole, in chunks of a year.

    A year's rows lie by place and not by time: of 5,000 in that order two chunks really fall, to a realised AUC of .803
    and .864. An alarm on these would be right, so they say nothing of false ones.
    """
    spec, estimator, at_evaluation, scores, outcomes = chunks("employment_MA", "predicted_probability", "employed")
    for some in np.array_split(np.arange(len(scores)), 3):
        found = estimator.estimate(scores[some])["roc_auc"]
        assert not signal(spec, found, at_evaluation).breached
        assert abs(found.value - roc_auc_score(outcomes[some], scores[some])) < 0.004
