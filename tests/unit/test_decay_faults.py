"""Each data fault is found and named; honest drift, natural oddities and null windows are none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.decay.atoms import Fault
from trimtab.decay.faults import find_faults
from trimtab.decay.soundness import Soundness, soundness
from trimtab.spec import DecayPolicy, FaultRule, Feature, ModelSpec, Target, Trainer

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC)
WINDOW = timedelta(days=2)
ROWS_AN_HOUR = 25

Columns = dict[str, np.ndarray]


def spec_of(rule: FaultRule | None = None, window: timedelta = WINDOW) -> ModelSpec:
    types = {
        **{"temp": "number", "rain": "number", "wind": "number", "income": "number", "age": "integer"},
        **{"hour": "integer", "year": "integer", "seats": "number", "region": "category", "dest": "category"},
        **{"employed": "boolean", "fraud": "boolean", "capped": "number"},
    }
    return ModelSpec(
        name="weather",
        source="data:load",
        target=Target(name="late"),
        features=tuple(Feature(name=name, type=kind) for name, kind in types.items()),
        suite="weather",
        trainers=(Trainer(name="one", function="training:one"),),
        window=window,
        policy=DecayPolicy(faults=rule or FaultRule()),
    )


def world(hours: int, seed: int = 0, first: int = 0, rows_an_hour: int = ROWS_AN_HOUR) -> Columns:
    """Rows as sources have them: weather that stands for an hour, dry days, discrete, rare and constant columns."""
    random = np.random.default_rng([seed, first])
    hour = np.repeat(np.arange(first, first + hours), rows_an_hour)
    count = len(hour)
    at_hour = np.random.default_rng(7)
    temperature = 50 + 15 * np.sin(np.arange(5_000) / 24 * 2 * np.pi) + at_hour.normal(0, 4, 5_000)
    wet = np.repeat(at_hour.random(5_000 // 24 + 1) < 0.3, 24)[:5_000]
    rain = np.where(wet & (at_hour.random(5_000) < 0.5), np.round(at_hour.exponential(0.1, 5_000), 2), 0.0)
    return {
        "event_time": np.array([START + int(h) * HOUR for h in hour])
        + random.integers(0, 3_600_000_000, count) * timedelta(microseconds=1),
        "temp": np.round(temperature[hour], 1),
        "rain": rain[hour],
        "wind": random.gamma(3, 4, count),
        "income": random.lognormal(3.5, 0.5, count),
        "age": random.integers(18, 80, count),
        "hour": hour % 24,
        "year": np.full(count, 2024),
        "seats": random.choice([2.0, 20.0, 55.0, 140.0, 182.0, 300.0], count),
        "region": random.choice(["north", "south", "east", "west"], count),
        "dest": random.choice([f"D{number}" for number in range(80)], count),
        "employed": random.random(count) < 0.7,
        "fraud": random.random(count) < 0.01,
        "capped": np.minimum(random.exponential(30, count), 100.0),
    }


def table(columns: Columns) -> pa.Table:
    spec = spec_of()
    kinds = {"number": pa.float64(), "integer": pa.int64(), "category": pa.string(), "boolean": pa.bool_()}
    arrays = {"event_time": pa.array(list(columns["event_time"]), pa.timestamp("us", tz="UTC"))}
    for feature in spec.features:
        arrays[feature.name] = pa.array(columns[feature.name].tolist(), kinds[feature.type], from_pandas=True)
    return pa.table(arrays)


TRAINING = table(world(24 * 40))
SOUND = soundness(spec_of(), TRAINING)


def found(
    change: Callable[[Columns], Any] | None = None,
    *,
    rule: FaultRule | None = None,
    seed: int = 1,
    hours: int = 48,
    before: tuple[int, ...] = (),
    sound: Soundness = SOUND,
    rows_an_hour: int = ROWS_AN_HOUR,
) -> tuple[Fault, ...]:
    first = 24 * 40
    columns = world(hours, seed, first, rows_an_hour)
    if change is not None:
        change(columns)
    end = START + (first + hours) * HOUR
    return find_faults(spec_of(rule), sound, TRAINING, table(columns), end, before)


def named(faults: tuple[Fault, ...]) -> set[tuple[str, str | None]]:
    return {(fault.kind, fault.column) for fault in faults}


def some(columns: Columns, name: str, value: Any, share: float) -> None:
    """Put a value into the first of some of the rows, drawn at random."""
    chosen = np.random.default_rng(3).random(len(columns[name])) < share
    columns[name] = np.where(chosen, value, columns[name])


FAULTY: dict[str, tuple[Callable[[Columns], Any], str, str | None]] = {
    "an income that is one value in half the rows": (lambda c: some(c, "income", 31.25, 0.5), "frozen", "income"),
    "a temperature that stands still": (lambda c: c.update(temp=np.full_like(c["temp"], 48.3)), "frozen", "temp"),
    "an age that stands still for a fifth of the time": (
        lambda c: c["age"].__setitem__(slice(0, 240), 40),
        "frozen",
        "age",
    ),
    "a short stand-still": (lambda c: c["wind"].__setitem__(slice(300, 380), 12.5), "frozen", "wind"),
    "one region only": (lambda c: c.update(region=np.full_like(c["region"], "north")), "frozen", "region"),
    "all employed": (lambda c: c.update(employed=np.ones_like(c["employed"])), "frozen", "employed"),
    "thousands": (lambda c: c.update(income=c["income"] * 1000), "units", "income"),
    "cents to units": (lambda c: c.update(income=c["income"] / 100), "units", "income"),
    "inches for centimetres": (lambda c: c.update(age=np.round(c["age"] * 2.54).astype(int)), "units", "age"),
    "any large factor": (lambda c: c.update(income=c["income"] * 77), "units", "income"),
    "Celsius": (lambda c: c.update(temp=(c["temp"] - 32) / 1.8), "units", "temp"),
    "Fahrenheit twice": (lambda c: c.update(temp=c["temp"] * 1.8 + 32), "units", "temp"),
    "zeros for unknown": (lambda c: some(c, "income", 0.0, 0.08), "default", "income"),
    "minus one for unknown": (lambda c: some(c, "rain", -1.0, 0.1), "default", "rain"),
    "999 for unknown": (lambda c: some(c, "age", 999, 0.06), "default", "age"),
    "unknown regions": (lambda c: some(c, "region", "Unknown", 0.1), "default", "region"),
    "dates of nought": (lambda c: some(c, "dest", "1900-01-01", 0.1), "default", "dest"),
    "rows sent twice": (
        lambda c: c.update({name: np.concatenate([values, values]) for name, values in c.items()}),
        "repeated_requests",
        None,
    ),
    "rows sent again an hour later": (
        lambda c: c.update(
            {
                name: np.concatenate([values[:600], values[:600] + (HOUR if name == "event_time" else 0)])
                if name == "event_time"
                else np.concatenate([values[:600], values[:600]])
                for name, values in c.items()
            }
        ),
        "duplicates",
        None,
    ),
    "no rows for a day": (lambda c: c.update({name: values[:400] for name, values in c.items()}), "stale", None),
}


@pytest.mark.parametrize("case", FAULTY)
def test_a_fault_is_found_and_nothing_else(case: str) -> None:
    """The kind, the column and the numbers; a fault in one column accuses no other."""
    change, kind, column = FAULTY[case]
    faults = found(change)
    assert named(faults) >= {(kind, column)}, faults
    assert {fault.column for fault in faults} == {column}, faults
    assert all(fault.detail and fault.rows for fault in faults)


def test_a_kind_can_be_turned_off_for_a_column_and_for_all() -> None:
    """What is natural in a column is said in the spec."""
    change = FAULTY["zeros for unknown"][0]
    assert named(found(change, rule=FaultRule(ignore={"income": ("default", "frozen")}))) == set()
    assert named(found(change, rule=FaultRule(default_share=None, frozen_share=None, frozen_run=None))) == set()
    twice = FAULTY["rows sent twice"][0]
    assert named(found(twice, rule=FaultRule(ignore={"*": ("duplicates", "repeated_requests")}))) == set()


HONEST: dict[str, Callable[[Columns], Any]] = {
    "nothing": lambda _: None,
    "incomes half as large again": lambda c: c.update(income=c["income"] * 1.5),
    "incomes twice as large": lambda c: c.update(income=c["income"] * 2),
    "incomes three times as large": lambda c: c.update(income=c["income"] * 3),
    "incomes by ten": lambda c: c.update(income=c["income"] + 10),
    "incomes far more unequal": lambda c: c.update(income=c["income"] ** 1.5),
    "a heat wave": lambda c: c.update(temp=c["temp"] + 35),
    "a cold wave": lambda c: c.update(temp=c["temp"] - 40),
    "a dry spell": lambda c: c.update(rain=np.zeros_like(c["rain"])),
    "a wet spell": lambda c: c.update(rain=np.round(c["wind"] / 40, 2)),
    "only the young": lambda c: c.update(age=18 + c["age"] % 8),
    "a new year": lambda c: c.update(year=c["year"] + 1),
    "a new plane": lambda c: some(c, "seats", 189.0, 0.25),
    "a new destination": lambda c: some(c, "dest", "D99", 0.5),
    "most from one region": lambda c: some(c, "region", "north", 0.9),
    "no fraud": lambda c: c.update(fraud=np.zeros_like(c["fraud"])),
    "much fraud": lambda c: c.update(fraud=~c["fraud"]),
    "more at the cap": lambda c: c.update(capped=np.minimum(c["capped"] * 4, 100.0)),
    "more missing": lambda c: some(c, "income", np.nan, 0.3),
}


@pytest.mark.parametrize("case", HONEST)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_honest_drift_is_no_fault(case: str, seed: int) -> None:
    """The world changed, the data is sound."""
    assert found(HONEST[case], seed=seed) == ()


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), hours=st.integers(8, 48), rows=st.integers(10, 60))
def test_windows_as_the_training_rows_are_no_fault(seed: int, hours: int, rows: int) -> None:
    """Short ones, and ones of more traffic, too."""
    assert found(seed=seed, hours=hours, rows_an_hour=rows) == ()


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), shift=st.floats(-3, 3), scale=st.floats(0.7, 1.5))
def test_no_shift_of_location_or_scale_is_taken_for_another_unit(seed: int, shift: float, scale: float) -> None:
    """Drift up to three standard deviations, of columns of any shape."""

    def change(columns: Columns) -> None:
        for name in ("wind", "capped"):
            values, middle = columns[name], columns[name].mean()
            columns[name] = middle + (values - middle) * scale + shift * values.std()

    assert found(change, seed=seed) == ()


def test_row_counts_are_held_against_the_spans_before() -> None:
    """A fifth, or five times as many, is a fault; one span before, or spans of few rows, say nothing."""
    assert named(found(before=(8_000, 7_000, 9_000))) == {("row_count", None)}
    assert named(found(before=(201, 202, 200))) == {("row_count", None)}
    assert found(before=(1_300, 700, 2_500)) == ()
    assert found(before=(8_000,)) == ()
    assert found(before=(8_000, 10, 0)) == ()


def test_a_day_of_windows_of_an_hour_is_sound() -> None:
    """In a window of an hour, the weather, the hour and the day stand still: so they did in training."""
    spec = spec_of(window=HOUR)
    sound = soundness(spec, TRAINING)
    for hour in range(24 * 40, 24 * 41):
        columns = world(1, seed=5, first=hour, rows_an_hour=250)
        end = START + (hour + 1) * HOUR
        assert find_faults(spec, sound, TRAINING, table(columns), end, ()) == (), hour


def test_an_empty_window_has_no_fault() -> None:
    """There are no rows to be broken."""
    spec = spec_of()
    assert find_faults(spec, SOUND, TRAINING, TRAINING.slice(0, 0), START, ()) == ()


def test_soundness_is_stored_and_read_again() -> None:
    """As JSON; the same rows give the same."""
    assert Soundness.model_validate_json(SOUND.model_dump_json()) == SOUND
    assert (
        soundness(spec_of(), TRAINING.take(np.random.default_rng(0).permutation(TRAINING.num_rows))).spans
        == SOUND.spans
    )


def test_the_rule_names_kinds_and_features() -> None:
    """A mistake in the spec is refused with what would be right."""
    with pytest.raises(ValueError, match=r"names \['melted'\]; it must name kinds"):
        FaultRule(ignore={"temp": ("melted",)})
    with pytest.raises(ValueError, match=r"policy.faults.ignore names \['tmp'\]; it must name features"):
        ModelSpec(**{**spec_of().model_dump(), "policy": {"faults": {"ignore": {"tmp": ("frozen",)}}}})
