"""Slices, calibration, and how protected groups fare."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, confusion_matrix, log_loss, roc_auc_score

from trimtab.decay.answers import scores_of
from trimtab.decay.bias import gaps_of, selections_of
from trimtab.decay.calibration import calibration_error
from trimtab.decay.fairness import gaps
from trimtab.decay.reference import Reference, write_reference
from trimtab.decay.slice_performance import slice_performance
from trimtab.decay.slices import Groups, group_rows
from trimtab.decay.standard_error import with_standard_error
from trimtab.errors import EvaluationError
from trimtab.metrics import compare
from trimtab.spec import METRICS, DecayPolicy, FairnessRule, Feature, Gates, ModelSpec, Target, Trainer


def model(target: Target, **policy) -> ModelSpec:
    return ModelSpec(
        name="loan",
        source="data:load",
        target=target,
        features=(Feature(name="sex", type="category"), Feature(name="region", type="category")),
        protected=("sex", "region"),
        gates=Gates(slices=("region",)),
        suite="loan",
        trainers=(Trainer(name="trees", function="training:train"),),
        policy=DecayPolicy(**policy),
    )


BINARY = Target(name="outcome")
SEVERAL = Target(name="outcome", kind="multiclass", classes=("red", "green", "blue"))


def rows(count: int, seed: int, flipped: str = "") -> pa.Table:
    """Binary rows in 2 x 8 groups; in a flipped region the outcome is the opposite of what the score says."""
    random = np.random.default_rng(seed)
    region = random.choice([f"r{at}" for at in range(8)], count)
    score = random.random(count)
    happens = random.random(count) < np.where(region == flipped, 1 - score, score)
    columns = {"sex": random.choice(["f", "m"], count), "region": region, "score": score}
    return pa.table({**columns, "outcome": happens.astype(float)})


def reference(spec: ModelSpec, folder, table: pa.Table) -> Reference:
    return write_reference(folder, spec, timed(table), table, scores_of(spec, table))


def timed(table: pa.Table) -> pa.Table:
    """The rows an hour apart, as a training snapshot has them."""
    start = np.datetime64("2024-01-01T00", "us")
    times = pa.array(start + np.arange(table.num_rows) * np.timedelta64(1, "h"))
    return table.append_column("event_time", pc.assume_timezone(times, "UTC"))


def test_a_slice_that_is_lost_is_told_from_those_that_are_not(tmp_path):
    """Of eight regions one is upside down: it alone is worse, its interval wholly; two sexes are looked at too."""
    spec = model(BINARY, metric="roc_auc", performance_drop=0.05)
    found = slice_performance(spec, reference(spec, tmp_path, rows(20_000, 0)), rows(8_000, 1, "r3"))
    assert len(found) == 10
    worse = [one.value for one in found if one.column == "region" and one.metric.high < one.reference.value - 0.05]
    assert worse == ["r3"]


def test_many_slices_do_not_page_falsely(tmp_path):
    """Of 60 windows without any loss, none has a slice that is beyond its interval more often than one in a hundred."""
    spec = model(BINARY, metric="log_loss", significance=0.01)
    known = reference(spec, tmp_path, rows(20_000, 0))
    false = sum(
        any(one.metric.low > one.reference.value for one in slice_performance(spec, known, rows(4_000, seed)))
        for seed in range(1, 61)
    )
    # At one in a hundred, four or more of sixty come by chance three times in a thousand.
    assert false <= 3


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_standard_errors_are_the_bootstraps(kind):
    """Each metric is that of `compare`, and its standard error that of 300 resamples, within 15 %."""
    random = np.random.default_rng(3)
    if kind == "multiclass":
        score = random.dirichlet([1, 1, 1], 3_000)
        target = np.array([random.choice(3, p=row) for row in score]).astype(float)
    else:
        score = random.random(3_000)
        noise = score + random.normal(size=3_000) * 0.2
        target = (random.random(3_000) < score).astype(float) if kind == "binary" else noise
    whole = compare(kind, target, {"a": score}, resamples=300).scores["a"]
    for metric in METRICS[kind]:
        value, error = with_standard_error(metric, target, score, 0.5)
        assert value == pytest.approx(whole[metric].value, abs=1e-12)
        assert error == pytest.approx((whole[metric].high - whole[metric].low) / 3.92, rel=0.15)


def test_metrics_of_several_classes_are_scikit_learns():
    """Log loss, Brier loss, accuracy and the macro one-vs-rest AUC."""
    random = np.random.default_rng(4)
    score = random.dirichlet([1, 2, 1], 500)
    target = np.array([random.choice(3, p=row) for row in score]).astype(float)
    found = compare("multiclass", target, {"a": score}, resamples=0).scores["a"]
    assert found["log_loss"].value == pytest.approx(log_loss(target, score))
    assert found["brier_loss"].value == pytest.approx(brier_score_loss(target, score, scale_by_half=False))
    assert found["roc_auc"].value == pytest.approx(roc_auc_score(target, score, multi_class="ovr"))
    assert found["accuracy"].value == np.mean(score.argmax(axis=1) == target)
    with pytest.raises(EvaluationError, match="classes"):
        compare("multiclass", target, {"a": score[:, 0]})
    with pytest.raises(EvaluationError, match="0 to 2"):
        compare("multiclass", target + 1, {"a": score})
    score[0, 0] = np.nan
    broken = compare("multiclass", target, {"a": score}, resamples=0).scores["a"]
    assert all(np.isnan(metric.value) for metric in broken.values())


def test_a_multiclass_target_names_its_classes():
    """Three or more, each once; other kinds name none; an outcome that is none of them is refused."""
    for kind, classes in (("multiclass", ("a", "b")), ("multiclass", ("a", "b", "b")), ("binary", ("a", "b", "c"))):
        with pytest.raises(ValueError, match="classes is"):
            Target(name="y", kind=kind, classes=classes)


def test_outcomes_of_several_classes_are_kept_as_places(tmp_path):
    """The reference holds a probability a class and the outcome's place; an unknown class is refused."""
    spec = model(SEVERAL)
    table = pa.table({"sex": ["f", "m"], "region": ["a", "b"], "outcome": ["blue", "red"]})
    score = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    judged = write_reference(tmp_path, spec, timed(table), table, score).judged
    assert judged["outcome"].to_pylist() == [2.0, 0.0]
    assert scores_of(spec, judged).tolist() == score.tolist()
    wrong = table.set_column(2, "outcome", pa.array(["blue", "pink"]))
    with pytest.raises(EvaluationError, match="pink"):
        write_reference(tmp_path, spec, timed(wrong), wrong, score)


def test_rates_by_group_are_those_of_the_confusion_matrix():
    """Rates and calibration of each group, and the gap between the outermost within its interval."""
    table = rows(5_000, 5)
    groups = group_rows(table["region"], "category")
    score, outcome = table["score"].to_numpy(), table["outcome"].to_numpy()
    found = {gap.measure: gap for gap in gaps("region", groups, score, outcome, score >= 0.5, 50)}
    for at, name in enumerate(groups.names):
        here = groups.codes == at
        (tn, fp), (fn, tp) = confusion_matrix(outcome[here], score[here] >= 0.5)
        values = {measure: {g.group: g.value for g in gap.groups}[name] for measure, gap in found.items()}
        assert values["true_positive_rate"] == pytest.approx(tp / (tp + fn))
        assert values["false_positive_rate"] == pytest.approx(fp / (fp + tn))
        assert values["calibration"] == pytest.approx(np.mean(outcome[here] - score[here]))
    for gap in found.values():
        assert gap.value == pytest.approx(gap.groups[0].value - gap.groups[-1].value)
        assert gap.low <= gap.value <= gap.high


def test_equal_groups_seldom_differ_beyond_doubt():
    """Eight groups that are treated alike: the gap's interval excludes zero in few of 100 windows."""
    false = 0
    for seed in range(100):
        table = rows(3_000, seed)
        groups, score = group_rows(table["region"], "category"), table["score"].to_numpy()
        found = list(gaps("region", groups, score, table["outcome"].to_numpy(), score >= 0.5, 50))
        false += any(gap.low > 0 for gap in found)
    # Three measures of 5 % each at most: 27 of 100 or more happens once in a thousand.
    assert false <= 26


def test_intersections_form_groups_of_their_own():
    """Two attributes and their pair, unless the spec says otherwise; the pair finds what neither shows alone."""
    sex, region = np.array(["f", "f", "m", "m"] * 500), np.array(["a", "b"] * 1_000)
    score = np.where((sex == "f") == (region == "a"), 0.9, 0.1)
    table = pa.table({"sex": sex, "region": region, "score": score, "outcome": np.array([0.0, 0.0, 1.0, 1.0] * 500)})
    spec = model(BINARY)
    found = {one.column: one.ratio for one in selections_of(spec, table)}
    assert found == {"sex": 1.0, "region": 1.0, "sex x region": 0.0}
    assert {gap.column for gap in gaps_of(spec, table)} == {"sex", "region", "sex x region"}
    alone = model(BINARY, fairness=FairnessRule(intersections=False))
    assert {one.column for one in selections_of(alone, table)} == {"sex", "region"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from(["x", "y", None])), max_size=60))
def test_crossed_groups_hold_each_row_once(pairs):
    """A row is in the pair of its groups, or in none where one is missing; names are in use and told apart."""
    one = group_rows(pa.chunked_array([pa.array([a for a, _ in pairs], pa.string())]), "category")
    other = group_rows(pa.chunked_array([pa.array([b for _, b in pairs], pa.string())]), "category")
    crossed = one.cross(other)
    said = [crossed.names[code] if code >= 0 else None for code in crossed.codes]
    assert said == [None if a is None or b is None else f"{a} x {b}" for a, b in pairs]
    assert set(crossed.names) == {name for name in said if name is not None}


def test_only_the_largest_groups_are_looked_at():
    """The rows of the others are in no group."""
    groups = Groups(("a", "b", "c"), np.array([0, 1, 1, 2, 2, 2, -1])).largest(2)
    assert groups.names == ("b", "c")
    assert groups.codes.tolist() == [-1, 0, 0, 1, 1, 1, -1]


def test_a_calibrated_score_is_seldom_called_off_and_a_wrong_one_always():
    """The lower end of a perfect model's error is 0 in at least 95 of 100 windows; shifted by 0.1 it is above 0.05."""
    random, above = np.random.default_rng(0), 0
    for _ in range(100):
        score = random.random(1_000)
        found = calibration_error(score, (random.random(1_000) < score).astype(float))
        assert found is not None
        above += found.low > 0
    assert above <= 5
    score = random.random(5_000) * 0.8
    off = calibration_error(score, (random.random(5_000) < score + 0.1).astype(float))
    assert off is not None
    assert 0.05 < off.low < 0.1 < off.high
    assert calibration_error(score[:19], score[:19]) is None
