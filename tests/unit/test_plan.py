"""The plan follows from the specs alone."""

from __future__ import annotations

import fnmatch
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deployments.plan import MARK, Plan, plan
from trimtab.spec import Alert, Feature, ModelSpec, Schedule, Target, Trainer

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,15}", fullmatch=True)


def spec(name: str = "loan", **other: object) -> ModelSpec:
    return ModelSpec(
        name=name,
        source="data:load",
        target=Target(name="repaid"),
        features=(Feature(name="income", type="number"),),
        suite="loan",
        trainers=(Trainer(name="boosting", function="training:boosting"),),
        **other,
    )


def names(planned: Plan) -> list[str]:
    return [deployment.full_name for deployment in planned.deployments]


def test_a_model_gets_its_deployments_and_all_share_one_dossier() -> None:
    """Each model has deployments of its own name, of every flow that acts on one model."""
    assert names(plan([spec("b"), spec("a")])) == [
        *("retrain/a", "watch/a", "rollback/a", "profile/a", "close-breaker/a"),
        *("retrain/b", "watch/b", "rollback/b", "profile/b", "close-breaker/b"),
        "dossier/dossier",
    ]


@given(st.sets(NAMES, max_size=6))
def test_the_plan_does_not_depend_on_the_order_of_the_specs_and_names_nothing_twice(models: set[str]) -> None:
    """Same specs, same plan; every deployment and automation has a name of its own."""
    specs = [spec(name) for name in sorted(models)]
    planned = plan(specs)
    assert planned == plan(reversed(specs))
    assert len(set(names(planned))) == len(planned.deployments) == 5 * len(models) + 1
    assert len({automation.name for automation in planned.automations}) == len(planned.automations) == 2 * len(models)


@given(NAMES)
def test_every_automation_starts_a_planned_deployment_on_its_own_models_events_only(name: str) -> None:
    """A ruling on a model can start nothing of another model."""
    planned = plan([spec(name), spec("zz-other-model-here")])
    for automation in planned.automations:
        action, _, model = automation.deployment.partition("/")
        assert automation.deployment in names(planned)
        assert automation.event == f"trimtab.ruling.{action}"
        assert automation.resource == f"trimtab.model.{model}"
        assert automation.parameters["model"] == model
        assert automation.parameters["cause"] == "{{ event.payload }}"
        assert automation.name.startswith(f"{MARK}: ")
        assert automation.within.total_seconds() > 0


@pytest.mark.parametrize(("flow", "field"), [("watch", "watch"), ("retrain", "retrain")])
def test_schedules_come_from_the_spec(flow: str, field: str) -> None:
    """A flow runs by itself exactly when the spec says so."""
    scheduled = plan([spec(schedule=Schedule(**{"watch": None, "retrain": None, field: "15 4 * * *"}))])
    crons = {deployment.full_name: deployment.cron for deployment in scheduled.deployments}
    assert crons.pop(f"{flow}/loan") == "15 4 * * *"
    assert set(crons.values()) == {None}


def test_a_model_is_retrained_once_at_a_time_and_its_form_is_fixed_to_it() -> None:
    """The retrain deployment takes no other model and no second run at once."""
    retrain = plan([spec()]).deployments[0]
    assert (retrain.flow, retrain.concurrency_limit) == ("retrain", 1)
    assert (retrain.parameters, retrain.fixed) == ({"model": "loan"}, ("model",))
    assert retrain.tags == (MARK, "loan")
    assert retrain.entrypoint == "flows.retrain.retrain"


def test_an_alert_is_planned_for_what_comes_and_for_its_end_on_its_own_models_changes_only() -> None:
    """Whoever is told of BLOCK is told when it comes, from whatever, and when it goes, to whatever."""
    (alert,) = plan([spec(alerts=(Alert(block="slack-webhook/risk", on=("BLOCK",)),)), spec("other")]).alerts
    assert alert.name == "trimtab: tell slack-webhook/risk of loan"
    assert (alert.resource, alert.block) == ("trimtab.model.loan", "slack-webhook/risk")
    told = {
        f"{before}>{after}": any(fnmatch.fnmatchcase(f"{before}>{after}", pattern) for pattern in alert.changes)
        for before, after in itertools.permutations(("NONE", "ALERT", "BLOCK"), 2)
    }
    assert {change for change, is_told in told.items() if is_told} == {
        *("NONE>BLOCK", "ALERT>BLOCK", "BLOCK>NONE", "BLOCK>ALERT"),
    }


def test_a_failed_run_is_told_of_unless_that_is_not_asked_for() -> None:
    """By default; whoever asks for actions alone is told of these alone, and the other way round."""
    both, actions, failures = (
        plan([spec(alerts=(alert,))])
        for alert in (
            Alert(block="slack-webhook/risk"),
            Alert(block="slack-webhook/risk", on=("BLOCK",)),
            Alert(block="slack-webhook/risk", on=("FAILED",)),
        )
    )
    (alert,) = both.failure_alerts
    assert alert.name == "trimtab: tell slack-webhook/risk of failed runs of loan"
    assert alert.deployments == ("retrain/loan", "rollback/loan", "watch/loan", "profile/loan")
    assert not any("FAILED" in pattern for pattern in both.alerts[0].changes)
    assert [len(found.alerts) for found in (both, actions, failures)] == [1, 1, 0]
    assert [len(found.failure_alerts) for found in (both, actions, failures)] == [1, 0, 1]


@pytest.mark.parametrize(
    "wrong", [{"block": "risk"}, {"block": "slack-webhook/risk", "on": ()}, {"block": "a/b", "on": ("NONE",)}]
)
def test_an_alert_names_a_block_by_type_and_name_and_at_least_one_action(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Alert(**wrong)
