"""The policy on public data whose course is known: it acts when performance falls, and only then."""

from __future__ import annotations

import pytest

from benchmarks.backtest import NANNYML, car_loan, employment
from trimtab.backtest.results import Backtest
from trimtab.decay.signals.names import ESTIMATED, PERFORMANCE
from trimtab.records import Action

FIRST_WORSE = 5
"""Performance falls from the sixth chunk on; its outcomes are known a chunk later."""

pytestmark = pytest.mark.skipif(not NANNYML.is_dir(), reason=f"NannyML's data is not at {NANNYML}")


def acted(found: Backtest, prefix: str) -> list[int]:
    """Windows that a breached signal of that family made RETRAIN."""
    return [
        at
        for at, one in enumerate(found.windows)
        if one.ruling.action is Action.RETRAIN
        and any(signal.breached and signal.name.startswith(prefix) for signal in one.ruling.signals)
    ]


@pytest.fixture(scope="module")
def loans() -> Backtest:
    """Ten chunks whose outcomes come a chunk later."""
    return car_loan()


def test_the_car_loan_is_retrained_once_its_outcomes_show_the_fall_and_not_before(loans: Backtest) -> None:
    """The chunk after the first worse one is the first whose mature outcomes are worse."""
    on_outcomes = acted(loans, PERFORMANCE)
    assert on_outcomes
    assert on_outcomes[0] == FIRST_WORSE + 1
    assert not [one for one in loans.windows[:FIRST_WORSE] if one.ruling.action is not Action.NONE]


def test_the_fall_of_the_car_loan_is_told_in_the_chunk_that_it_begins_with(loans: Backtest) -> None:
    """No outcome of that chunk is known: the estimate alone is breached, and once in a row it alerts."""
    first = loans.windows[FIRST_WORSE].ruling
    breached = {one.name.partition(".")[0] + "." for one in first.signals if one.breached}
    assert ESTIMATED in breached
    assert PERFORMANCE not in breached
    assert first.action is Action.ALERT
    assert "expected to be lost, before outcomes are known" in first.reason


def test_where_outcomes_are_late_the_estimate_retrains_before_them() -> None:
    """Outcomes come three chunks later: the second chunk in a row that is expected to be worse retrains."""
    found = car_loan(settings=("label_maturity=90d",))
    assert acted(found, ESTIMATED)[0] == FIRST_WORSE + 1
    assert acted(found, PERFORMANCE)[0] > FIRST_WORSE + 1
    assert not [one for one in found.windows[:FIRST_WORSE] if one.ruling.action is not Action.NONE]


def test_the_corrupted_car_loan_is_blocked_and_never_retrained() -> None:
    """Its reference lacks a tenth of two columns, as the first half does; from the sixth chunk on it is a fifth."""
    found = car_loan("_dq")
    assert [one.ruling.action for one in found.windows] == [Action.NONE] * FIRST_WORSE + [Action.BLOCK] * 5
    for one in found.windows[FIRST_WORSE:]:
        broken = {signal.name for signal in one.ruling.signals if signal.breached}
        assert {"null_rise.salary_range", "null_rise.driver_tenure"} <= broken


def test_employment_whose_performance_holds_is_never_retrained() -> None:
    """Twelve quarters, each judged on more than 17,000 outcomes.

    A year's rows lie by place and not by time, and no time within the year is known: it is drawn at random. In the
    file's order two chunks of 5,000 really fall, to a realised AUC of .803 and .864, since they hold other people than
    the rest; a retraining there would be no false one, so that order cannot tell whether the policy keeps still.
    """
    found = employment()
    assert len(found.windows) == 12
    assert {one.ruling.action for one in found.windows} <= {Action.NONE, Action.ALERT}
    assert not acted(found, PERFORMANCE) + acted(found, ESTIMATED)
