"""Laws of distances: zero for the same, symmetric where said so, within their bounds, and like the textbooks'."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial import distance as textbook

from trimtab.decay import distance as d
from trimtab.decay.profile import Profile, choose_bins, merge_stored, profile, to_bytes
from trimtab.decay.wasserstein import wasserstein_bounds
from trimtab.errors import TrimtabError

counts = st.integers(2, 12).flatmap(
    lambda size: st.tuples(
        *[arrays(np.float64, size, elements=st.integers(0, 1000)).filter(lambda found: found.sum() > 0)] * 2
    )
)


@given(counts)
def test_binned_distances_are_symmetric_and_bounded(pair):
    """Whichever sample is called the reference, the distance is the same; only PSI has no upper bound."""
    a, b = pair
    p, q = a / a.sum(), b / b.sum()
    for measure in (d.jensen_shannon, d.hellinger, d.total_variation):
        assert 0 <= measure(p, q) <= 1
        assert measure(p, q) == pytest.approx(measure(q, p), abs=1e-7)
    assert d.psi(a, b) >= -1e-12
    assert d.psi(a, b) == pytest.approx(d.psi(b, a), abs=1e-9)
    assert 0 <= d.ks(a, b) <= 1
    assert d.ks(a, b) == pytest.approx(d.ks(b, a), abs=1e-12)
    assert d.chi_square(a, b)[0] == pytest.approx(d.chi_square(b, a)[0], rel=1e-9, abs=1e-9)


@given(counts)
def test_a_sample_is_at_no_distance_from_itself(pair):
    """The same counts on both sides give zero, and no doubt."""
    a, _ = pair
    p = a / a.sum()
    zeros = [d.psi(a, a), d.jensen_shannon(p, p), d.hellinger(p, p), d.total_variation(p, p), d.ks(a, a)]
    assert zeros == pytest.approx([0] * 5, abs=1e-7)
    assert d.chi_square(a, a) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    assert d.ks_p_value(0.0, 10, 10) == 1.0


@given(counts)
def test_distances_are_those_of_scipy(pair):
    """Jensen-Shannon and the two-sample chi-square equal scipy's on the same counts."""
    a, b = pair
    p, q = a / a.sum(), b / b.sum()
    assert d.jensen_shannon(p, q) == pytest.approx(textbook.jensenshannon(p, q, base=2), abs=1e-7)
    both = np.vstack([a, b])[:, (a + b) > 0]
    if both.shape[1] > 1:
        expected = stats.chi2_contingency(both, correction=False)
        assert d.chi_square(a, b) == (pytest.approx(expected.statistic, abs=1e-6), pytest.approx(expected.pvalue))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_corrected_p_values_are_never_smaller_and_keep_their_order(p_values):
    """Holm's correction lies between the raw p-value and Bonferroni's."""
    adjusted = d.holm(p_values)
    for raw, corrected in zip(p_values, adjusted, strict=True):
        assert raw <= corrected + 1e-12
        assert corrected <= min(1.0, raw * len(p_values)) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.floats(-2, 2), st.floats(0.5, 2), st.sampled_from([50, 400, 3000]), st.booleans())
def test_numeric_distances_are_scipys_up_to_the_width_of_a_bin(seed, shift, scale, rows, whole):
    """Wasserstein and KS from binned counts are those of the values: exact for few distinct ones, else to a hair."""
    random = np.random.default_rng(seed)
    ours, theirs = random.normal(size=20_000), np.clip(random.normal(shift, scale, rows), -3, 3)
    if whole:
        ours, theirs = np.round(ours * 2), np.round(theirs * 2)
    theirs = np.clip(theirs, ours.min(), ours.max())
    found = _compare(ours, theirs)
    tolerance = 1e-9 if whole else 0.02
    assert found.ks == pytest.approx(stats.ks_2samp(ours, theirs).statistic, abs=tolerance)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(ours, theirs) / ours.std(), abs=tolerance)


def test_false_alarms_stay_below_the_stated_rate():
    """Of 200 windows of ten features drawn from the reference, at a level of 5 % some 10 alarm, not 16 to 78 % each."""
    random = np.random.default_rng(1)
    names = [f"x{number}" for number in range(5)] + [f"c{number}" for number in range(5)]

    def table(rows: int) -> pa.Table:
        numbers = {name: random.normal(size=rows) for name in names[:5]}
        return pa.table(numbers | {name: random.choice(list("abcdef"), rows) for name in names[5:]})

    reference = table(2_000)
    bins = choose_bins(reference, {name: "number" if name[0] == "x" else "category" for name in names})
    base = profile(reference, bins)
    alarms = sum(min(one.adjusted_p for one in d.compare(base, profile(table(300), bins))) < 0.05 for _ in range(200))
    assert alarms <= 20


def test_one_absurd_value_moves_nothing():
    """A single value of a billion leaves Wasserstein where it was: it counts as the end of the reference's range."""
    random = np.random.default_rng(2)
    ours, theirs = random.normal(size=10_000), random.normal(size=1_000)
    quiet, absurd = _compare(ours, theirs), _compare(ours, np.append(theirs, 1e9))
    assert absurd.wasserstein == pytest.approx(quiet.wasserstein, abs=0.01)
    assert absurd.psi == pytest.approx(quiet.psi, abs=0.01)


def test_a_constant_reference_is_told_from_what_is_not():
    """Where the reference has one value, any other is a drift in every measure but Wasserstein, which has no unit."""
    found = _compare(np.full(1_000, 5.0), np.full(500, 6.0))
    assert (found.ks, found.total_variation, found.wasserstein) == (1.0, 1.0, None)
    assert found.psi > 5
    assert _compare(np.full(1_000, 5.0), np.full(500, 5.0)).psi == pytest.approx(0, abs=0.01)


def test_a_column_without_values_is_not__compare():
    """All null, on either side: no distance and no significance, but the share of nulls."""
    found = _compare(np.arange(100.0), np.full(50, np.nan))
    assert (found.psi, found.p_value, found.null_share, found.rows) == (0.0, 1.0, 1.0, 0)
    assert _compare(np.full(50, np.nan), np.arange(100.0)).p_value == 1.0


def test_new_categories_and_rare_ones_are_pooled():
    """Categories too rare to judge count together with new ones, and what moved most is named."""
    reference = pa.table({"c": ["a"] * 500 + ["b"] * 497 + ["x", "y", "z"]})
    bins = choose_bins(reference, {"c": "category"})
    window = profile(pa.table({"c": ["a"] * 50 + ["new"] * 50}), bins)
    (found,) = d.compare(profile(reference, bins), window)
    assert found.moved == "other: 0.3% → 50.0%" or found.moved == "b: 49.7% → 0.0%"
    assert found.p_value < 1e-6
    _, _, labels = d.groups(profile(reference, bins).column("c"), window.column("c"))
    assert labels == ("a", "b", "other")


def test_one_absurd_value_moves_only_the_raw_distance():
    """Winsorised stays, raw says what was there."""
    random = np.random.default_rng(7)
    ours, theirs = random.normal(size=10_000), random.normal(size=1_000)
    absurd = _compare(ours, np.append(theirs, 1e9))
    assert absurd.wasserstein < 0.1
    expected = stats.wasserstein_distance(ours, np.append(theirs, 1e9)) / ours.std()
    assert absurd.wasserstein_raw == pytest.approx(expected, rel=1e-6)


def test_drift_is_weighted_by_importance():
    """A feature that the model does not use does not count; without any that counts nothing is said."""
    facts = {"rows": 1, "reference_rows": 1, "null_share": 0, "reference_null_share": 0}
    of = {"a": 0.1, "b": 0.5, "c": 1.0}
    found = [d.Distance(column=name, jensen_shannon=value, **facts) for name, value in of.items()]
    assert d.weighted(found, {"a": 3, "b": 1}) == pytest.approx(0.2)
    with pytest.raises(TrimtabError, match="no importance"):
        d.weighted(found, {"z": 1})
    with pytest.raises(TrimtabError, match="not negative"):
        d.weighted(found, {"a": -1})


@pytest.mark.parametrize("seed", range(12))
def test_bounds_hold_the_distance_of_the_values(seed):
    """Whatever the shape, far outliers too, Wasserstein of the values lies between the ends, which are close."""
    random = np.random.default_rng(seed)
    ours = [random.normal(size=5_000), random.lognormal(0, 1.5, 5_000), random.standard_t(3, 5_000) + 1e6][seed % 3]
    theirs = random.choice(ours, 800) * random.uniform(0.9, 1.1) + random.normal(0, 0.05)
    theirs = np.append(theirs, [1e9] if seed % 2 else [])
    table, other = pa.table({"x": ours}), pa.table({"x": theirs})
    bins = choose_bins(table, {"x": "number"})
    bounds = wasserstein_bounds(profile(table, bins).column("x"), profile(other, bins).column("x"))
    exact = stats.wasserstein_distance(ours, theirs)
    assert bounds is not None
    assert bounds.low * (1 - 1e-9) <= exact <= bounds.high * (1 + 1e-9)
    assert bounds.high - bounds.low < 0.03 * ours.std()


def _compare(ours: np.ndarray, theirs: np.ndarray) -> d.Distance:
    reference, window = pa.table({"x": ours}), pa.table({"x": theirs})
    bins = choose_bins(reference, {"x": "number"})
    base: Profile = profile(reference, bins)
    return d.compare(base, profile(window, bins))[0]


ABSURD = {
    "numbers": lambda g, n: g.normal(size=n),
    "some of 1e300": lambda g, n: np.where(g.random(n) < 0.2, 1e300, g.normal(size=n)),
    "1e308 of either sign": lambda g, n: g.choice([-1e308, 1e308, 0.0], n),
    "all over float64": lambda g, n: g.uniform(-1, 1, n) * 1.79e308,
    "nearly nothing": lambda g, n: g.normal(size=n) * 1e-310,
}


@pytest.mark.parametrize("ours", ABSURD)
@pytest.mark.parametrize("theirs", ABSURD)
def test_whatever_finite_numbers_there_are_distances_are_finite_or_none(ours, theirs):
    """Nothing crashes or warns, and what is stored is read back, even where sums and squares leave float64."""
    g = np.random.default_rng(0)
    for rows, others in [(2, 2), (2, 700), (10, 1), (3_000, 10), (3_000, 700)]:
        a, b = ABSURD[ours](g, rows), ABSURD[theirs](g, others)
        bins = choose_bins(pa.table({"x": a}), {"x": "number"})
        reference, window = profile(pa.table({"x": a}), bins), profile(pa.table({"x": b}), bins)
        halves = [profile(pa.table({"x": part}), bins) for part in np.array_split(b, 2)]
        (found,) = d.compare(reference, window)
        assert Profile.model_validate_json(window.model_dump_json()).columns[0].counts == window.columns[0].counts
        assert merge_stored([to_bytes(half) for half in halves], bins).columns[0].rows == others
        assert all(np.isfinite(x) for x in found.model_dump().values() if isinstance(x, float))
        column = reference.columns[0]
        assert column.deviation >= 0
        assert all(np.isfinite(column.quantile(level).value) for level in (0.0, 0.3, 1.0))


def test_distances_of_enormous_numbers_are_those_of_the_same_numbers_in_another_unit():
    """A power of two changes no digit, so nothing may depend on it, but for what leaves float64."""
    g = np.random.default_rng(1)
    a, b = g.normal(size=3_000), g.normal(0.5, 1, size=700)
    small, large, enormous = (_compare(a * 2.0**power, b * 2.0**power) for power in (0, 480, 1_020))
    assert small.wasserstein == pytest.approx(large.wasserstein, rel=1e-9)
    assert small.wasserstein == pytest.approx(enormous.wasserstein, rel=0.02)
    assert small.wasserstein_raw == pytest.approx(large.wasserstein_raw, rel=1e-9)
    assert enormous.wasserstein_raw is None


def test_absurd_values_in_the_reference_leave_the_distance_of_the_others_as_it_is():
    """Winsorised distances do not see them; the raw one is not known, as their deviation is not."""
    g = np.random.default_rng(2)
    a, b = g.normal(size=5_000), g.normal(0.5, 1, size=700)
    absurd = np.append(a, 1e308)
    assert _compare(absurd, b).wasserstein == pytest.approx(_compare(a, b).wasserstein, rel=0.02)
    assert _compare(absurd, b).wasserstein_raw is None
