"""Records survive the way to JSON and back, and their ids follow from what they state."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from trimtab.records import RECORDS, Action, Metric, Ruling, Signal, content_id, higher_is_better

numbers = st.floats(allow_nan=False)
times = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1)).map(  # noqa: DTZ001
    lambda time: time.replace(tzinfo=UTC)
)
signals = st.builds(
    Signal, name=st.text(), value=numbers, threshold=numbers, breached=st.booleans(), rows=st.integers(min_value=0)
)
rulings = st.builds(
    Ruling,
    id=st.text(min_size=1),
    model=st.text(),
    release_id=st.text(),
    validation_id=st.none() | st.text(),
    start=times,
    end=times,
    as_of=times,
    action=st.sampled_from(Action),
    reason=st.text(),
    signals=st.lists(signals, max_size=3).map(tuple),
    policy_digest=st.text(),
)


@given(rulings)
def test_a_ruling_comes_back_from_json_as_it_was(ruling: Ruling) -> None:
    assert Ruling.model_validate_json(ruling.model_dump_json()) == ruling


@given(numbers, numbers, numbers)
def test_a_metric_comes_back_from_json_to_the_last_bit(value: float, low: float, high: float) -> None:
    metric = Metric(name="log_loss", value=value, low=low, high=high, rows=3)
    assert Metric.model_validate_json(metric.model_dump_json()) == metric


@given(st.lists(st.text()), st.lists(st.text()))
def test_ids_are_equal_exactly_where_content_is(one: list[str], other: list[str]) -> None:
    assert (content_id("x", one) == content_id("x", other)) == (one == other)


def test_every_kind_of_record_has_a_name_of_its_own() -> None:
    assert all(RECORDS[kind].kind == kind for kind in RECORDS)


def test_a_metrics_name_tells_its_direction() -> None:
    assert [higher_is_better(name) for name in ("roc_auc", "log_loss", "mean_absolute_error", "r2_score")] == [
        True,
        False,
        False,
        True,
    ]
