"""What every runtime promises (`trimtab.release.runtimes.Runtime`), held to by processes and by containers alike."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.image import build_image
from tasks.rollout.containers import ContainerRuntime, _free_port, connect
from tests.loan_artifact import make_artifact, records_of
from trimtab.errors import RolloutError, ServiceUnavailableError
from trimtab.release.processes import ProcessRuntime
from trimtab.release.runtimes import Runtime, ScorerOrder, not_ready
from trimtab.settings import Settings


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that the whole module shares, so that environments and layers are built once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(params=["process", "docker"])
def runtime(request: pytest.FixtureRequest, home: Path) -> Iterator[Runtime]:
    """A runtime of that kind; what a test leaves running is stopped."""
    if request.param == "process":
        found: Runtime = ProcessRuntime(home / "releases")
        yield found
        found.stop_all()
        return
    try:
        engine = connect()
    except ServiceUnavailableError as error:
        pytest.skip(f"no containers here: {error}")
    with closing(engine):
        found = ContainerRuntime(engine, home)
        yield found
        found.stop_all()


@pytest.fixture
def order(request: pytest.FixtureRequest, runtime: Runtime, home: Path, monkeypatch: pytest.MonkeyPatch) -> ScorerOrder:
    """An order for a small model, built for the runtime, under a release id of its own."""
    kind = "process" if isinstance(runtime, ProcessRuntime) else "docker"
    monkeypatch.setenv("TRIMTAB_HOME", str(home))
    monkeypatch.setenv("TRIMTAB_MODELS_DIR", str(Path(__file__).parents[1] / "models"))
    monkeypatch.setenv("TRIMTAB_RUNTIME", kind)
    settings = Settings.from_env()
    existing = [path.name for path in settings.artifacts_dir.glob("?" * 64)] if settings.artifacts_dir.is_dir() else []
    digest = existing[0] if existing else make_artifact(settings.artifacts_dir)
    _, version, candidate, _ = records_of(digest, 1)
    image = build_image.fn("loan", version, candidate)
    return ScorerOrder(
        release_id=f"release-{uuid.uuid4().hex[:16]}",
        model="loan",
        version="1",
        reference=image.reference,
        artifact=settings.artifacts_dir / digest,
        artifact_digest=digest,
        memory_mb=256,
        start_timeout_s=180,
    )


def test_a_started_scorer_serves_the_ordered_artifact_under_its_version(runtime: Runtime, order: ScorerOrder) -> None:
    """start returns the address of a scorer that states the artifact's digest and the version."""
    url = runtime.start(order)
    metadata = httpx.get(f"{url}/v2/models/loan").json()
    assert metadata["artifact_digest"] == order.artifact_digest
    assert metadata["versions"] == ["1"]
    assert runtime.running("loan") == {order.release_id: url}


def test_starting_twice_gives_one_scorer(runtime: Runtime, order: ScorerOrder) -> None:
    """start is idempotent: the same address, and one release that runs."""
    assert runtime.start(order) == runtime.start(order)
    assert list(runtime.running()) == [order.release_id]


def test_two_releases_run_side_by_side_and_stop_alone(runtime: Runtime, order: ScorerOrder) -> None:
    """stop ends one release and leaves the other serving."""
    other = dataclasses.replace(order, release_id=f"release-{uuid.uuid4().hex[:16]}", version="2")
    first, second = runtime.start(order), runtime.start(other)
    assert first != second
    runtime.stop(order.release_id)
    assert runtime.running("loan") == {other.release_id: second}
    assert not_ready(second, other, timeout_s=60) == ""
    assert not_ready(first, order) != ""


def test_stopping_is_idempotent_and_leaves_nothing(runtime: Runtime, order: ScorerOrder) -> None:
    """stop of what runs, of what was stopped, and of what never was, all end with nothing running."""
    runtime.start(order)
    runtime.stop(order.release_id)
    runtime.stop(order.release_id)
    runtime.stop("release-that-never-was")
    assert runtime.running() == {}


def test_a_stopped_release_starts_again(runtime: Runtime, order: ScorerOrder) -> None:
    """A release can be brought back after it was stopped."""
    runtime.start(order)
    runtime.stop(order.release_id)
    assert not_ready(runtime.start(order), order, timeout_s=60) == ""


def test_what_runs_is_seen_by_model(runtime: Runtime, order: ScorerOrder) -> None:
    """running names the releases of the asked model only."""
    runtime.start(order)
    assert runtime.running("another-model") == {}
    assert list(runtime.running("loan")) == [order.release_id]


def test_an_order_for_another_artifact_than_the_image_holds_fails_with_the_log_and_stops(
    runtime: Runtime, order: ScorerOrder
) -> None:
    """A scorer that does not serve what was ordered is stopped, without a wait for better, and the error tells why."""
    wrong = dataclasses.replace(order, artifact_digest="0" * 64)
    with pytest.raises(RolloutError, match=r"did not start: (it exited|http\S+ serves artifact)(.|\n)*0{64}"):
        runtime.start(wrong)
    assert runtime.running() == {}


def test_stop_all_ends_every_release(runtime: Runtime, order: ScorerOrder) -> None:
    """After stop_all nothing of this home runs."""
    runtime.start(order)
    runtime.start(dataclasses.replace(order, release_id=f"release-{uuid.uuid4().hex[:16]}"))
    runtime.stop_all()
    assert runtime.running() == {}


@pytest.mark.parametrize("runtime", ["process"], indirect=True)
def test_a_scorer_that_cannot_load_its_artifact_fails_quickly_with_its_last_words(
    runtime: Runtime, order: ScorerOrder, home: Path
) -> None:
    """The error of a process that exits quotes its log, and does not wait for the time-out."""
    broken = home / "broken"
    shutil.copytree(order.artifact, broken, dirs_exist_ok=True)
    (broken / "model.onnx").write_bytes(b"no model")
    with pytest.raises(RolloutError, match=r"did not start: it exited(.|\n)*on record is"):
        runtime.start(dataclasses.replace(order, artifact=broken))


@pytest.mark.parametrize("runtime", ["process"], indirect=True)
def test_a_killed_process_is_started_anew_and_no_other_process_is_taken_for_it(
    runtime: Runtime, order: ScorerOrder, home: Path
) -> None:
    """After SIGKILL the release counts as not running, and stop does not touch whoever has its process id now."""
    runtime.start(order)
    pid_file = home / "releases" / "loan" / order.release_id / "pid"
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    deadline = time.monotonic() + 60
    while runtime.running() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert runtime.running() == {}
    pid_file.write_text(str(os.getpid()))
    runtime.stop(order.release_id)
    assert not_ready(runtime.start(order), order, timeout_s=60) == ""


@pytest.mark.parametrize("runtime", ["docker"], indirect=True)
def test_containers_run_without_privileges(runtime: Runtime, order: ScorerOrder) -> None:
    """A scorer's container has no root, no capabilities, a read-only file system, limits, and a loopback port."""
    runtime.start(order)
    with closing(connect()) as engine:
        (container,) = engine.containers.list(filters={"label": f"trimtab.release={order.release_id}"})
        host: dict[str, Any] = container.attrs["HostConfig"]
        assert container.attrs["Config"]["User"] == "10001:10001"
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["Memory"] == order.memory_mb * 1024 * 1024
        assert [binding["HostIp"] for binding in container.ports["8080/tcp"]] == ["127.0.0.1"]
        written = container.exec_run(["python3", "-c", "open('/opt/trimtab/x', 'w')"])
        assert written.exit_code != 0


@pytest.mark.parametrize("runtime", ["docker"], indirect=True)
def test_a_container_that_crashes_comes_back_under_its_address(runtime: Runtime, order: ScorerOrder) -> None:
    """The engine restarts it, and the route that leads to it still does."""
    url = runtime.start(order)
    with closing(connect()) as engine:
        (container,) = engine.containers.list(filters={"label": f"trimtab.release={order.release_id}"})
        os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while container.attrs["RestartCount"] == 0 or not_ready(url, order):
            assert time.monotonic() < deadline
            time.sleep(0.1)
            container.reload()
    assert runtime.running("loan") == {order.release_id: url}


@pytest.mark.parametrize("runtime", ["docker"], indirect=True)
def test_a_port_that_is_taken_is_replaced_by_another(
    runtime: Runtime, order: ScorerOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look and the engine's somebody may take a port: the next one is tried."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        ports = chain([taken], iter(_free_port, 0))
        monkeypatch.setattr("tasks.rollout.containers._free_port", lambda: next(ports))
        url = runtime.start(order)
        assert url != f"http://127.0.0.1:{taken}"
        assert not_ready(url, order, timeout_s=60) == ""
