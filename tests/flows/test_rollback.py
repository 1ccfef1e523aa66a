"""Rolling out and going back, through a real gateway, with real scorers: whatever fails, what served still does."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from mlflow import MlflowClient

from flows.rollback import rollback
from tasks.registry import CHAMPION, TAG_CANDIDATE_ID
from tasks.rollout.containers import ContainerRuntime, connect
from tasks.rollout.restoring import restore
from tasks.rollout.scorers import stop_all
from tasks.rollout.stack import open_stack
from tasks.rollout.steps import (
    check_golden,
    drain_previous,
    start_release,
    switch_route,
    verify_serving,
)
from tests.flows.rollouts import Rollouts, new_home
from tests.loan_artifact import AS_OF, ROWS
from trimtab.errors import RolloutError, ServiceUnavailableError
from trimtab.records import Action, Release, Ruling, Version
from trimtab.services import Supervisor, stack_services
from trimtab.serving.client import GatewayClient
from trimtab.settings import Settings

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server of this module's own."""
    home = tmp_path_factory.mktemp("mlflow")
    with started(home, "mlflow") as supervisor:
        yield supervisor.settings.mlflow_url


@pytest.fixture
def rollouts(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rollouts]:
    """An empty home with a gateway in service; what runs in it is stopped afterwards."""
    for name in [name for name in os.environ if name.startswith("TRIMTAB_")]:
        monkeypatch.delenv(name)
    with started(new_home(tmp_path / "home", shared), "gateway") as supervisor:
        for name, value in supervisor.settings.as_env().items():
            monkeypatch.setenv(name, value)
        with GatewayClient(supervisor.settings) as gateway:
            yield Rollouts(supervisor.settings, gateway)


def started(home: Path, *services: str) -> Supervisor:
    """Some of the services, on free ports."""
    wanted = {
        "TRIMTAB_HOME": str(home),
        "TRIMTAB_MODELS_DIR": str(TESTS / "models"),
        "TRIMTAB_SUITES_DIR": str(TESTS / "expectations"),
        "TRIMTAB_RUNTIME": "process",
        **{f"TRIMTAB_{name}_URL": "http://127.0.0.1:0" for name in ("PREFECT", "MLFLOW", "GATEWAY", "REPORTS")},
    }
    return Supervisor(
        Settings.from_env(wanted),
        services=lambda settings, worker: [
            service for service in stack_services(settings, worker) if service.name in services
        ],
    )


def test_a_release_serves_and_the_one_before_is_drained(rollouts: Rollouts) -> None:
    """After a roll-out the gateway serves the new artifact, and its scorer is the only one of the model."""
    first = rollouts.roll_out(1)
    assert rollouts.serving() == (first.id, first.artifact_digest)
    second = rollouts.roll_out(2)
    assert rollouts.serving() == (second.id, second.artifact_digest)
    assert list(rollouts.runtime.running("loan")) == [second.id]
    assert (first.previous_id, second.previous_id) == (None, first.id)


def test_every_step_may_be_repeated(rollouts: Rollouts) -> None:
    """Doing each step twice, and all of them again, ends with the same release, once."""
    release, image = rollouts.plan(1, rollouts.artifact(1))
    for _ in range(2):
        url = start_release.fn(release, image)
        assert check_golden.fn(release, url) == 4
        switch_route.fn(release, url)
        verify_serving.fn(release)
        rollouts.ledger.append(release)
        assert drain_previous.fn(release) == []
    assert rollouts.roll_out(1) == release
    assert list(rollouts.runtime.running()) == [release.id]
    assert rollouts.ledger.records(Release) == [release]


def test_requests_during_a_switch_are_all_answered_and_name_who_answered(rollouts: Rollouts) -> None:
    """While releases follow each other no request fails, and each is answered by one release or the other."""
    releases = [rollouts.roll_out(1)]
    answered: list[str] = []
    failed: list[Exception] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            try:
                answered.append(rollouts.gateway.infer("loan", ROWS)["release_id"])
            except ServiceUnavailableError as error:
                failed.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        for number in (2, 3):
            until_answered_by(releases[-1], answered)
            releases.append(rollouts.roll_out(number))
        until_answered_by(releases[-1], answered)
    finally:
        stop.set()
        caller.join()
    assert not failed
    assert set(answered) == {release.id for release in releases}


def until_answered_by(release: Release, answered: list[str]) -> None:
    deadline = time.monotonic() + 180
    while release.id not in answered:
        assert time.monotonic() < deadline, f"{release.id} answers nobody"
        time.sleep(0.01)


def test_a_scorer_that_answers_other_than_training_said_never_serves(rollouts: Rollouts) -> None:
    """A golden row that is off by a millionth stops the new scorer, and the old release goes on serving."""
    first = rollouts.roll_out(1)
    release, image = rollouts.plan(2, rollouts.artifact_with_wrong_golden_scores())
    url = start_release.fn(release, image)
    with pytest.raises(RolloutError, match=r"golden row 2 .*training said"):
        check_golden.fn(release, url)
    assert rollouts.serving() == (first.id, first.artifact_digest)
    assert list(rollouts.runtime.running()) == [first.id]


def test_a_route_to_another_artifact_is_put_back(rollouts: Rollouts) -> None:
    """When what serves after the switch is not what was released, the old release serves again, and that is said."""
    first = rollouts.roll_out(1)
    release, image = rollouts.plan(2, rollouts.artifact(2))
    start_release.fn(release, image)
    switch_route.fn(release, rollouts.runtime.running()[first.id])
    with pytest.raises(RolloutError, match=rf"{first.artifact_digest}.*{first.id} serves again"):
        verify_serving.fn(release)
    assert rollouts.serving() == (first.id, first.artifact_digest)
    assert list(rollouts.runtime.running()) == [first.id]


def test_a_scorer_that_died_before_the_proof_is_put_back(rollouts: Rollouts) -> None:
    """A new scorer that dies right after the switch leaves the old release serving."""
    first = rollouts.roll_out(1)
    release, image = rollouts.plan(2, rollouts.artifact(2))
    switch_route.fn(release, start_release.fn(release, image))
    rollouts.runtime.stop(release.id)
    with pytest.raises(RolloutError, match=rf"{first.id} serves again"):
        verify_serving.fn(release)
    assert rollouts.serving()[0] == first.id


def test_a_first_release_that_fails_its_proof_leaves_no_route(rollouts: Rollouts) -> None:
    """With nothing before it to go back to, the route is withdrawn."""
    release, image = rollouts.plan(1, rollouts.artifact(1))
    url = start_release.fn(release, image)
    other = release.model_copy(update={"artifact_digest": rollouts.artifact(2)})
    switch_route.fn(other, url)
    with pytest.raises(RolloutError, match="there was no release before"):
        verify_serving.fn(other)
    assert rollouts.gateway.routes() == {}


def test_without_a_gateway_nothing_is_stopped(rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that does not answer is an error that names it, and both scorers run on."""
    first = rollouts.roll_out(1)
    release, image = rollouts.plan(2, rollouts.artifact(2))
    url = start_release.fn(release, image)
    monkeypatch.setenv("TRIMTAB_GATEWAY_URL", "http://127.0.0.1:9")
    with pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1:9"):
        switch_route.fn(release, url)
    assert set(rollouts.runtime.running()) == {first.id, release.id}
    assert rollouts.serving()[0] == first.id


def test_what_serves_is_not_drained(rollouts: Rollouts) -> None:
    """Draining for a release that the route does not lead to is refused."""
    first = rollouts.roll_out(1)
    release, image = rollouts.plan(2, rollouts.artifact(2))
    start_release.fn(release, image)
    with pytest.raises(RolloutError, match="is not what the gateway's route"):
        drain_previous.fn(release)
    assert rollouts.serving()[0] == first.id


def test_restore_brings_the_scorers_back_after_they_all_died(rollouts: Rollouts) -> None:
    """Killed scorers run again, under whatever address, and the gateway finds them."""
    release = rollouts.roll_out(1)
    pid = int((rollouts.settings.releases_dir / "loan" / release.id / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while rollouts.runtime.running() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not rollouts.gateway.ready("loan")
    urls = restore()
    assert urls == {"loan": rollouts.runtime.running()[release.id]}
    assert rollouts.serving() == (release.id, release.artifact_digest)


def served_again(rollouts: Rollouts, within_s: float = 180) -> tuple[str, str]:
    deadline = time.monotonic() + within_s
    while not rollouts.gateway.ready("loan"):
        assert time.monotonic() < deadline, "the scorer did not come back"
        time.sleep(0.1)
    return rollouts.serving()


def test_a_scorer_that_is_killed_comes_back_without_a_hand(
    rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The running stack sees that nothing answers, starts the route's own release again, and says so."""
    monkeypatch.setattr("trimtab.services.supervisor._SCORERS_CHECK_S", 0.5)
    release = rollouts.roll_out(1)
    os.kill(int((rollouts.settings.releases_dir / "loan" / release.id / "pid").read_text()), signal.SIGKILL)
    while rollouts.gateway.ready("loan"):
        time.sleep(0.02)
    assert served_again(rollouts) == (release.id, release.artifact_digest)
    assert "no scorer answers for loan: starting what the route leads to" in capsys.readouterr().out


def test_a_container_that_is_killed_comes_back_without_a_hand(
    rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine restarts one that crashed, under the same port; the stack one that somebody killed."""
    try:
        engine = connect()
    except ServiceUnavailableError as error:
        pytest.skip(f"no containers here: {error}")
    monkeypatch.setattr("trimtab.services.supervisor._SCORERS_CHECK_S", 0.5)
    monkeypatch.setenv("TRIMTAB_RUNTIME", "docker")
    with closing(engine):
        release = rollouts.roll_out(1)
        try:
            (container,) = engine.containers.list(filters={"label": f"trimtab.release={release.id}"})
            container.kill()
            while rollouts.gateway.ready("loan"):
                time.sleep(0.02)
            assert served_again(rollouts) == (release.id, release.artifact_digest)
        finally:
            stop_all()


def test_a_restore_does_not_put_a_route_back_that_was_switched_meanwhile(rollouts: Rollouts) -> None:
    """What was seen before is old news: the newer release serves on, and the old scorer is not left running."""
    first = rollouts.roll_out(1)
    seen = rollouts.gateway.routes()["loan"]
    second = rollouts.roll_out(2)
    with open_stack() as stack:
        assert stack.restore(first, seen) == rollouts.runtime.running()[second.id]
    assert rollouts.serving() == (second.id, second.artifact_digest)
    assert list(rollouts.runtime.running()) == [second.id]


def test_one_model_that_cannot_be_restored_keeps_no_other_down(
    rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose folder is gone is named at the end; the one after it serves again."""
    release = rollouts.roll_out(1)
    route = rollouts.gateway.routes()["loan"]
    rollouts.ledger.append(release.model_copy(update={"id": "release-gone", "model": "gone"}))
    gone = msgspec.structs.replace(route, model="gone", release_id="release-gone")
    asked = GatewayClient.routes
    monkeypatch.setattr(GatewayClient, "routes", lambda client: {"gone": gone, **asked(client)})
    rollouts.runtime.stop_all()
    with pytest.raises(RolloutError, match="gone: there is no model 'gone'"):
        restore()
    assert rollouts.serving() == (release.id, release.artifact_digest)


def test_restore_goes_back_to_what_was_proved(rollouts: Rollouts) -> None:
    """A route to a release that was never recorded goes back to the latest that was."""
    first = rollouts.roll_out(1)
    release, image = rollouts.plan(2, rollouts.artifact(2))
    switch_route.fn(release, start_release.fn(release, image))
    stop_all()
    restore()
    assert rollouts.serving() == (first.id, first.artifact_digest)


def test_a_container_takes_over_from_a_process_and_hands_back(
    rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Releases of both runtimes follow each other; a container, too, is drained, stopped and restored."""
    try:
        connect().close()
    except ServiceUnavailableError as error:
        pytest.skip(f"no containers here: {error}")
    rollouts.roll_out(1)
    monkeypatch.setenv("TRIMTAB_RUNTIME", "docker")
    second = rollouts.roll_out(2)
    assert second.runtime == "docker"
    assert rollouts.serving() == (second.id, second.artifact_digest)
    assert rollouts.runtime.running() == {}
    stop_all()
    assert not rollouts.gateway.ready("loan")
    restore()
    assert rollouts.serving() == (second.id, second.artifact_digest)
    monkeypatch.setenv("TRIMTAB_RUNTIME", "process")
    third = rollouts.roll_out(3)
    assert rollouts.serving() == (third.id, third.artifact_digest)
    with closing(connect()) as engine:
        assert ContainerRuntime(engine, rollouts.settings.home).running() == {}


def register(rollouts: Rollouts, mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """The recorded versions in MLflow, as training would have left them."""
    monkeypatch.setenv("TRIMTAB_MLFLOW_URL", mlflow_url)
    client = MlflowClient(mlflow_url, mlflow_url)
    if client.search_registered_models("name = 'loan'"):
        client.delete_registered_model("loan")
    client.create_registered_model("loan")
    for version in rollouts.ledger.records(Version, "loan"):
        tags = {TAG_CANDIDATE_ID: version.candidate_id}
        run = client.create_run("0").info
        made = client.create_model_version("loan", f"{run.artifact_uri}/model", run_id=run.run_id, tags=tags)
        assert str(made.version) == version.version
    return client


@pytest.mark.usefixtures("prefect")
def test_rollback_brings_the_version_before_back_and_says_why(
    rollouts: Rollouts, mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older version serves, is on record with its cause, and has the alias; a second rollback goes further back."""
    one, two, three = (rollouts.roll_out(number) for number in (1, 2, 3))
    client = register(rollouts, mlflow_url, monkeypatch)
    release = rollback("loan", "version 3 refuses everyone", as_of=AS_OF)
    assert (release.version, release.previous_id) == ("2", three.id)
    assert rollouts.serving() == (release.id, two.artifact_digest)
    assert client.get_model_version_by_alias("loan", CHAMPION).version == "2"
    cause = rollouts.cause(release.cause_id)
    assert (cause.trigger, cause.reason) == ("rollback", "version 3 refuses everyone")
    assert rollback("loan", "version 2 neither", as_of=AS_OF).version == "1"
    assert rollouts.serving()[1] == one.artifact_digest
    with pytest.raises(RolloutError, match="no version of loan served before version 1"):
        rollback("loan", "further", as_of=AS_OF)
    with pytest.raises(RolloutError, match=r"'9' of loan was never released; those that were: \['1', '2', '3'\]"):
        rollback("loan", "to nowhere", to_version="9", as_of=AS_OF)
    assert rollback("loan", "3 was right after all", to_version="3", as_of=AS_OF).version == "3"
    assert rollouts.serving()[1] == three.artifact_digest
    assert len(rollouts.runtime.running()) == 1
    rollouts.ledger.verify()


def record_ruling(rollouts: Rollouts) -> str:
    """A ROLLBACK ruling on what serves, on record."""
    release = rollouts.ledger.latest(Release, "loan")
    assert release is not None
    ruling = Ruling(
        id="ruling-1",
        model="loan",
        release_id=release.id,
        validation_id=None,
        start=AS_OF,
        end=AS_OF,
        as_of=AS_OF,
        action=Action.ROLLBACK,
        reason="worse than its predecessor",
        signals=(),
        policy_digest="policy",
    )
    rollouts.ledger.append(ruling)
    return ruling.id


@pytest.mark.usefixtures("prefect")
def test_a_rollback_for_a_ruling_happens_once(
    rollouts: Rollouts, mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that arrives twice, or a run that is repeated, ends with one release."""
    rollouts.roll_out(1)
    rollouts.roll_out(2)
    register(rollouts, mlflow_url, monkeypatch)
    ruling = record_ruling(rollouts)
    payload = {
        "ruling_id": ruling,
        "model": "loan",
        "as_of": AS_OF.isoformat(),
        "reason": "worse",
        "action": "ROLLBACK",
    }
    first, second = (rollback("loan", "", cause=payload) for _ in range(2))
    assert first == second
    assert first.version == "1"
    assert rollouts.cause(first.cause_id).ruling_id == ruling
    assert len(rollouts.ledger.records(Release)) == 3


def test_a_roll_out_that_another_has_overtaken_leaves_the_other_serving(rollouts: Rollouts) -> None:
    """A retraining that ends after a rollback, or the other way round, does not undo it: it is told to start anew."""
    rollouts.roll_out(1)
    release, image = rollouts.plan(2, rollouts.artifact(2))
    url = start_release.fn(release, image)
    other = rollouts.roll_out(3)
    with pytest.raises(RolloutError, match=rf"version 3 \({other.id}\) came into service meanwhile"):
        switch_route.fn(release, url)
    assert rollouts.serving() == (other.id, other.artifact_digest)
    assert list(rollouts.runtime.running()) == [other.id]


@pytest.mark.usefixtures("prefect")
def test_a_rollback_of_what_no_longer_serves_is_skipped_and_says_so(rollouts: Rollouts) -> None:
    """What was ruled on has been replaced meanwhile: going back now would take away what nobody has judged."""
    rollouts.roll_out(1)
    rollouts.roll_out(2)
    ruling = record_ruling(rollouts)
    third = rollouts.roll_out(3)
    state = rollback("loan", "", cause={"ruling_id": ruling}, return_state=True)
    assert (state.name, state.is_completed()) == ("Skipped", True)
    assert "judged release-" in str(state.message)
    assert "which no longer serves: version 3" in str(state.message)
    assert rollouts.serving() == (third.id, third.artifact_digest)
    assert len(rollouts.ledger.records(Release)) == 3
