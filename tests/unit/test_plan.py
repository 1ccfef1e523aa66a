"""The plan follows from the specs alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.plan import MARK, Plan, plan
from trimtab.spec import Feature, ModelSpec, Schedule, Target, Trainer

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


def test_a_model_gets_its_three_deployments_and_all_share_one_dossier() -> None:
    """Each model is retrained, watched and rolled back by deployments of its own name."""
    assert names(plan([spec("b"), spec("a")])) == [
        *("retrain/a", "watch/a", "rollback/a"),
        *("retrain/b", "watch/b", "rollback/b"),
        "dossier/dossier",
    ]


@given(st.sets(NAMES, max_size=6))
def test_the_plan_does_not_depend_on_the_order_of_the_specs_and_names_nothing_twice(models: set[str]) -> None:
    """Same specs, same plan; every deployment and automation has a name of its own."""
    specs = [spec(name) for name in sorted(models)]
    planned = plan(specs)
    assert planned == plan(reversed(specs))
    assert len(set(names(planned))) == len(planned.deployments) == 3 * len(models) + 1
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
