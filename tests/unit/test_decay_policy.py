"""The policy: each ruling on the smallest window that calls for it, and what holds it back."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.decay.distance import Distance
from trimtab.decay.fairness import Selection
from trimtab.decay.measurements import Measurements
from trimtab.decay.performance import Performance
from trimtab.decay.policy import History, held_back, retrain_cause_id, rule
from trimtab.models import load_model
from trimtab.records import Action, FailedExpectation, Metric, Release, Retraining, Ruling, Validation
from trimtab.settings import Settings
from trimtab.spec import ModelSpec

DAY = timedelta(days=1)
NOW = datetime(2024, 3, 10, tzinfo=UTC)
RELEASE = Release(
    id="release-1",
    model="loan",
    version="1",
    version_id="version-1",
    candidate_id="candidate-1",
    image_id="image-1",
    artifact_digest="0",
    runtime="process",
    endpoint="",
    cause_id="cause-1",
    since=NOW - 30 * DAY,
)
SPEC = load_model(Settings.from_env({"TRIMTAB_MODELS_DIR": "tests/models"}).models_dir, "loan").spec
REFERENCE = Metric(name="log_loss", value=0.5, low=0.48, high=0.52, rows=1_000)
HELD = Metric(name="log_loss", value=0.51, low=0.49, high=0.53, rows=400)
LOST = Metric(name="log_loss", value=0.7, low=0.65, high=0.75, rows=400)


def policy(**changes: Any) -> ModelSpec:
    return SPEC.model_copy(update={"policy": SPEC.policy.model_copy(update=changes)})


def performance(metric: Metric = HELD, **changes: Any) -> Performance:
    return Performance(
        **{"mature": 500, "outcomes": 400, "metrics": {"log_loss": metric}, "reference": REFERENCE} | changes
    )


def window(end: datetime = NOW, **changes: Any) -> Measurements:
    values = {"start": end - 2 * DAY, "end": end, "as_of": end, "rows": 1_000, "performance": performance()}
    return Measurements(**values | changes)


def validation(success: bool) -> Validation:
    failed = FailedExpectation(expectation="nulls", column="age", expected="no null", observed="9 of 1000 rows")
    return Validation(
        id="validation-1",
        model="loan",
        subject_id=RELEASE.id,
        suite="loan",
        suite_digest="0",
        success=success,
        expectations=3,
        rows=1_000,
        failed=() if success else (failed,),
    )


def drift(column: str, psi: float, p: float = 0.0, nulls: float = 0.0) -> Distance:
    return Distance(
        column=column, rows=1_000, reference_rows=9_000, null_share=nulls, reference_null_share=0, psi=psi, adjusted_p=p
    )


def retraining(ruling: Ruling, release: str | None = None, after: timedelta = timedelta(hours=1)) -> Retraining:
    return Retraining(
        id=f"retraining-{ruling.id}",
        model="loan",
        cause_id=retrain_cause_id(ruling.id),
        decision_id="decision-1",
        release_id=release,
        as_of=ruling.as_of + after,
        trigger="decay",
    )


def ruled(measured: Measurements, history: History | None = None, spec: ModelSpec = SPEC) -> Ruling:
    return rule(spec, RELEASE, measured, history or History())


DRIFTED = tuple(drift(name, 0.5) for name in ("income", "age", "region"))
ONE_DRIFTED = (drift("age", 0.5), drift("income", 0), drift("region", 0))
WORSE = Metric(name="log_loss", value=0.1, low=0.05, high=0.15, rows=400)


@pytest.mark.parametrize(
    ("measured", "action", "because"),
    [
        (window(), Action.NONE, "nothing to act on: log_loss is 0.51"),
        (window(rows=199, validation=validation(False)), Action.NONE, "too few rows to judge: 199 of the 200"),
        (window(validation=validation(False)), Action.BLOCK, "1 expectation failed (age: no null, observed 9 of 1000"),
        (window(distances=(drift("age", 0, 1, nulls=0.3),)), Action.BLOCK, "values of age (0.0% → 30.0% missing)"),
        (window(performance=performance(against_predecessor=WORSE)), Action.ROLLBACK, "worse than its predecessor"),
        (window(performance=performance(LOST)), Action.RETRAIN, "performance is lost: log_loss is 0.7 (0.65 to 0.75)"),
        (window(performance=performance(LOST, mature=150, outcomes=99)), Action.NONE, "99 mature outcomes of the 100"),
        (window(distances=DRIFTED), Action.ALERT, "3 of 3 features drifted"),
        (window(distances=(drift("age", 0.5, p=0.02),)), Action.NONE, "0 of 1 features drifted"),
        (window(distances=(drift("age", 0.19),)), Action.NONE, "0 of 1 features drifted"),
        (window(distances=(drift("score", 9),)), Action.ALERT, "drift of score: PSI 9, limit 0.2"),
        (
            window(distances=(drift("age", 0.5), drift("income", 0), drift("region", 0)), importance={"age": 0.7}),
            *(
                Action.ALERT,
                "what drifted carries 70% of the features' importance to the model; 50% is the limit (age)",
            ),
        ),
        (window(performance=performance(outcomes=200)), Action.ALERT, "60% of 500 mature predictions have no outcome"),
        (window(performance=Performance()), Action.NONE, "performance cannot be judged: 0 mature outcomes"),
    ],
)
def test_the_smallest_window_that_calls_for_each_ruling(measured, action, because):
    """Each ruling follows from the one measurement that calls for it, and says so with its numbers."""
    found = ruled(measured)
    assert found.action is action, found.reason
    assert because in found.reason


def test_a_model_that_is_worse_than_a_constant_is_retrained():
    """Also if it was evaluated when it was lost already, so that nothing was lost since."""
    bad = Metric(name="log_loss", value=1.2, low=1.1, high=1.3, rows=400)
    worse = Metric(name="log_loss", value=0.51, low=0.4, high=0.6, rows=400)
    without_skill = window(performance=performance(bad, reference=bad, against_constant=worse))
    found = ruled(without_skill)
    assert found.action is Action.RETRAIN
    assert found.reason == (
        "the model is worse than one constant answer: on 400 mature outcomes log_loss is 1.2, and 0.69 of the best "
        "constant answer, a difference of 0.51 (0.4 to 0.6)"
    )
    told = ruled(without_skill, spec=policy(retrain_without_skill=False))
    assert (told.action, told.reason) == (Action.ALERT, found.reason)
    doubtful = worse.model_copy(update={"low": -0.01})
    assert ruled(window(performance=performance(bad, reference=bad, against_constant=doubtful))).action is Action.NONE
    few = performance(bad, reference=bad, against_constant=worse, outcomes=99, mature=150)
    assert ruled(window(performance=few)).action is Action.NONE


def test_broken_data_wins_over_everything_else():
    """Where the data is broken nothing that was measured on it is believed."""
    lost = performance(LOST, against_predecessor=WORSE)
    assert ruled(window(validation=validation(False), distances=DRIFTED, performance=lost)).action is Action.BLOCK


def test_a_better_predecessor_wins_over_retraining():
    """Bringing back what was good is quicker and surer than training anew."""
    assert ruled(window(performance=performance(LOST, against_predecessor=WORSE))).action is Action.ROLLBACK


def test_a_rollback_in_flight_is_not_asked_for_twice():
    """While the first rollback is under way the next window only says so."""
    worse = performance(against_predecessor=WORSE)
    first = ruled(window(performance=worse))
    second = ruled(window(NOW + DAY / 2, performance=worse), History(rulings=(first,)))
    assert second.action is Action.ALERT
    assert "still in flight" in second.reason


def test_a_group_selected_too_seldom_alerts_where_the_spec_asks():
    """The whole interval must be below the limit, and there must be one."""
    unfair = window(selections=(_selection(0.6),))
    assert ruled(unfair).action is Action.NONE
    found = ruled(unfair, spec=policy(minimum_selection_ratio=0.8))
    assert found.action is Action.ALERT
    assert "south 20.0%, north 40.0%" in found.reason
    doubtful = window(selections=(_selection(0.81),))
    assert ruled(doubtful, spec=policy(minimum_selection_ratio=0.8)).action is Action.NONE


def _selection(high: float) -> Selection:
    groups = [
        {"group": "north", "rows": 500, "selected": 200, "rate": 0.4, "low": 0.3, "high": 0.5},
        {"group": "south", "rows": 400, "selected": 80, "rate": 0.2, "low": 0.1, "high": 0.3},
    ]
    return Selection.model_validate(
        {"column": "region", "groups": groups, "ratio": 0.5, "low": 0.4, "high": high, "rows": 900}
    )


def test_drift_alone_retrains_only_where_the_spec_asks():
    """Drift without lost performance is an alert, unless the policy says otherwise."""
    spec = policy(retrain_on_drift=True)
    assert ruled(window(distances=DRIFTED), spec=spec).action is Action.RETRAIN
    few = window(distances=ONE_DRIFTED)
    assert ruled(few, spec=spec).action is Action.ALERT
    assert ruled(few.model_copy(update={"importance": {"age": 0.7}}), spec=spec).action is Action.RETRAIN


def test_a_loss_must_persist_for_k_of_m_windows():
    """With (2, 3) the first lost window alerts, and the second within three retrains."""
    spec = policy(persistence=(2, 3))
    lost = performance(LOST)
    first = ruled(window(NOW - 4 * DAY, performance=lost), spec=spec)
    assert first.action is Action.ALERT
    assert "in 1 of the last 3 windows; a retraining needs 2" in first.reason
    calm = ruled(window(NOW - 2 * DAY), History(rulings=(first,)), spec)
    second = ruled(window(performance=lost), History(rulings=(first, calm)), spec)
    assert second.action is Action.RETRAIN
    other = first.model_copy(update={"release_id": "release-0"})
    assert ruled(window(performance=lost), History(rulings=(other, calm)), spec).action is Action.ALERT


def test_one_loss_starts_one_retraining():
    """While a retraining is in flight, and through the cooldown after it, the same loss only alerts."""
    lost = performance(LOST)
    first = ruled(window(performance=lost))
    in_flight = ruled(window(NOW + DAY / 2, performance=lost), History(rulings=(first,)))
    assert (in_flight.action, "still in flight" in in_flight.reason) == (Action.ALERT, True)
    done = History(rulings=(first,), retrainings=(retraining(first),))
    cooling = ruled(window(NOW + DAY, performance=lost), done)
    assert (cooling.action, "cooldown lasts until" in cooling.reason) == (Action.ALERT, True)
    again = ruled(window(NOW + DAY + timedelta(hours=1), performance=lost), done)
    assert again.action is Action.RETRAIN


def test_a_run_that_died_does_not_hold_back_for_ever():
    """A ruling whose retraining never ended is forgotten after a day and the cooldown."""
    first = ruled(window(performance=performance(LOST)))
    assert ruled(window(NOW + DAY, performance=performance(LOST)), History(rulings=(first,))).action is Action.RETRAIN


def test_the_budget_holds_back_and_comes_back():
    """With a budget of two in thirty days the third waits until the first is thirty days old."""
    spec = policy(budget=2, budget_period=30 * DAY)
    lost = performance(LOST)
    first = ruled(window(NOW - 10 * DAY, performance=lost), spec=spec)
    second = ruled(window(NOW - 5 * DAY, performance=lost), History(rulings=(first,)), spec)
    past = History(rulings=(first, second))
    assert second.action is Action.RETRAIN
    third = ruled(window(performance=lost), past, spec)
    assert (third.action, "budget of 2 retrainings in 30 days is spent" in third.reason) == (Action.ALERT, True)
    assert ruled(window(NOW + 20 * DAY, performance=lost), past, spec).action is Action.RETRAIN


def test_the_breaker_opens_after_retrainings_in_vain_and_a_release_closes_it():
    """When the last three retrainings kept the champion a fourth will not help; a release in between resets that."""
    lost = performance(LOST)
    rulings = [ruled(window(NOW - day * DAY, performance=lost)) for day in (20, 15, 10)]
    vain = History(rulings=tuple(rulings), retrainings=tuple(retraining(one) for one in rulings))
    found = ruled(window(performance=lost), vain)
    assert (found.action, "the breaker is open" in found.reason) == (Action.ALERT, True)
    helped = (*vain.retrainings[:2], retraining(rulings[2], release="release-2"))
    closed = vain.model_copy(update={"retrainings": helped})
    assert ruled(window(performance=lost), closed).action is Action.RETRAIN


def test_what_happened_later_is_not_looked_at():
    """A window judged afterwards is judged by what was on record then: history can be replayed."""
    lost = performance(LOST)
    later = ruled(window(NOW + DAY / 4, performance=lost))
    assert ruled(window(performance=lost), History(rulings=(later,))).action is Action.RETRAIN


def test_a_window_is_judged_under_one_id():
    """The id follows from model, release, window and policy: not from what was measured, nor from its own past."""
    first = ruled(window())
    assert ruled(window(performance=performance(LOST)), History(rulings=(first,))).id == first.id
    assert ruled(window(NOW + DAY)).id != first.id
    assert ruled(window(), spec=policy(performance_drop=0.04)).id != first.id


def test_nan_never_retrains():
    """A metric that is no number is no loss."""
    nan = Metric(name="log_loss", value=float("nan"), low=float("nan"), high=float("nan"), rows=400)
    assert ruled(window(performance=performance(nan))).action is Action.NONE


@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.integers(0, 5),
    st.integers(1, 20),
    st.integers(1, 4),
    st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_no_storm_whatever_happens(losses, budget, cooldown, breaker, wins):
    """However the windows fall out, retrainings keep their distance, their budget, and stop when in vain."""
    spec = policy(budget=budget, budget_period=1000 * DAY, cooldown=cooldown * DAY, breaker=breaker)
    history = History()
    for day, lost in enumerate(losses):
        found = ruled(window(NOW + day * DAY, performance=performance(LOST if lost else HELD)), history, spec)
        ended = history.retrainings
        if found.action is Action.RETRAIN:
            assert held_back(spec, found.as_of, history) is None
            ended = (*ended, retraining(found, "release-2" if wins[day] else None))
        history = History(rulings=(*history.rulings, found), retrainings=ended)
    asked = [one for one in history.rulings if one.action is Action.RETRAIN]
    assert len(asked) <= budget
    assert all(b.as_of - a.as_of >= cooldown * DAY for a, b in itertools.pairwise(asked))
    vain = [one.release_id is None for one in history.retrainings]
    assert not any(all(vain[at : at + breaker]) for at in range(len(vain) - breaker))


@pytest.mark.parametrize(
    ("was", "now", "rows", "limit", "broken"),
    [
        (0.0, 0.16, 1_000, 0.05, True),
        (0.0, 0.04, 1_000, 0.05, False),
        (0.30, 0.33, 1_000, 0.05, False),
        (0.30, 0.36, 100_000, 0.05, False),
        (0.10, 0.22, 1_000, 0.05, True),
        (0.10, 0.22, 30, 0.05, False),
        (0.01, 0.30, 1_000, 0.3, False),
        (0.01, 0.40, 1_000, 0.3, True),
        (0.60, 1.0, 1_000, 0.05, True),
        (1.0, 1.0, 1_000, 0.05, False),
        (0.20, 0.05, 1_000, 0.05, False),
    ],
)
def test_missing_values_break_a_window_if_their_rise_is_marked(
    was: float, now: float, rows: int, limit: float, broken: bool
) -> None:
    """More than the spec's limit, large against what was missing before, and more than chance."""
    found = Distance(
        column="income",
        rows=round(rows * (1 - now)),
        reference_rows=round(20_000 * (1 - was)),
        null_share=now,
        reference_null_share=was,
    )
    ruling = rule(policy(maximum_null_rise=limit), RELEASE, window(distances=(found,)), History())
    assert (ruling.action is Action.BLOCK) == broken, ruling.reason
