"""Every family of signals has its action, with hand-made signals; a breach is left by a margin; the breaker waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from tests.unit.test_decay_policy import (
    DAY,
    HELD,
    LOST,
    NOW,
    RELEASE,
    SPEC,
    WORSE,
    drift,
    performance,
    policy,
    retraining,
    ruled,
    window,
)
from trimtab.decay.calibration import calibration_error
from trimtab.decay.measurements import Measurements
from trimtab.decay.policy import History, breaker, rule
from trimtab.decay.policy.state import State, changes
from trimtab.decay.signals import names
from trimtab.records import Action, BreakerClosed, Cause, Metric, Ruling, Signal
from trimtab.spec import ModelSpec

SOUND = Signal(name="rows", value=1_000, threshold=200, breached=False, rows=1_000)
OUTCOMES = Signal(name="outcomes", value=20, threshold=100, breached=True, rows=500)


def signal(name: str, value: float = 0.4, threshold: float = 0.2, breached: bool = True, **other: Any) -> Signal:
    return Signal(**{"name": name, "value": value, "threshold": threshold, "breached": breached, "rows": 900} | other)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Rule on these signals, whatever was measured."""

    def ruled_on(*found: Signal, history: History | None = None, end: datetime = NOW, spec: ModelSpec = SPEC) -> Ruling:
        monkeypatch.setattr("trimtab.decay.policy.judge.signals", lambda _spec, _window, _earlier: (SOUND, *found))
        return rule(spec, RELEASE, Measurements(start=end - DAY, end=end, as_of=end, rows=1_000), history or History())

    return ruled_on


@pytest.mark.parametrize(
    ("name", "action", "because"),
    [
        ("fault.frozen.temp", Action.BLOCK, "the incoming data is broken: temp has one value in 40.0% of rows"),
        ("fault.units.temp", Action.BLOCK, "the incoming data is broken: temp came as if in another unit"),
        ("fault.default.temp", Action.BLOCK, "temp has a value that stands for none in 40.0% of rows"),
        ("fault.duplicates", Action.BLOCK, "the incoming data is broken: 40.0% of rows are duplicates"),
        ("fault.repeated_requests", Action.BLOCK, "40.0% of rows are repeated requests"),
        ("fault.row_count", Action.BLOCK, "the incoming data is broken: 0 rows came"),
        ("fault.stale", Action.BLOCK, "the incoming data is broken: no row came for 0.4 hours"),
        ("fault.tomorrow.temp", Action.BLOCK, "the incoming data is broken: tomorrow.temp 0.4, limit 0.2"),
        ("drift.income", Action.ALERT, "drift of income: PSI 0.4, limit 0.2"),
        ("slow_drift.income", Action.ALERT, "slow drift over several windows: income: gathered evidence 0.4"),
        (
            "multivariate_drift",
            Action.ALERT,
            "drifted: a classifier tells the rows from those at training with an AUC of 0.4",
        ),
        ("fault.stuck_outcomes.repaid", Action.BLOCK, "the outcomes stand still, so that they neither judge the model"),
        ("slice.origin.JFK", Action.ALERT, "performance is lost on a slice: origin.JFK 0.4"),
        ("calibration_error", Action.ALERT, "no longer calibrated: calibration_error 0.4"),
        ("group.true_positive_rate.origin", Action.ALERT, "groups fare differently: true_positive_rate.origin 0.4"),
        ("anomalies", Action.ALERT, "40.00% of 900 rows lie outside the training distribution; 20.00% is the limit"),
        ("a_family_of_tomorrow.x", Action.ALERT, "out of its limits: a_family_of_tomorrow.x 0.4, limit 0.2"),
        ("drift.score", Action.ALERT, "drift of score: PSI 0.4, limit 0.2"),
        ("drifted_importance", Action.ALERT, "what drifted carries 40% of the features' importance to the model; 20%"),
    ],
)
def test_each_family_has_its_action_and_its_sentence(given: Any, name: str, action: Action, because: str) -> None:
    """One breached signal decides, and a family that this version does not know is not passed over in silence."""
    found = given(signal(name))
    assert found.action is action
    assert because in found.reason
    assert given(signal(name, breached=False)).action is Action.NONE


def test_a_fault_goes_before_all_that_is_measured_on_broken_data(given: Any) -> None:
    assert given(signal("performance.log_loss"), signal("fault.unit.temp")).action is Action.BLOCK


def test_many_of_a_family_are_named_as_a_few_and_counted(given: Any) -> None:
    found = given(*(signal(f"drift.f{number}") for number in range(5)))
    assert found.reason.count("limit") == 3
    assert found.reason.endswith("; and 2 more")


def test_an_expected_loss_retrains_by_its_own_persistence_and_says_that_it_is_expected(given: Any) -> None:
    """By default two of the last three windows, where a loss that was seen needs but one."""
    expected = signal("estimated.log_loss", 0.7, 0.55, low=0.6, high=0.8)
    first = given(expected, end=NOW - DAY)
    assert first.action is Action.ALERT
    assert "performance is expected to be lost, before outcomes are known: log_loss is estimated at 0.7" in first.reason
    second = given(expected, history=History(rulings=(first,)))
    assert (second.action, "in 2 of the last 3 windows" in second.reason) == (Action.RETRAIN, True)


def test_a_breach_is_left_only_by_a_margin(given: Any) -> None:
    """Alarmed at 0.25, still so at 0.19, over at 0.17, and 0.19 does not bring it back."""
    before, found = History(), []
    for day, (value, breached) in enumerate([(0.19, False), (0.25, True), (0.19, False), (0.17, False), (0.19, False)]):
        ruling = given(signal("drift.age", value, breached=breached), history=before, end=NOW + day * DAY)
        before = History(rulings=(*before.rulings, ruling))
        found.append((ruling.action, ruling.signals[-1].held))
    calm, held = (Action.NONE, False), (Action.ALERT, True)
    assert found == [calm, (Action.ALERT, False), held, calm, calm]
    assert "and is not well back yet" in before.rulings[2].reason


MARGINS = [
    ("null_rise.age", 0.2, 0.19, 0.17),
    ("drift.age", 0.2, 0.19, 0.17),
    ("drift.score", 0.2, 0.19, 0.17),
    ("drifted_share", 0.5, 0.46, 0.44),
    ("drifted_importance", 0.5, 0.46, 0.44),
    ("slow_drift.age", 10.0, 9.1, 8.9),
    ("multivariate_drift", 0.6, 0.595, 0.585),
    ("missing_outcomes", 0.5, 0.46, 0.44),
    ("performance.log_loss", 0.55, 0.548, 0.543),
    ("performance.roc_auc", 0.7, 0.702, 0.707),
    ("estimated.log_loss", 0.55, 0.548, 0.543),
    ("estimated.roc_auc", 0.7, 0.702, 0.707),
    ("slice.region.south", 0.55, 0.535, 0.525),
    ("calibration_error", 0.12, 0.117, 0.113),
    ("selection_ratio.region", 0.8, 0.81, 0.83),
    ("group.true_positive_rate.region", 0.2, 0.19, 0.17),
    ("anomalies", 0.03, 0.028, 0.026),
]
"""Family, threshold, a value within the margin, and one that is well back."""
AT_EVALUATION = {
    **{"performance.log_loss": 0.52, "performance.roc_auc": 0.73, "slice.region.south": 0.35},
    **{"estimated.log_loss": 0.52, "estimated.roc_auc": 0.73},
}
WITHOUT_MARGIN = (
    "rows",
    "failed_expectations",
    "fault.",
    "fault.stuck_outcomes.",
    "outcomes",
    "estimation_error.",
    "against_predecessor.",
    "breaker",
    "skill.",
)
WIDE_CALIBRATION = policy(
    calibration=SPEC.policy.calibration.model_copy(update={"maximum_rise": 0.05}),
)


@pytest.mark.parametrize(("name", "threshold", "inside", "outside"), MARGINS)
def test_the_margin_is_a_share_of_the_way_back_to_calm(
    given: Any, name: str, threshold: float, inside: float, outside: float
) -> None:
    """Calm is 1 for a ratio, one half for an AUC, the value at evaluation for a metric (whichever way it gets better)
    and for calibration, else 0."""
    calm = AT_EVALUATION.get(name)
    entered = given(signal(name, threshold, threshold, calm=calm), end=NOW - DAY, spec=WIDE_CALIBRATION)
    history = History(rulings=(entered,))
    for value, held in ((inside, True), (outside, False), (float("nan"), False)):
        measured = signal(name, value, threshold, breached=False, calm=calm)
        found = given(measured, history=history, spec=WIDE_CALIBRATION)
        assert found.signals[-1].breached is held, value


def test_every_family_has_its_margin_or_none() -> None:
    """One that is added has to say where it is calm."""
    known = {value for name, value in vars(names).items() if name.isupper()}
    assert known == {family for family in known if any(one[0].startswith(family) for one in MARGINS)} | {
        *WITHOUT_MARGIN
    }


@pytest.mark.parametrize(
    ("name", "threshold", "value", "calm", "away"),
    [
        ("calibration_error", 0.12, 0.118, (0.069, 0.17), (0.071, 0.17)),
        ("selection_ratio.region", 0.8, 0.7, (0.5, 1.01), (0.5, 0.99)),
        ("group.calibration.region", 0.2, 0.3, (0.0, 0.5), (0.01, 0.5)),
    ],
)
def test_what_is_away_from_calm_by_chance_is_held_only_while_its_interval_is(
    given: Any, name: str, threshold: float, value: float, calm: tuple[float, float], away: tuple[float, float]
) -> None:
    """With few rows a sound model's value would hold its alert for ever."""
    history = History(rulings=(given(signal(name, value, threshold), end=NOW - DAY, spec=WIDE_CALIBRATION),))
    for (low, high), held in ((calm, False), (away, True)):
        measured = signal(name, value, threshold, breached=False, low=low, high=high)
        assert given(measured, history=history, spec=WIDE_CALIBRATION).signals[-1].held is held


def calibration(scores: np.ndarray, true: np.ndarray, random: np.random.Generator) -> Metric:
    """The error of scores whose outcomes come true as often as ``true`` says."""
    found = calibration_error(scores, (random.random(len(scores)) < true).astype(float))
    assert found is not None
    return found


@pytest.mark.parametrize("rows", [200, 300, 1_000, 5_000])
def test_a_calibrated_model_does_not_alert_and_leaves_an_alert_at_once(rows: int) -> None:
    """Scores that always come true when above one half alert; of 120 calibrated windows right after that, none alerts
    by itself, and no more stay in the alert than the interval's 5 %."""
    random, spec = np.random.default_rng(rows), WIDE_CALIBRATION
    scores = random.beta(2, 2, size=(5_000 + rows * 121,))
    reference = calibration(scores[:5_000], scores[:5_000], random)
    first, *others = scores[5_000:].reshape(121, rows)

    def judged(error: Metric, end: datetime, history: History) -> Ruling:
        of_window = performance(calibration_error=error, reference_calibration_error=reference)
        return ruled(window(end, performance=of_window), history, spec)

    off = judged(calibration(first, (first > 0.5).astype(float), random), NOW, History())
    assert (off.action, "no longer calibrated" in off.reason) == (Action.ALERT, True)
    after = [judged(calibration(one, one, random), NOW + DAY, History(rulings=(off,))) for one in others]
    signals = [one for ruling in after for one in ruling.signals if one.name == "calibration_error"]
    assert not any(one.breached and not one.held for one in signals)
    assert sum(one.held for one in signals) <= binom.ppf(0.999, 120, 0.05)


def test_a_window_of_too_few_rows_does_not_end_a_breach(given: Any) -> None:
    """What was measured on it counts for nothing: what the window before it has shown is held all the same."""
    drifted = given(signal("drift.age", 0.3), end=NOW - 3 * DAY)
    near = signal("drift.age", 0.19, breached=False)
    few = given(SOUND.model_copy(update={"breached": True}), near, end=NOW - 2 * DAY)
    assert few.action is Action.NONE
    assert given(near, history=History(rulings=(few, drifted))).action is Action.ALERT


def test_what_is_only_held_never_retrains(given: Any) -> None:
    """A loss that this window does not show by itself alerts, and one that it shows goes before it."""
    lost = signal("performance.log_loss", 0.7, 0.55, low=0.6, high=0.8)
    first = given(lost, end=NOW - 3 * DAY)
    assert first.action is Action.RETRAIN
    history = History(rulings=(first,))
    band = signal("performance.log_loss", 0.548, 0.55, breached=False, low=0.5, high=0.6)
    assert given(band, history=history).action is Action.ALERT
    expected = signal("estimated.log_loss", 0.7, 0.55, low=0.6, high=0.8)
    once = policy(expected=SPEC.policy.expected.model_copy(update={"persistence": (1, 1)}))
    assert given(band, expected, history=history, spec=once).action is Action.RETRAIN


def test_a_loss_that_cannot_be_judged_is_not_held(given: Any) -> None:
    first = given(signal("performance.log_loss", 0.7, 0.55, low=0.6, high=0.8), end=NOW - 3 * DAY)
    band = signal("performance.log_loss", 0.548, 0.55, breached=False, low=0.5, high=0.6)
    assert given(OUTCOMES, band, history=History(rulings=(first,))).action is Action.NONE


def test_after_a_rollback_the_cooldown_holds_back() -> None:
    """Whether a ruling asked for it or a person: the next loss only alerts until the cooldown is over."""
    lost = performance(LOST)
    worse = ruled(window(NOW - DAY / 2, performance=performance(HELD, against_predecessor=WORSE)))
    by_hand = Cause(id="cause-9", model="loan", trigger="rollback", reason="complaints", as_of=NOW - DAY / 2)
    for past in (History(rulings=(worse.model_copy(update={"release_id": "old"}),)), History(rollbacks=(by_hand,))):
        found = ruled(window(performance=lost), past)
        assert (found.action, "the last rollback was on" in found.reason) == (Action.ALERT, True)
        assert ruled(window(NOW + DAY / 2, performance=lost), past).action is Action.RETRAIN


def test_while_a_rollback_is_in_flight_nothing_is_retrained() -> None:
    """Even without a cooldown: what is about to be taken out of service is not retrained."""
    spec = policy(cooldown=timedelta(0))
    worse = ruled(window(NOW - DAY / 2, performance=performance(against_predecessor=WORSE)), spec=spec)
    found = ruled(window(performance=performance(LOST)), History(rulings=(worse,)), spec)
    assert (found.action, "rollback ruled on 2024-03-09 12:00 is still in flight" in found.reason) == (
        Action.ALERT,
        True,
    )


def in_vain(count: int) -> History:
    rulings = [ruled(window(NOW - (20 - 3 * day) * DAY, performance=performance(LOST))) for day in range(count)]
    return History(rulings=tuple(rulings), retrainings=tuple(retraining(one) for one in rulings))


def closing(past: History, as_of: datetime = NOW - DAY) -> BreakerClosed:
    last = max(past.retrainings, key=lambda one: one.as_of)
    return BreakerClosed(
        **{"id": "closed-1", "model": "loan", "retraining_id": last.id, "reason": "new source", "closed_by": "Ada"},
        closed_at=datetime(2024, 3, 9, tzinfo=UTC),
        as_of=as_of,
    )


def test_an_open_breaker_alerts_by_itself_until_a_person_closes_it() -> None:
    """Also when nothing else is amiss; a later retraining that a person started and that won does not close it."""
    past = in_vain(3)
    found = ruled(window(), past)
    assert (found.action, "trimtab breaker close" in found.reason) == (Action.ALERT, True)
    assert [(one.value, one.threshold) for one in found.signals if one.name == "breaker"] == [(3, 3)]
    by_hand = retraining(past.rulings[-1], release="release-2", after=5 * DAY).model_copy(
        update={"id": "retraining-9", "cause_id": "cause-9", "trigger": "manual"}
    )
    won = past.model_copy(update={"retrainings": (*past.retrainings, by_hand)})
    assert ruled(window(), won).action is Action.ALERT
    closed = past.model_copy(update={"closings": (closing(past),)})
    assert ruled(window(), closed).action is Action.NONE
    assert ruled(window(performance=performance(LOST)), closed).action is Action.RETRAIN
    assert ruled(window(NOW - 2 * DAY), closed).action is Action.ALERT, "it was still open then"


def test_a_release_that_was_rolled_back_was_in_vain() -> None:
    """Winning at the gates and losing in service, again and again, opens the breaker, too."""
    past = in_vain(2)
    third = ruled(window(NOW - 12 * DAY, performance=performance(LOST)))
    released = retraining(third, release="release-2")
    undone = third.model_copy(update={"id": "ruling-9", "release_id": "release-2", "action": Action.ROLLBACK})
    won = past.model_copy(update={"rulings": (*past.rulings, third), "retrainings": (*past.retrainings, released)})
    assert not breaker(3, won).is_open
    assert breaker(3, won.model_copy(update={"rulings": (*won.rulings, undone)})).is_open


def test_the_state_changes_once_for_many_windows(given: Any) -> None:
    """Calm, alert, alert, another family beside it, unjudged, over: three changes; what is judged late changes none."""
    drifted, few = signal("drift.age"), SOUND.model_copy(update={"breached": True})
    days = [(), (drifted,), (signal("drift.income"),), (drifted, signal("anomalies")), (few,), ()]
    rulings = [given(*found, end=NOW + day * DAY) for day, found in enumerate(days)]
    late = given(drifted, end=NOW + 2.5 * DAY)
    found = list(changes([*rulings, late]))
    assert [change.ruling for change in found] == [rulings[1], rulings[3], rulings[5]]
    assert [change.after for change in found] == [
        State(action=Action.ALERT, families=("drift",)),
        State(action=Action.ALERT, families=("anomalies", "drift")),
        State(),
    ]
    assert found[2].since == rulings[3]


def test_a_loss_is_not_over_while_it_cannot_be_judged(given: Any) -> None:
    """A window without enough outcomes says nothing of a loss that outcomes have shown, but ends a drift."""
    lost = given(signal("performance.log_loss", 0.7, 0.55, low=0.6, high=0.8))
    unknown, known = given(OUTCOMES, end=NOW + DAY), given(end=NOW + 2 * DAY)
    assert [change.ruling for change in changes([lost, unknown, known])] == [lost, known]
    drifted = given(signal("drift.age"))
    assert [change.ruling for change in changes([drifted, unknown])] == [drifted, unknown]


def test_drift_of_one_feature_alerts_as_measured() -> None:
    """Large and significant: it is told, though one of three features is no dataset drift; neither alone is."""
    others = (drift("income", 0.01), drift("region", 0.01))
    assert ruled(window(distances=(drift("age", 0.3), *others))).reason.startswith("drift of age: PSI 0.3, limit 0.2")
    assert ruled(window(distances=(drift("age", 0.3, p=0.02), *others))).action is Action.NONE


def test_nothing_breached_on_a_nan(given: Any) -> None:
    nan = Metric(name="log_loss", value=float("nan"), low=float("nan"), high=float("nan"), rows=400)
    first = ruled(window(NOW - 3 * DAY, performance=performance(LOST)))
    assert ruled(window(performance=performance(nan)), History(rulings=(first,))).action is Action.NONE
