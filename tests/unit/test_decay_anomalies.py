"""Rows out of the training distribution are found and explained, and sound rows are flagged as seldom as is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from trimtab.decay.anomalies import Anomalies, find_anomalies
from trimtab.decay.measurements import Measurements
from trimtab.decay.odd_views import Oddness, views
from trimtab.decay.oddness import fit
from trimtab.decay.rows import Coded, code_all
from trimtab.decay.signals.anomalies import of_anomalies
from trimtab.spec import AnomalyRule, DecayPolicy, Feature, ModelSpec, Target, Trainer

START = datetime(2024, 1, 1, tzinfo=UTC)
SPEC = ModelSpec(
    name="credit",
    source="data:load",
    target=Target(name="repaid"),
    features=(
        Feature(name="income", type="number"),
        Feature(name="amount", type="number"),
        Feature(name="noise", type="number"),
        Feature(name="square", type="number"),
        Feature(name="age", type="integer"),
        Feature(name="children", type="integer"),
        Feature(name="constant", type="number"),
        Feature(name="product", type="category"),
        Feature(name="branch", type="category"),
        Feature(name="retired", type="boolean"),
    ),
    suite="credit",
    trainers=(Trainer(name="one", function="training:one"),),
)


def columns(rows: int, seed: int) -> dict[str, list[object]]:
    random = np.random.default_rng(seed)
    income = random.lognormal(3.5, 0.6, rows)
    noise = random.normal(size=rows)
    age = random.integers(18, 90, rows)
    product = random.integers(0, 12, rows)
    return {
        "income": income.tolist(),
        "amount": (income * random.normal(2, 0.15, rows)).tolist(),
        "noise": [None if missing else value for value, missing in zip(noise, random.random(rows) < 0.05, strict=True)],
        "square": (noise**2 + 0.2 * random.normal(size=rows)).tolist(),
        "age": age.tolist(),
        "children": random.poisson(1.2, rows).tolist(),
        "constant": [7.0] * rows,
        "product": [f"P{value}" for value in product],
        "branch": [f"B{value}" for value in (product * 3 + random.integers(0, 2, rows)) % 7],
        "retired": (age > 66).tolist(),
    }


def table(rows: dict[str, list[object]]) -> pa.Table:
    kinds = {"number": pa.float64(), "integer": pa.int64(), "category": pa.string(), "boolean": pa.bool_()}
    count = len(rows["income"])
    return pa.table(
        {
            "prediction_id": pa.array([number.to_bytes(16, "big") for number in range(1, count + 1)], pa.binary(16)),
            "event_time": pa.array(
                [START + timedelta(minutes=at) for at in range(count)], pa.timestamp("us", tz="UTC")
            ),
            **{feature.name: pa.array(rows[feature.name], kinds[feature.type]) for feature in SPEC.features},
        }
    )


KNOWN = fit(SPEC.features, code_all(table(columns(20_000, 0)), SPEC.features))


def with_rule(**changes: object) -> ModelSpec:
    policy = DecayPolicy(anomalies=AnomalyRule(**changes))  # type: ignore[arg-type]
    return SPEC.model_copy(update={"policy": policy})


@pytest.mark.parametrize("share", [0.001, 0.01])
def test_sound_rows_are_flagged_as_seldom_as_the_spec_says(share: float) -> None:
    """About that share of 200,000 rows like the training rows; chunks do not matter."""
    found = find_anomalies(with_rule(share=share), KNOWN, table(columns(200_000, 1)))
    assert found.rows == 200_000
    assert share / 4 < found.share < share * 1.2
    assert found.low < found.share < found.high
    assert len(found.worst) == 50
    assert [one.score for one in found.worst] == sorted((one.score for one in found.worst), reverse=True)
    assert find_anomalies(with_rule(share=share), KNOWN, table(columns(200_000, 1))) == found


@pytest.mark.parametrize(
    ("change", "features"),
    [
        ({"income": 2_000.0, "amount": 4_000.0}, {"income", "amount"}),
        ({"noise": -9.0}, {"noise"}),
        ({"noise": float("inf")}, {"noise"}),
        ({"constant": 9.0}, {"constant"}),
        ({"income": 20.0, "amount": 160.0}, {"income", "amount"}),
        ({"noise": 0.0, "square": 5.0}, {"noise", "square"}),
        ({"product": "P99"}, {"product"}),
        ({"product": "P0", "branch": "B4"}, {"product", "branch"}),
        ({"age": 25, "retired": True}, {"age", "retired"}),
        ({"amount": None}, {"amount"}),
    ],
)
def test_an_odd_row_is_found_and_what_is_odd_in_it(change: dict[str, object], features: set[str]) -> None:
    """An extreme value, a combination that does not occur, a new category, a value missing that never was."""
    rows = columns(1_000, 2)
    rows["income"][500], rows["amount"][500], rows["noise"][500], rows["square"][500] = 33.0, 66.0, 0.1, 0.01
    for name, value in change.items():
        rows[name][500] = value
    found = find_anomalies(SPEC, KNOWN, table(rows))
    (odd,) = (one for one in found.worst if one.prediction_id == str(UUID(int=501)))
    assert odd.event_time == START + timedelta(minutes=500)
    assert odd.score > 1
    assert {one.feature for one in odd.features} & features
    assert all(one.value and one.usual for one in odd.features)


def test_what_was_learned_is_stored_and_read_again() -> None:
    """As JSON that holds every number to its last bit."""
    assert Oddness.model_validate_json(KNOWN.model_dump_json()) == KNOWN


@pytest.mark.parametrize("rows", [2, 30, 300])
def test_few_training_rows_flag_little_and_say_so(rows: int) -> None:
    """What so few rows cannot tell is not claimed."""
    known = fit(SPEC.features, code_all(table(columns(rows, 3)), SPEC.features))
    found = find_anomalies(SPEC, known, table(columns(5_000, 4)))
    assert found.expected_share >= 3 / (rows + 1)
    window = Measurements(start=START, end=START, as_of=START, rows=5_000, anomalies=found)
    (signal,) = of_anomalies(SPEC, window)
    assert not signal.breached, (rows, found.share)


def signal_of(count: int, rows: int, **rule: object) -> bool:
    from trimtab.decay.anomalies import _interval

    low, high = _interval(count, rows)
    found = Anomalies(rows=rows, count=count, expected_share=0.001, low=low, high=high)
    (signal,) = of_anomalies(
        with_rule(**rule), Measurements(start=START, end=START, as_of=START, rows=rows, anomalies=found)
    )
    return signal.breached


def test_the_signal_is_breached_by_many_beyond_chance() -> None:
    """A few of few rows are chance; many of many are not, unless the spec asks for nothing."""
    assert not signal_of(0, 1_000)
    assert not signal_of(8, 200)
    assert not signal_of(1_500, 100_000)
    assert signal_of(3_500, 100_000)
    assert signal_of(40, 500)
    assert not signal_of(100_000, 100_000, maximum_share=None)


def test_a_window_without_rows_has_no_anomalies() -> None:
    """And no share of them."""
    found = find_anomalies(SPEC, KNOWN, table(columns(1, 0)).slice(0, 0))
    assert (found.count, found.share, found.worst) == (0, 0.0, ())


def test_features_of_one_type_alone_are_judged() -> None:
    """Only categories, or a single number: there is nothing to correlate."""
    for name in ("product", "income"):
        spec = SPEC.model_copy(update={"features": tuple(one for one in SPEC.features if one.name == name)})
        rows = table(columns(2_000, 0))
        known = fit(spec.features, code_all(rows, spec.features))
        assert find_anomalies(spec, known, rows).share < 0.02


def test_what_is_alike_in_every_span_of_training_is_no_anomaly() -> None:
    """A value that is missing in each fifth row, as in panels of one row a branch and day, is as usual as it was."""
    spec = SPEC.model_copy(
        update={"features": tuple(one for one in SPEC.features if one.name in ("income", "retired"))}
    )
    held = columns(2_000, 0)
    held["retired"] = [None if row % 5 == 0 else bool(row % 2) for row in range(2_000)]
    rows = table(held)
    known = fit(spec.features, code_all(rows, spec.features))
    assert find_anomalies(spec, known, rows).share < 0.01


@pytest.mark.parametrize("rows", [270, 900])
def test_sound_rows_of_many_columns_that_hang_together_are_not_odd(rows: int) -> None:
    """Most lie in a pair of cells where no training row was: those that taught a fifth's limit were fewer, and an empty
    cell less odd to them, so that two in three of the rows to come, or one in five, were beyond it."""
    random = np.random.default_rng(5)
    hidden = random.normal(size=(rows + 2_000, 3))
    values = np.exp(0.3 * (hidden @ random.normal(size=(3, 30)) + 0.3 * random.normal(size=(rows + 2_000, 30))))
    features = [Feature(name=f"column_{at}", type="number") for at in range(30)]
    before, after = (
        {feature.name: Coded(part[:, at]) for at, feature in enumerate(features)}
        for part in (values[:rows], values[rows:])
    )
    known = fit(features, before)
    out = (views(known, after) > known.limits(0.001)).any(axis=1)
    assert out.mean() < 0.02
