"""A stack's services start together, come back when they die, and leave no process behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from trimtab.errors import ServiceUnavailableError
from trimtab.services import Service, Supervisor
from trimtab.services.definitions import answers, prefect_server
from trimtab.services.ports import hold_ports, settle_ports
from trimtab.services.processes import members
from trimtab.settings import Settings, connect

# It starts a grandchild in a session of its own, as Prefect's worker does with flow runs.
PARENT = (
    "import subprocess, sys, http.server as h; "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); "
    "h.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)


def settings_for(home: Path) -> Settings:
    urls = {f"TRIMTAB_{name}_URL": "http://127.0.0.1:0" for name in ("PREFECT", "MLFLOW", "GATEWAY", "REPORTS")}
    return Settings.from_env({"TRIMTAB_HOME": str(home), **urls})


def small_stack(settings: Settings, _: str) -> list[Service]:
    """Two small servers; the second needs the first."""

    def service(name: str, url: str, needs: tuple[str, ...] = ()) -> Service:
        command = (sys.executable, "-c", PARENT, str(urlsplit(url).port))
        return Service(name, name, command, url, lambda: answers(url), needs=needs, start_timeout_s=180)

    return [service("reports", settings.reports_url), service("gateway", settings.gateway_url, ("reports",))]


def until(good: Callable[[], bool], within_s: float = 180) -> None:
    deadline = time.monotonic() + within_s
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stack_is_ready_on_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """While it is up other processes find it by its file; after it neither file nor process is left."""
    said: list[str] = []
    with Supervisor(settings_for(tmp_path), said.append, small_stack) as supervisor:
        found = Settings.from_env({"TRIMTAB_HOME": str(tmp_path)})
        assert found.gateway_url == supervisor.settings.gateway_url
        assert httpx.get(found.gateway_url).is_success
        assert "0 models" in (found.reports_dir / "index.html").read_text()
        stack = supervisor._stack
        assert len(members(stack)) == 4
    assert members(stack) == []
    assert not found.services_file.exists()
    assert [line.split()[0] for line in said] == ["reports", "gateway", "gateway", "reports"]


def test_a_service_that_dies_is_started_again_at_the_same_address(tmp_path: Path) -> None:
    """Killing a service is said, and a new process takes its place."""
    said: list[str] = []
    with Supervisor(settings_for(tmp_path), said.append, small_stack) as supervisor:
        url, before = supervisor.settings.gateway_url, supervisor.process_ids()["gateway"]
        os.kill(before, signal.SIGKILL)
        until(lambda: supervisor.process_ids()["gateway"] != before and answers(url))
        assert any("gateway ended with status -9; started again in 1 s" in line for line in said)


def test_a_child_that_outlives_its_service_gives_the_port_back(tmp_path: Path) -> None:
    """As MLflow's uvicorn: killed, the service left a child on the port, and every restart failed."""
    parent = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-m', 'http.server', *sys.argv[1:]]))"

    def forking(settings: Settings, _: str) -> list[Service]:
        url = settings.reports_url
        command = (sys.executable, "-c", parent, str(urlsplit(url).port), "--bind", "127.0.0.1")
        return [Service("reports", "reports", command, url, lambda: answers(url), start_timeout_s=180)]

    with Supervisor(settings_for(tmp_path), str, forking) as supervisor:
        before = supervisor.process_ids()["reports"]
        (child,) = psutil.Process(before).children()
        os.kill(before, signal.SIGKILL)
        until(lambda: supervisor.process_ids()["reports"] != before and answers(supervisor.settings.reports_url))
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
        assert psutil.Process(supervisor.process_ids()["reports"]).is_running()


def test_a_second_stack_in_the_same_home_is_refused(tmp_path: Path) -> None:
    """Two stacks would fight over one home; the first is not disturbed."""
    with Supervisor(settings_for(tmp_path), str, small_stack) as first:
        with pytest.raises(ServiceUnavailableError, match=rf"already up in {tmp_path} \(process {os.getpid()}\)"):
            Supervisor(settings_for(tmp_path), str, small_stack).start()
        assert answers(first.settings.gateway_url)
        assert first.settings.services_file.exists()


def test_a_service_that_does_not_start_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    """The error says which and why; what had started is stopped."""

    def broken(settings: Settings, worker: str) -> list[Service]:
        dies = (sys.executable, "-c", "raise SystemExit('no room on the disk')")
        return [*small_stack(settings, worker), Service("mlflow", "MLflow", dies, "", lambda: False)]

    supervisor = Supervisor(settings_for(tmp_path), str, broken)
    with pytest.raises(ServiceUnavailableError, match=r"MLflow ended with status 1(.|\n)*no room on the disk"):
        supervisor.start()
    assert members(supervisor._stack) == []


def test_what_a_killed_stack_left_behind_is_stopped_by_the_next_one(tmp_path: Path) -> None:
    """After a kill -9 of the supervisor nothing of it serves on beside the new stack, and its file misleads nobody."""
    script = (
        "import sys, pathlib; from tests.contracts.test_services import *; "
        "s = Supervisor(settings_for(pathlib.Path(sys.argv[1])), str, small_stack); "
        "s.start(); print(s._stack, flush=True); s.wait()"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, cwd=root, text=True
    ) as process:
        assert process.stdout is not None
        stack = process.stdout.readline().strip()
        process.kill()
    assert len(members(stack)) == 4
    # A dead stack's addresses are nobody's.
    assert Settings.from_env({"TRIMTAB_HOME": str(tmp_path)}).gateway_url == "http://127.0.0.1:8080"
    said: list[str] = []
    with Supervisor(settings_for(tmp_path), said.append, small_stack):
        assert members(stack) == []
    assert "did not end well: stopping 4 processes" in said[0]


def test_a_taken_port_is_replaced_and_that_is_said(tmp_path: Path) -> None:
    """The stack comes up beside whatever else listens here."""
    with Supervisor(settings_for(tmp_path / "one"), str, small_stack) as first:
        taken = first.settings.gateway_url
        wanted = Settings.from_env({"TRIMTAB_HOME": str(tmp_path / "two"), "TRIMTAB_GATEWAY_URL": taken})
        said: list[str] = []
        settled = settle_ports(wanted, said.append)
    assert settled.gateway_url != taken
    here = urlsplit(settled.gateway_url).port
    # Beside what else is said where a stack is up on this machine.
    assert f"port {urlsplit(taken).port} is taken: the gateway listens on {here} instead" in said


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a service listen on a port that is held for it")
def test_a_port_that_is_found_free_is_kept_for_its_service(tmp_path: Path) -> None:
    """Nobody else is given it before the service listens there, nor while it is down; no other machine's is held."""
    elsewhere = {"TRIMTAB_HOME": str(tmp_path), "TRIMTAB_MLFLOW_URL": "https://mlflow.bank.example"}
    settings = settle_ports(Settings.from_env({**elsewhere, "TRIMTAB_GATEWAY_URL": "http://127.0.0.1:0"}), str)
    address = ("127.0.0.1", urlsplit(settings.gateway_url).port)
    held = hold_ports(settings)
    try:
        assert len(held) == 3
        for _ in range(2):
            with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
                stranger.bind(address)
            with socket.create_server(address), socket.create_connection(address):
                pass
    finally:
        for each in held:
            each.close()


def test_services_of_other_machines_are_not_started_here(tmp_path: Path) -> None:
    """An address elsewhere is used as it is."""
    from trimtab.services import stack_services

    env = {"TRIMTAB_HOME": str(tmp_path), "TRIMTAB_PREFECT_URL": "https://prefect.bank.example"}
    settings = settle_ports(Settings.from_env(env), str)
    assert settings.prefect_url == "https://prefect.bank.example"
    assert [service.name for service in stack_services(settings)] == ["mlflow", "gateway", "reports", "worker"]


def test_a_run_that_was_cut_off_with_its_stack_is_marked_as_crashed_by_the_next_one(tmp_path: Path) -> None:
    """A run that stays Running for ever would hold its model's one slot."""

    def prefect_and_a_worker(settings: Settings, _: str) -> list[Service]:
        idle = (sys.executable, "-c", "import time; time.sleep(600)")
        return [prefect_server(settings), Service("worker", "worker", idle, "", lambda: True, needs=("prefect",))]

    def api(stack: Supervisor, method: str, path: str, body: object = None) -> dict[str, Any]:
        url = f"{stack.settings.prefect_api_url}{path}"
        return httpx.request(method, url, json=body, timeout=30).raise_for_status().json()

    with Supervisor(settings_for(tmp_path), str, prefect_and_a_worker) as first:
        api(first, "POST", "/work_pools/", {"name": "trimtab", "type": "process"})
        flow = api(first, "POST", "/flows/", {"name": "retrain"})
        wanted = {"name": "loan", "flow_id": flow["id"], "work_pool_name": "trimtab"}
        deployment = api(first, "POST", "/deployments/", wanted)
        run = api(first, "POST", f"/deployments/{deployment['id']}/create_flow_run", {})
        api(first, "POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "RUNNING"}, "force": True})
    said: list[str] = []
    with Supervisor(settings_for(tmp_path), said.append, prefect_and_a_worker) as second:
        assert api(second, "GET", f"/flow_runs/{run['id']}")["state_type"] == "CRASHED"
    assert any(f"flow run {run['name']} was cut off" in line for line in said)


def test_connect_points_prefect_and_mlflow_at_the_stack_of_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where a stack is up, and only what the environment does not say itself."""
    for name in ("TRIMTAB_PREFECT_URL", "TRIMTAB_MLFLOW_URL", "PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    # What connect sets is taken away again.
    monkeypatch.setattr(os, "environ", dict(os.environ))
    connect()
    assert "PREFECT_API_URL" not in os.environ
    with Supervisor(settings_for(tmp_path), str, small_stack) as supervisor:
        os.environ["MLFLOW_TRACKING_URI"] = "http://elsewhere"
        connect()
        assert os.environ["PREFECT_API_URL"] == supervisor.settings.prefect_api_url
        assert os.environ["MLFLOW_TRACKING_URI"] == "http://elsewhere"


def test_trimtab_up_serves_until_interrupted_and_leaves_no_process(tmp_path: Path) -> None:
    """The real stack: every service answers, check finds it well, one signal stops all within seconds."""
    root = Path(__file__).parents[2]
    urls = {f"TRIMTAB_{name}_URL": "http://127.0.0.1:0" for name in ("PREFECT", "MLFLOW", "GATEWAY", "REPORTS")}
    env = {**os.environ, "TRIMTAB_HOME": str(tmp_path), "TRIMTAB_MODELS_DIR": str(root / "tests" / "models")}
    env["TRIMTAB_SUITES_DIR"] = str(root / "tests" / "expectations")
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "trimtab.cli", "up"], env={**env, **urls}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: "Ctrl-C stops it all" in log.read_text() or up.poll() is not None, within_s=240)
        assert up.poll() is None, log.read_text()
        family = psutil.Process(up.pid).children(recursive=True)
        check = [sys.executable, "-m", "trimtab.cli", "check"]
        # Of a service that has not answered within seconds it says so, as may be on a busy machine: it is asked again.
        checks: list[subprocess.CompletedProcess[str]] = []

        def is_well() -> bool:
            checks.append(subprocess.run(check, env=env, capture_output=True, text=True, check=False))
            return "0 failed" in checks[-1].stdout

        until(is_well)
        assert checks[-1].returncode == 0, checks[-1].stdout + checks[-1].stderr
        up.send_signal(signal.SIGINT)
        assert up.wait(timeout=180) == 0, log.read_text()
    finally:
        up.kill()
        up.wait()
    assert [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    assert "stopped" in log.read_text()
    assert "Traceback" not in log.read_text()
