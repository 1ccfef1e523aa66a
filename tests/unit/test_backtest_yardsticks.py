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


def test_the_car_loan_is_retrained_once_its_outcomes_show_the_fall_and_not_before() -> None:
    """The chunk after the first worse one is the first whose mature outcomes are worse."""
    found = car_loan()
    on_outcomes = acted(found, PERFORMANCE)
    assert on_outcomes
    assert on_outcomes[0] == FIRST_WORSE + 1
    assert not [one for one in found.windows[:FIRST_WORSE] if one.ruling.action in (Action.RETRAIN, Action.BLOCK)]


def test_employment_whose_performance_holds_is_never_retrained() -> None:
    """Twelve quarters, each judged on more than 17,000 outcomes."""
    found = employment()
    assert len(found.windows) == 12
    assert {one.ruling.action for one in found.windows} <= {Action.NONE, Action.ALERT}
    assert not acted(found, PERFORMANCE) + acted(found, ESTIMATED)
