"""Outcomes that stand still are a fault, never a lost model; a base rate that really changed is no such fault."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.test_backtest import DAY, END, SETTINGS, START, history, replayed
from trimtab.backtest.rows import PastRows
from trimtab.decay.atoms import Fault
from trimtab.decay.reference import OUTCOME
from trimtab.decay.soundness import ColumnSoundness, Soundness
from trimtab.decay.stuck_outcomes import find_stuck_outcomes, least_run
from trimtab.records import Action
from trimtab.spec import DecayPolicy, FaultRule, Feature, ModelSpec, Target, Trainer
from trimtab.training.windows import blocked_spans

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
ROWS = 10_000


def spec_of(kind: str = "binary", **rule: Any) -> ModelSpec:
    classes = {"classes": ("early", "on_time", "late")} if kind == "multiclass" else {}
    return ModelSpec(
        name="loan",
        source="data:load",
        target=Target.model_validate({"name": "late", "kind": kind, **classes}),
        features=(Feature(name="x", type="number"),),
        suite="loan",
        trainers=(Trainer(name="one", function="training:one"),),
        policy=DecayPolicy(faults=FaultRule(**rule)),
    )


def sound(longest_run: int = 0, top_share: float = 0.0, rows: int = ROWS) -> Soundness:
    target = ColumnSoundness(column="late", longest_run=longest_run, top_share=top_share)
    return Soundness(
        **{"spans": 9, "rows": rows, "block": rows, "repeated": 0.0, "repeated_requests": 0.0, "longest_gap_s": 1.0},
        **{"columns": (), "outcomes": target if longest_run else None},
    )


def drawn(rate: float, rows: int, seed: int = 0) -> np.ndarray:
    """Outcomes of which that share is 1."""
    return (np.random.default_rng(seed).random(rows) < rate).astype(float)


def found(
    outcomes: np.ndarray, judged: np.ndarray, spec: ModelSpec | None = None, known: Soundness | None = None
) -> tuple[Fault, ...]:
    """Faults of outcomes a minute apart, given in an order that is not that of time."""
    times = pa.array(
        [NOON + minute * timedelta(minutes=1) for minute in range(len(outcomes))], pa.timestamp("us", "UTC")
    )
    mixed = np.random.default_rng(5).permutation(len(outcomes))
    table = pa.table({"event_time": times, OUTCOME: outcomes}).take(mixed)
    return find_stuck_outcomes(
        spec or spec_of(), known or sound(), judged, table["event_time"], table[OUTCOME].to_numpy()
    )


def test_a_window_whose_outcomes_are_all_the_default_is_broken() -> None:
    """The fault says what stands still, for how long, and how it was before."""
    (fault,) = found(np.zeros(ROWS), drawn(0.2, 50_000))
    assert (fault.kind, fault.column, fault.value, fault.rows) == ("stuck_outcomes", "late", ROWS, ROWS)
    assert fault.value >= fault.threshold
    assert fault.detail.startswith("late is 0 in 10,000 mature rows in a row, of 10,000, and was so in 79.97% of the")


@pytest.mark.parametrize("at", [0, ROWS // 2, ROWS - 1_500])
def test_a_feed_that_stood_still_for_a_part_of_the_window_is_broken(at: int) -> None:
    """It need not have begun before the window, nor last until its end."""
    outcomes = drawn(0.2, ROWS, 1)
    outcomes[at : at + 1_500] = 0
    (fault,) = found(outcomes, drawn(0.2, 50_000))
    assert 1_500 <= fault.value < 1_600


@pytest.mark.parametrize(
    ("before", "now"),
    [(0.2, 0.6), (0.6, 0.2), (0.02, 0.005), (0.02, 0.002), (0.005, 0.02), (0.2, 0.03), (0.5, 0.9), (0.2, 0.2)],
)
def test_a_base_rate_that_changed_is_no_fault(before: float, now: float) -> None:
    """For the whole window, or from its middle on; small windows and large ones."""
    judged = drawn(before, 50_000)
    for seed, rows in enumerate((300, 1_000, 10_000, 100_000), 1):
        assert found(drawn(now, rows, seed), judged) == ()
        assert found(np.r_[drawn(before, rows, seed), drawn(now, rows, seed + 9)], judged) == ()


def test_a_rare_outcome_that_a_window_lacks_by_chance_is_no_fault() -> None:
    """Of 2 %, 400 rows without any are no wonder after the rate fell to a quarter; 10,000 are."""
    judged = drawn(0.02, 50_000)
    assert found(np.zeros(400), judged) == ()
    assert len(found(np.zeros(10_000), judged)) == 1


def test_what_comes_in_clusters_is_held_against_the_references_longest_run() -> None:
    """Nights without a delay: three times the longest of them is allowed, in as many more rows as there are."""
    outcomes = drawn(0.2, ROWS, 1)
    outcomes[2_000:4_000] = 0
    judged = drawn(0.2, 50_000)
    assert len(found(outcomes, judged, known=sound(600))) == 1
    assert found(outcomes, judged, known=sound(700)) == ()
    assert found(outcomes, judged, known=sound(350, rows=ROWS // 2)) == ()


def test_a_short_burst_of_a_rare_outcome_is_no_fault() -> None:
    """An attack of a hundred frauds in a row is one, not a broken feed, unless it fills a tenth of the window."""
    outcomes = drawn(0.01, ROWS, 1)
    outcomes[500:600] = 1
    assert found(outcomes, drawn(0.01, 50_000)) == ()
    assert len(found(outcomes[:1_000], drawn(0.01, 50_000))) == 1


def test_of_several_classes_the_one_that_stands_still_is_named() -> None:
    """A class by its name; one that is common already may go on."""
    judged = np.random.default_rng(0).choice(3, 50_000, p=[0.2, 0.7, 0.1]).astype(float)
    (fault,) = found(np.full(ROWS, 2.0), judged, spec_of("multiclass"))
    assert "late is 'late' in 10,000 mature rows" in fault.detail
    changed = np.random.default_rng(1).choice(3, ROWS, p=[0.03, 0.95, 0.02]).astype(float)
    assert found(changed, judged, spec_of("multiclass")) == ()


def test_of_a_regression_one_value_in_most_rows_is_broken_unless_it_was_common() -> None:
    """Also where it never fills a run; a rain gauge that is dry on most days is none."""
    random, spec = np.random.default_rng(2), spec_of("regression")
    judged, outcomes = random.gamma(2, 10, 50_000), random.gamma(2, 12, ROWS)
    assert found(outcomes, judged, spec) == ()
    outcomes[random.random(ROWS) < 0.8] = 0
    (fault,) = found(outcomes, judged, spec)
    assert (fault.value, fault.threshold) == (pytest.approx(0.8, abs=0.02), 0.5)
    assert "late is 0 in 79.9% of 10,000 mature rows" in fault.detail
    assert len(found(np.zeros(ROWS), judged, spec)) == 1
    dry = np.where(random.random(50_000) < 0.4, 0.0, judged)
    assert found(outcomes, dry, spec) == ()
    assert found(outcomes, judged, spec, sound(9, top_share=0.3)) == ()


def test_the_fault_is_asked_for_by_the_spec_and_only_where_performance_is_judged() -> None:
    """Turned off, named as natural, or with too few outcomes, nothing is said."""
    judged, stuck = drawn(0.2, 50_000), np.zeros(1_000)
    assert found(stuck, judged)
    assert found(stuck, judged, spec_of(outcome_chance=None)) == ()
    assert found(stuck, judged, spec_of(ignore={"*": ("stuck_outcomes",)})) == ()
    assert found(stuck, judged, spec_of(outcome_odds=100.0)) == ()
    assert found(np.ones(299), judged) == ()


def test_the_least_run_is_that_of_the_union_bound() -> None:
    """The chance that such a run begins anywhere is the one that was asked for."""
    length = least_run(1e-9, 5.0, 0.8, ROWS)
    assert ROWS * (20 / 21) ** length == pytest.approx(1e-9)


BROKEN = (START + 41 * DAY, START + 53 * DAY)
"""Long before the world of that history turns; every edge of a window is a week apart."""


def broken_feed(*settings: str, broken: tuple[datetime, datetime] = BROKEN) -> PastRows:
    """A history whose outcomes are 0 for twelve days."""
    rows = history(settings=(*SETTINGS, "policy.metric=log_loss", "policy.cooldown=1d", *settings))
    name, times = rows.spec.target.name, rows.table[rows.spec.event_time].to_pylist()
    still = [0.0 if broken[0] <= time.replace(tzinfo=UTC) < broken[1] else None for time in times]
    told = [value if stuck is None else stuck for value, stuck in zip(rows.table[name].to_pylist(), still, strict=True)]
    at = rows.table.column_names.index(name)
    return PastRows(rows.spec, rows.table.set_column(at, name, pa.array(told, rows.table[name].type)))


def test_a_broken_feed_of_outcomes_blocks_what_it_told_of_and_retrains_nothing() -> None:
    """BLOCK by the windows that it judged; their rows train nothing, those that came meanwhile do once they mature.
    Without the fault these outcomes retrain."""
    assert "RETRAIN" in replayed(broken_feed("policy.faults.outcome_chance=null"), end=START + 60 * DAY).actions
    rows = broken_feed()
    rulings = [one.ruling for one in replayed(rows, end=START + 60 * DAY).windows]
    blocked = [one for one in rulings if one.action is Action.BLOCK]
    assert blocked
    assert {one.action for one in rulings} == {Action.BLOCK, Action.NONE}, [one.reason for one in rulings]
    assert "the outcomes stand still, so that they neither judge the model nor train one: y is 0" in blocked[0].reason
    assert not any(one.breached for one in blocked[0].signals if not one.name.startswith("fault."))
    assert not any(one.name.startswith(("performance.", "skill.")) for one in blocked[0].signals)
    left_out = blocked_spans((), rulings, (), rulings[-1].as_of)
    maturity = rows.spec.label_maturity
    assert [(one.start, one.end) for one in left_out] == [(one.start - maturity, one.end - maturity) for one in blocked]
    assert left_out[0].start <= BROKEN[0]
    assert left_out[-1].end >= BROKEN[1]


def test_a_history_that_is_not_broken_rules_as_before() -> None:
    """The same history with its own outcomes blocks nothing, also where the world turns."""
    assert "BLOCK" not in replayed(history(), end=END).actions
