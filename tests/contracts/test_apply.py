"""Apply makes a real Prefect server match the plan, and nothing else."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.events import Event
from prefect.events.schemas.automations import AutomationCore

from deployments.apply import apply, prefect_client
from deployments.form import form
from deployments.plan import plan
from trimtab.errors import ServiceUnavailableError, SpecError
from trimtab.models import load_models
from trimtab.services import Supervisor
from trimtab.services.definitions import prefect_server
from trimtab.settings import Settings

MODELS = Path(__file__).parents[1] / "models"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A Prefect server of its own, on a free port."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings.from_env({"TRIMTAB_HOME": str(home), "TRIMTAB_PREFECT_URL": "http://127.0.0.1:0"})
    with Supervisor(settings, services=lambda settings, _: [prefect_server(settings)]) as supervisor:
        yield supervisor.settings


@pytest.fixture
def settings(server: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Two models, loan and mortgage; what a test has applied is taken away after it."""
    models = tmp_path / "models"
    for name in ("loan", "mortgage"):
        shutil.copytree(MODELS / "loan", models / name, ignore=shutil.ignore_patterns("__pycache__"))
        spec = models / name / "spec.py"
        text = spec.read_text().replace('name="loan"', f'name="{name}"').replace("watch=None", 'watch="0 6 * * 1"')
        spec.write_text(text)
    own = dataclasses.replace(server, models_dir=models)
    yield own
    for folder in models.iterdir():
        shutil.rmtree(folder)
    apply(own)


@pytest.fixture
def client(settings: Settings) -> Iterator[SyncPrefectClient]:
    with prefect_client(settings) as client:
        yield client


def state(client: SyncPrefectClient) -> dict[str, Any]:
    """All that the server holds, with ids and times of change."""
    automations = httpx.post(f"{client.api_url}automations/filter", json={}, timeout=30).raise_for_status().json()
    return {
        "pools": {pool.name: (pool.id, pool.updated) for pool in client.read_work_pools()},
        "deployments": {d.name: (d.id, d.updated, d.schedules) for d in client.read_deployments()},
        "automations": sorted((a["name"], a["id"], a["updated"]) for a in automations),
    }


def test_applying_twice_changes_nothing(settings: Settings, client: SyncPrefectClient) -> None:
    """The second time finds all as planned: same ids, same times of change, one automation of each name."""
    first = apply(settings)
    assert set(first.created) >= {
        f"{flow}/{m}"
        for flow in ("retrain", "watch", "rollback", "profile", "close-breaker")
        for m in ("loan", "mortgage")
    }
    before = state(client)
    second = apply(settings)
    assert (second.created, second.updated, second.removed) == ((), (), ())
    assert len(second.unchanged) == 1 + 11 + 4
    assert state(client) == before
    names = [name for name, _, _ in before["automations"]]
    assert len(names) == len(set(names)) == 4


def test_removing_a_models_folder_removes_what_is_its_own_and_nothing_else(
    settings: Settings, client: SyncPrefectClient
) -> None:
    """What others made stays, whatever it is called."""
    apply(settings)
    flow_id = client.create_flow_from_name("someone-elses")
    foreign = client.create_deployment(flow_id, "mortgage", tags=["mortgage"])
    automation = client.read_automations_by_name("trimtab: retrain mortgage when a ruling asks for it")[0]
    other = AutomationCore(name="retrain mortgage by hand", trigger=automation.trigger, actions=automation.actions)
    other_id = client.create_automation(other)

    shutil.rmtree(settings.models_dir / "mortgage")
    applied = apply(settings)

    assert applied.removed == (
        *("close-breaker/mortgage", "profile/mortgage", "retrain/mortgage", "rollback/mortgage"),
        *(f"trimtab: {action} mortgage when a ruling asks for it" for action in ("retrain", "rollback")),
        "watch/mortgage",
    )
    left = {deployment.id for deployment in client.read_deployments()}
    assert foreign in left
    assert len(left) == 1 + 6
    assert client.read_automation(other_id) is not None
    client.delete_automation(other_id)
    client.delete_deployment(foreign)


def test_what_was_changed_by_hand_is_put_right(settings: Settings, client: SyncPrefectClient) -> None:
    """A changed deployment, a changed automation and a second copy of one are as planned after the next apply."""
    apply(settings)
    known = client.read_deployment_by_name("retrain/loan")
    client.create_deployment(known.flow_id, "loan", tags=["trimtab"], work_pool_name=settings.work_pool)
    name = "trimtab: retrain loan when a ruling asks for it"
    automation = client.read_automations_by_name(name)[0]
    core = AutomationCore.model_validate(automation.model_dump(exclude={"id", "owner_resource"}))
    client.create_automation(core)
    client.update_automation(automation.id, core.model_copy(update={"description": "changed"}))

    applied = apply(settings)

    assert "retrain/loan" in applied.updated
    assert name in applied.updated
    assert len(client.read_automations_by_name(name)) == 1
    after = client.read_deployment_by_name("retrain/loan")
    assert after.id == known.id
    assert after.parameters == {"model": "loan"}
    assert after.global_concurrency_limit is not None
    assert after.global_concurrency_limit.limit == 1
    assert not apply(settings).updated


def test_what_a_person_paused_stays_paused(settings: Settings, client: SyncPrefectClient) -> None:
    """Apply does not switch an automation on again behind an operator's back."""
    apply(settings)
    name = "trimtab: retrain loan when a ruling asks for it"
    client.pause_automation(client.read_automations_by_name(name)[0].id)
    assert apply(settings).updated == ()
    assert not client.read_automations_by_name(name)[0].enabled


def test_schedules_are_in_utc_and_the_form_explains_its_fields(settings: Settings, client: SyncPrefectClient) -> None:
    """A person who opens the run form sees what each field is, and cannot choose another model."""
    apply(settings)
    watch = client.read_deployment_by_name("watch/loan")
    assert [(s.schedule.cron, s.schedule.timezone) for s in watch.schedules] == [("0 6 * * 1", "UTC")]  # type: ignore[union-attr]
    planned = plan(model.spec for model in load_models(settings.models_dir).values())
    for deployment in planned.deployments:
        fields = form(deployment)["properties"]
        assert all(field.get("description") for field in fields.values()), deployment.full_name
        if deployment.fixed:
            assert fields["model"]["enum"] == [deployment.name]


@pytest.mark.parametrize("action", ["retrain", "rollback"])
def test_an_event_starts_one_run_with_the_ruling_as_its_cause(
    settings: Settings, client: SyncPrefectClient, action: str
) -> None:
    """The event's whole payload arrives as a dictionary; the same event again starts nothing; other models sleep on."""
    apply(settings)
    payload = {"ruling_id": "ruling-1", "model": "loan", "as_of": "2024-03-08T00:00:00Z", "reason": "it is lost"}
    deployment = client.read_deployment_by_name(f"{action}/loan")
    wanted = FlowRunFilter.model_validate({"deployment_id": {"any_": [deployment.id]}})
    deadline = time.monotonic() + 180
    # The server takes up a new automation on its own time: the ruling is told until it is heard.
    while not (runs := [run for run in client.read_flow_runs(flow_run_filter=wanted) if not run.auto_scheduled]):
        assert time.monotonic() < deadline, "no run came of the event"
        event = Event(
            event=f"trimtab.ruling.{action}",
            resource={"prefect.resource.id": "trimtab.model.loan", "prefect.resource.name": "loan"},
            payload=payload,
        )
        for _ in range(2):
            body = [event.model_dump(mode="json")]
            httpx.post(f"{client.api_url}events", json=body, timeout=30).raise_for_status()
        time.sleep(0.5)
    assert [run.parameters["cause"] for run in runs] == [payload]
    assert runs[0].parameters["model"] == "loan"
    assert runs[0].created_by is not None
    assert runs[0].created_by.type == "AUTOMATION"
    others = {run.deployment_id for run in client.read_flow_runs() if not run.auto_scheduled}
    assert client.read_deployment_by_name(f"{action}/mortgage").id not in others


def test_a_wrong_spec_touches_nothing(settings: Settings, client: SyncPrefectClient) -> None:
    """The plan is refused as a whole before anything is sent."""
    apply(settings)
    before = state(client)
    spec = settings.models_dir / "mortgage" / "spec.py"
    spec.write_text(spec.read_text().replace('source="data:load"', 'source="data:nowhere"'))
    with pytest.raises(SpecError, match="nowhere"):
        apply(settings)
    assert state(client) == before


def test_what_prefect_refuses_is_refused_before_the_first_write(
    settings: Settings, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One payload that cannot be built leaves the server as it was, the models before it included."""
    before = state(client)
    specs = [model.spec for model in load_models(settings.models_dir).values()]
    schedule = specs[-1].schedule.model_copy(update={"watch": "0 6 * * 9"})
    specs[-1] = specs[-1].model_copy(update={"schedule": schedule})
    monkeypatch.setattr("deployments.apply.plan", lambda _: plan(specs))
    with pytest.raises(ValueError, match="0 6"):
        apply(settings)
    assert state(client) == before


def test_a_server_that_is_down_is_reported_within_seconds(settings: Settings) -> None:
    """The error says where nothing answers, and what to do."""
    start = time.monotonic()
    with pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1:9.*trimtab up"):
        apply(dataclasses.replace(settings, prefect_url="http://127.0.0.1:9"))
    assert time.monotonic() - start < 20
