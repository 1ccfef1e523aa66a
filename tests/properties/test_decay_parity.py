"""What Evidently says of rows by default is what parity.py says of their profiles."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from trimtab.decay.parity import WASSERSTEIN, is_dataset_drifted, verdicts
from trimtab.decay.profile import choose_bins, profile
from trimtab.decay.wasserstein import wasserstein_bounds
from trimtab.errors import TrimtabError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

NUMERIC = ["normal", "skewed", "whole", "few", "two", "constant", "other_constant", "with_nulls", "near", "far"]
CATEGORICAL = ["pair", "handful", "many", "new", "one", "flags"]
TYPES = dict.fromkeys(NUMERIC, "number") | dict.fromkeys(CATEGORICAL, "category")


def rows(random: np.random.Generator, count: int, shift: float) -> pd.DataFrame:
    texts = {
        "pair": random.choice(["a", "b"], count, p=[0.5 + shift / 4, 0.5 - shift / 4]),
        "handful": random.choice(list("abcdef"), count),
        "many": np.array([f"v{int(number)}" for number in random.exponential(12 + shift * 8, count)]),
        "new": random.choice(["x", "y", "z"] if shift else ["x", "y"], count),
        "one": np.repeat("only", count),
        "flags": np.where(random.random(count) < 0.1, None, random.choice(["true", "false"], count)),
    }
    normal = random.normal(shift, 1, count)
    return pd.DataFrame(
        {
            "normal": normal,
            "skewed": random.lognormal(shift / 3, 1.5, count),
            "whole": random.poisson(4 + shift, count).astype(float),
            "few": random.choice([0.0, 1.0, 2.5, 3.0], count),
            "two": (random.random(count) < 0.3 + shift / 5).astype(float),
            "constant": np.full(count, 7.0),
            "other_constant": np.full(count, 1.0 + (shift > 0)),
            "with_nulls": np.where(random.random(count) < 0.2, np.nan, random.gamma(2, 1, count)),
            "near": random.normal(0.1 * bool(shift), 1, count) + 1e6,
            "far": random.normal(0, 1, count) * (1 + shift) * 1e-3,
            **{name: pd.Series(found, dtype="str") for name, found in texts.items()},
        }
    )


def evidently_says(reference: pd.DataFrame, current: pd.DataFrame) -> tuple[dict[str, tuple[str, float, bool]], bool]:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=NUMERIC, categorical_columns=CATEGORICAL)
    sides = [Dataset.from_pandas(side, data_definition=definition) for side in (current, reference)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Report([DataDriftPreset()], include_tests=True).run(*sides).dict()
    assert found["metrics"][0]["metric_name"].startswith("DriftedColumnsCount")
    drifted = {test["name"].rpartition(" ")[2]: str(test["status"].value) == "FAIL" for test in found["tests"][1:]}
    said = {}
    for metric in found["metrics"][1:]:
        name = metric["config"]["column"]
        said[name] = (metric["config"]["method"], float(metric["value"]), drifted[name])
    return said, found["metrics"][0]["value"]["share"] >= 0.5


def stattests_say(reference: pd.DataFrame, current: pd.DataFrame) -> dict[str, tuple[str, float, bool]]:
    """Evidently's own choice of method and its own score, without the report around it."""
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    said = {}
    for name in (*NUMERIC, *CATEGORICAL):
        kind = ColumnType.Numerical if name in NUMERIC else ColumnType.Categorical
        ours, theirs = reference[name].dropna(), current[name].dropna()
        test = get_stattest(ours, theirs, kind, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = test(ours, theirs, kind, None)
        said[name] = (test.display_name, float(found.drift_score), bool(found.drifted))
    return said


def check(reference: pd.DataFrame, current: pd.DataFrame, said: dict[str, tuple[str, float, bool]]) -> None:
    ours, theirs = (pa.Table.from_pandas(side, preserve_index=False) for side in (reference, current))
    bins = choose_bins(ours, TYPES)
    base, window = profile(ours, bins), profile(theirs, bins)
    asked: list[str] = []

    def exact(name: str) -> tuple[np.ndarray, np.ndarray]:
        asked.append(name)
        return reference[name].dropna().to_numpy(), current[name].dropna().to_numpy()

    found = {one.column: one for one in verdicts(base, window, exact)}
    assert sorted(found) == sorted(said)
    for name, (method, score, drifted) in said.items():
        one = found[name]
        assert method.startswith(one.method), name
        assert one.drifted == drifted, (name, one, score)
        if one.exact:
            assert one.score == pytest.approx(score, rel=1e-9, abs=1e-9, nan_ok=True), (name, one)
        else:
            assert one.method == WASSERSTEIN
            bounds = wasserstein_bounds(base.column(name), window.column(name))
            assert bounds is not None
            norm = max(float(reference[name].std(ddof=0)), 0.001)
            assert bounds.low / norm * (1 - 1e-9) <= score <= bounds.high / norm * (1 + 1e-9), (name, bounds, score)


@pytest.mark.parametrize("sizes", [(100, 80), (1_000, 300), (1_001, 700), (5_000, 2_000)], ids=str)
def test_the_official_presets_scores_and_verdicts_are_ours(sizes: tuple[int, int]) -> None:
    """Evidently's DataDriftPreset over whole frames: method, score and verdict of every column, and of the dataset."""
    random = np.random.default_rng(sizes[0])
    reference, current = rows(random, sizes[0], 0.0), rows(random, sizes[1], 0.4)
    said, dataset = evidently_says(reference, current)
    check(reference, current, said)
    assert dataset == (sum(drifted for _, _, drifted in said.values()) / len(said) >= 0.5)
    ours, theirs = (pa.Table.from_pandas(side, preserve_index=False) for side in (reference, current))
    bins = choose_bins(ours, TYPES)

    def exact(name: str) -> tuple[np.ndarray, np.ndarray]:
        return reference[name].dropna().to_numpy(), current[name].dropna().to_numpy()

    assert is_dataset_drifted(verdicts(profile(ours, bins), profile(theirs, bins), exact)) == dataset


@pytest.mark.parametrize("seed", range(24))
def test_scores_and_verdicts_agree_over_seeds_sizes_and_shifts(seed: int) -> None:
    """Whatever the sizes and the shift, small ones around the thresholds among them."""
    random = np.random.default_rng(seed)
    count = int(random.choice([60, 400, 1_000, 1_001, 1_200, 3_000, 20_000]))
    other = int(random.choice([50, 500, 1_500, 6_000]))
    reference, current = rows(random, count, 0.0), rows(random, other, float(random.choice([0.0, 0.05, 0.1, 0.2, 1.0])))
    check(reference, current, stattests_say(reference, current))


def test_values_are_asked_for_only_where_the_threshold_lies_within_the_bounds() -> None:
    """Most columns need no sort: the profiles alone settle them."""
    random = np.random.default_rng(7)
    reference, current = rows(random, 30_000, 0.0), rows(random, 20_000, 0.5)
    ours, theirs = (pa.Table.from_pandas(side, preserve_index=False) for side in (reference, current))
    bins = choose_bins(ours, TYPES)
    asked: list[str] = []

    def exact(name: str) -> None:
        asked.append(name)

    verdicts(profile(ours, bins), profile(theirs, bins), exact)
    assert not asked


def test_a_profile_that_does_not_suffice_is_not_judged_by_guess() -> None:
    """More categories than a profile names, and no values at hand: an error that says so."""
    random = np.random.default_rng(0)
    texts = pa.table({"many": [f"v{number}" for number in random.integers(0, 5_000, 3_000)]})
    bins = choose_bins(texts, {"many": "category"})
    with pytest.raises(TrimtabError, match="more distinct values than its profile names"):
        verdicts(profile(texts, bins), profile(texts, bins))
