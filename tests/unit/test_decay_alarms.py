"""Drift is seen when it is there, and only then: null windows, shifts, slow drift, broken correlations."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom

from trimtab.decay.distance import compare, groups, psi
from trimtab.decay.multivariate import separation
from trimtab.decay.null_windows import calibrated, null_law, null_laws
from trimtab.decay.profile import Bins, ColumnProfile, choose_bins, profile
from trimtab.decay.sequential import HIGHEST, gather, log_threshold, standardised
from trimtab.spec import DriftRule, Feature

RULE = DriftRule()
FEATURES = [Feature(name=f"x{number}", type="number") for number in range(5)]


def rows(random: np.random.Generator, count: int, shift: float = 0.0, correlation: float = 0.8) -> pa.Table:
    values = random.normal(size=(count, 5))
    values[:, 1] = correlation * values[:, 0] + np.sqrt(1 - correlation**2) * values[:, 1]
    values[:, 0] += shift
    return pa.table({f"x{number}": values[:, number] for number in range(5)})


def counted(counts: np.ndarray) -> ColumnProfile:
    bins = Bins(column="c", type="category", categories=tuple(f"k{number}" for number in range(len(counts) - 1)))
    return ColumnProfile(bins=bins, counts=tuple(int(one) for one in counts), rows=int(counts.sum()))


def test_rare_categories_of_a_small_reference_are_no_alarm_in_a_larger_window():
    """Of 400 null windows of 20,000 rows, of 50 categories by Zipf's law, no more are significant than 5 %: what 1,000
    rows say of a category of five is no truth."""
    random = np.random.default_rng(3)
    shares = np.append(1 / np.arange(1, 51), 0.0)
    shares /= shares.sum()
    hits = 0
    for _ in range(400):
        reference, of_window = (counted(random.multinomial(size, shares)) for size in (1_000, 20_000))
        ours, theirs, _names = groups(reference, of_window)
        hits += null_law(reference, of_window, draws=200).p_value(psi(ours, theirs)) < 0.05
    assert hits <= binom.ppf(0.99, 400, 0.05)


@pytest.mark.parametrize("shares", [[0.7, 0.3, 0.0], [0.4, 0.3, 0.2, 0.06, 0.04, 0.0]])
@pytest.mark.parametrize("size", [200, 2_000])
def test_null_windows_are_significant_as_often_as_the_level_says(shares, size):
    """Of 600 null windows the share below 5 % lies within the binomial bounds of 5 %."""
    random = np.random.default_rng(1)
    law = null_law(counted(random.multinomial(20_000, shares)), counted(random.multinomial(size, shares)))
    hits = 0
    for _ in range(600):
        ours, theirs, _names = groups(
            counted(random.multinomial(20_000, shares)), counted(random.multinomial(size, shares))
        )
        hits += law.p_value(psi(ours, theirs)) < 0.05
    assert 30 - 4 * np.sqrt(28.5) <= hits <= 30 + 4 * np.sqrt(28.5)


def test_a_shift_of_one_deviation_is_significant_and_one_absurd_value_is_not():
    """In 500 rows a shift by one standard deviation is large and significant; a value of 1e12 is neither."""
    random = np.random.default_rng(2)
    reference = rows(random, 20_000)
    of_reference = profile(reference, choose_bins(reference, {feature.name: "number" for feature in FEATURES}))

    def measured(window: pa.Table) -> dict[str, tuple[float, float]]:
        of_window = profile(window, of_reference.bins())
        found = calibrated(compare(of_reference, of_window), null_laws(of_reference, of_window))
        return {one.column: (one.psi, one.adjusted_p) for one in found}

    distance, adjusted = measured(rows(random, 500, shift=1.0))["x0"]
    assert distance > 0.2
    assert adjusted < 1e-6
    calm = rows(random, 500)
    absurd = calm.set_column(2, "x2", pa.array([1e12, *calm["x2"].to_pylist()[1:]]))
    assert measured(absurd)["x2"][0] < 0.1
    assert measured(absurd)["x2"][1] > RULE.column_level


def test_slow_drift_needs_several_windows_and_is_forgotten_when_it_is_over():
    """The farthest window alone never alarms, four in a row do, and quiet ones bring the evidence back."""
    threshold = log_threshold(RULE.run_length, 50)
    assert gather(0.0, HIGHEST, threshold) < threshold
    evidence = 0.0
    for _ in range(4):
        evidence = gather(evidence, standardised(0.0), threshold)
    assert evidence >= threshold
    assert gather(evidence, standardised(1.0), threshold) < threshold


def test_the_mean_run_to_a_false_alarm_is_not_shorter_than_stated():
    """Of 400 columns over 50 windows at a run length of 50, no more alarm than one in e-values' own bound."""
    random = np.random.default_rng(3)
    threshold = log_threshold(50, 1)
    alarms = 0
    for _ in range(400):
        evidence, alarmed = 0.0, False
        for deviate in random.normal(size=50):
            evidence = gather(evidence, float(deviate), threshold)
            alarmed |= evidence >= threshold
        alarms += alarmed
    # With a mean run of 50 or more, 1 - 1/e of the runs at most would have ended.
    assert alarms <= 400 * (1 - np.exp(-1))


def test_a_broken_correlation_is_found_and_null_windows_are_not():
    """With every margin unchanged the classifier tells a broken correlation, by name; null windows stay quiet."""
    random = np.random.default_rng(4)
    broken = separation(FEATURES, rows(random, 2_000), rows(random, 1_000, correlation=0.0))
    assert broken is not None
    assert broken.auc > RULE.multivariate_effect
    assert broken.p_value < RULE.multivariate_level
    assert broken.told_by == "x0 together with x1"
    nulls = [separation(FEATURES, rows(random, 1_000), rows(random, 400)) for _ in range(100)]
    assert sum(one is not None and one.p_value < 0.05 for one in nulls) <= 5 + 4 * np.sqrt(4.75)


def test_what_is_tolerated_is_not_evidence():
    """A window just as far as is tolerated is at the middle of its law, not at its end."""
    law = null_law(counted(np.array([14_000, 6_000, 0])), counted(np.array([1_400, 600, 0])))
    assert law.p_value(0.04, 0.04) == pytest.approx(0.5, abs=0.1)
    assert law.p_value(0.04) < 1e-6
