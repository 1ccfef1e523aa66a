"""The policy as a machine: whatever windows, ends of runs, restarts and duplicates come, retraining stays bounded."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trimtab.decay.measurements import Measurements
from trimtab.decay.performance import Performance
from trimtab.decay.policy import IN_FLIGHT_FOR, History, held_back, retrain_cause_id
from trimtab.decay.policy import rule as judge
from trimtab.decay.policy.state import changes
from trimtab.models import load_model
from trimtab.records import (
    Action,
    BreakerClosed,
    Cause,
    FailedExpectation,
    Metric,
    Release,
    Retraining,
    Ruling,
    Validation,
)
from trimtab.settings import Settings
from trimtab.spec import DecayPolicy

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
LOAN = load_model(Settings.from_env({"TRIMTAB_MODELS_DIR": "tests/models"}).models_dir, "loan").spec
POLICY = DecayPolicy(
    performance_drop=0.05,
    minimum_outcomes=100,
    cooldown=timedelta(hours=12),
    budget=3,
    budget_period=timedelta(days=25),
    breaker=2,
)
SPEC = LOAN.model_copy(update={"policy": POLICY})
FIRST = Release(
    **{"id": "release-0", "model": "loan", "version": "1", "version_id": "v", "candidate_id": "c", "image_id": "i"},
    **{"artifact_digest": "0", "runtime": "process", "endpoint": "", "cause_id": "cause-0", "since": START},
)


def metric(value: float, half: float = 0.02) -> Metric:
    return Metric(name="log_loss", value=value, low=value - half, high=value + half, rows=400)


REFERENCE = metric(0.5)
BROKEN = Validation(
    **{"id": "validation-1", "model": "loan", "subject_id": "release-0", "suite": "loan", "suite_digest": "0"},
    **{"success": False, "expectations": 1, "rows": 1_000},
    failed=(FailedExpectation(expectation="nulls", column="age", expected="no null", observed="9 of 1000 rows"),),
)


def measured(kind: str, end: datetime) -> Measurements:
    """A window on which that is so."""
    value = {"lost": 0.7, "band": 0.548, "broken and lost": 0.7}.get(kind, 0.5)
    worse = metric(0.1) if kind == "worse" else None
    outcomes = 50 if kind == "immature" else 400
    performance = Performance(
        mature=400,
        outcomes=outcomes,
        metrics={"log_loss": metric(value)},
        reference=REFERENCE,
        against_predecessor=worse,
    )
    return Measurements(
        start=end - LOAN.window,
        end=end,
        as_of=end,
        rows=10 if kind == "few" else 1_000,
        performance=performance,
        validation=BROKEN if kind.startswith("broken") else None,
    )


class Policy(RuleBasedStateMachine):
    """What is known is kept twice: as records, which the policy sees, and as plain facts, which it is held against."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.release = FIRST
        self.history = History()
        self.recorded: list[Ruling] = []
        self.in_flight: dict[str, datetime] = {}
        self.last_act = START - timedelta(days=365)
        self.starts: list[datetime] = []
        self.in_vain: list[str] = []
        self.is_open = False
        self.shuffle = random.Random(0)

    @rule(
        hours=st.integers(1, 60),
        kind=st.sampled_from(
            ["calm", "lost", "lost", "lost", "band", "broken", "broken and lost", "worse", "few", "immature"]
        ),
        twice=st.booleans(),
    )
    def window(self, hours: int, kind: str, twice: bool) -> None:
        self.now += hours * HOUR
        window = measured(kind, self.now)
        ruling = judge(SPEC, self.release, window, self.history)
        assert judge(SPEC, self.release, window, self._shuffled()) == ruling
        if ruling.action is Action.RETRAIN:
            self._may_retrain(kind)
        assert ruling.action is Action.BLOCK or not kind.startswith("broken")
        self._keep(ruling)
        if twice:
            # Judged again once the first ruling is on record, as two watches at once or a restart would.
            assert judge(SPEC, self.release, window, self.history) == ruling

    def _may_retrain(self, kind: str) -> None:
        assert kind == "lost"
        assert not any(self.now - since < IN_FLIGHT_FOR for since in self.in_flight.values())
        assert self.now - self.last_act >= POLICY.cooldown
        assert sum(self.now - start < POLICY.budget_period for start in self.starts) < POLICY.budget
        assert not self.is_open

    def _keep(self, ruling: Ruling) -> None:
        self.recorded.append(ruling)
        self._add(rulings=(*self.history.rulings, ruling))
        if ruling.action is Action.RETRAIN:
            self.in_flight[ruling.id] = self.now
            self.starts.append(self.now)
        if ruling.action in (Action.RETRAIN, Action.ROLLBACK):
            self.last_act = self.now

    @precondition(lambda self: self.in_flight)
    @rule(won=st.booleans(), hours=st.integers(1, 30))
    def retrain_ends(self, won: bool, hours: int) -> None:
        asked = next(iter(self.in_flight))
        del self.in_flight[asked]
        self.now += hours * HOUR
        if won:
            self.release = self.release.model_copy(update={"id": f"release-{asked}"})
        ended = Retraining(
            **{"id": f"retraining-{asked}", "model": "loan", "cause_id": retrain_cause_id(asked), "trigger": "decay"},
            **{"decision_id": "decision-1", "release_id": self.release.id if won else None, "as_of": self.now},
        )
        self._add(retrainings=(*self.history.retrainings, ended))
        self.last_act = self.now
        if won and not self.is_open:
            self.in_vain = []
        if not won:
            self.in_vain.append(ended.id)
            self.is_open = self.is_open or len(self.in_vain) >= POLICY.breaker

    @rule(hours=st.integers(1, 30))
    def a_person_rolls_back(self, hours: int) -> None:
        self.now += hours * HOUR
        why = Cause(id=f"cause-{self.now}", model="loan", trigger="rollback", reason="complaints", as_of=self.now)
        self.release = self.release.model_copy(update={"id": f"release-{self.now}"})
        self._add(rollbacks=(*self.history.rollbacks, why))
        self.last_act = self.now

    @precondition(lambda self: self.is_open)
    @rule()
    def a_person_closes_the_breaker(self) -> None:
        closing = BreakerClosed(
            **{
                "id": f"closed-{self.in_vain[-1]}",
                "model": "loan",
                "retraining_id": self.in_vain[-1],
                "reason": "seen",
            },
            **{"closed_by": "Ada", "closed_at": self.now, "as_of": self.now},
        )
        self._add(closings=(*self.history.closings, closing))
        self.is_open, self.in_vain = False, []

    @rule()
    def restart(self) -> None:
        """All that is known comes back from JSON, in any order."""
        self.history = History.model_validate_json(self._shuffled().model_dump_json())

    @invariant()
    def an_open_breaker_holds_every_retraining_back(self) -> None:
        if self.is_open:
            assert held_back(SPEC, self.now + timedelta(days=365), self.history) is not None

    @invariant()
    def changes_are_changes_and_later_rulings_leave_them_alone(self) -> None:
        found = list(changes(self.recorded))
        assert all(change.before != change.after for change in found)
        assert all(b.before == a.after for a, b in itertools.pairwise(found))
        assert list(changes(self.recorded[:-1])) == [one for one in found if one.ruling in self.recorded[:-1]]

    def _add(self, **changed: Any) -> None:
        self.history = self.history.model_copy(update=changed)

    def _shuffled(self) -> History:
        def mixed(records: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(self.shuffle.sample(records, len(records)))

        return History(**{name: mixed(getattr(self.history, name)) for name in History.model_fields})


TestPolicy = Policy.TestCase
TestPolicy.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
