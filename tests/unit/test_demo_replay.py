"""The order of the replay: every flight once, no outcome before it was known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.replay import Calendar, Step
from trimtab.predictions.schema import microseconds

START = datetime(2013, 3, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
SECOND = 1_000_000


@st.composite
def flights(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Departures over four weeks, and when each outcome became known (0: never), be it at once."""
    offsets = draw(st.lists(st.integers(0, 4 * 7 * 86_400 - 1), min_size=1, max_size=60))
    waits = draw(st.lists(st.none() | st.integers(0, 3 * 86_400), min_size=len(offsets), max_size=len(offsets)))
    event_time = microseconds(START) + np.sort(np.array(offsets, dtype=np.int64)) * SECOND
    known_at = np.array(
        [0 if wait is None else int(at) + wait * SECOND for at, wait in zip(event_time, waits, strict=True)]
    )
    return event_time, known_at


def replayed(rows: tuple[np.ndarray, np.ndarray], weeks: int = 5) -> list[Step]:
    calendar = Calendar(*rows)
    return [step for week in range(weeks) for step in calendar.steps(START + week * WEEK, START + (week + 1) * WEEK)]


@given(flights())
def test_every_flight_is_asked_about_once_and_in_order(rows: tuple[np.ndarray, np.ndarray]) -> None:
    """The flights of all steps together are all flights, in order of departure, none before its step's clock."""
    steps = replayed(rows)
    assert [row for step in steps for row in step.flights] == list(range(len(rows[0])))
    assert all(rows[0][row] >= step.clock for step in steps for row in step.flights)


@given(flights())
def test_no_outcome_is_told_before_it_was_known_or_its_flight_was_asked_about(
    rows: tuple[np.ndarray, np.ndarray],
) -> None:
    """At a step's clock each of its outcomes was known, and its flight was in an earlier step."""
    asked: set[int] = set()
    for step in replayed(rows):
        assert all(0 < rows[1][row] <= step.clock and row in asked for row in step.outcomes)
        asked.update(step.flights)


@given(flights())
def test_every_outcome_is_told_once(rows: tuple[np.ndarray, np.ndarray]) -> None:
    """Every outcome that became known is told exactly once, and those that never did are not told."""
    told = [int(row) for step in replayed(rows) for row in step.outcomes]
    end = microseconds(START + 5 * WEEK)
    assert sorted(told) == [row for row, known in enumerate(rows[1]) if 0 < known <= end]


@given(flights())
def test_a_week_ends_with_all_that_is_known_by_then(rows: tuple[np.ndarray, np.ndarray]) -> None:
    """When a week is watched, every outcome that was known by its end has been told."""
    calendar, told = Calendar(*rows), set()
    for week in range(4):
        end = START + (week + 1) * WEEK
        for step in calendar.steps(end - WEEK, end):
            told.update(step.outcomes.tolist())
        known = {row for row, at in enumerate(rows[1]) if 0 < at <= microseconds(end)}
        # One that is known in the very moment of its departure waits for its flight, which is in the week to come.
        assert known - told <= {row for row in known if rows[0][row] >= microseconds(end)}


def test_flights_out_of_order_are_refused() -> None:
    """Rows that are not in order of departure are no calendar."""
    with pytest.raises(ValueError, match="must not fall"):
        Calendar(np.array([2, 1]), np.array([0, 0]))
