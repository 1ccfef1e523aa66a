"""What each service is: its command, its variables, where it answers, and when it is ready."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from trimtab.services.prefect_api import is_local, worker_is_online
from trimtab.serving.tls import client_tls, public_tls
from trimtab.settings import QUIET_ENVIRONMENT, Settings

_PREFECT_SERVER: Mapping[str, str] = {
    # On SQLite, recording in batches removes stalls of several seconds.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "100",
    # A change of state counts as told once its event is written: not after 5 s, as by default.
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",
    # A run that waits for its turn looks again after 2 s instead of 30.
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
    # Kept in memory, a slot whose holder was killed is lost for ever when the server restarts.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


@dataclass(frozen=True, slots=True)
class Service:
    """A process to keep running.

    Parameters
    ----------
    name, title : str
        In files, and for people.
    command : tuple of str
    url : str
        Where it answers; empty if it does not.
    ready : callable
        Whether it serves now. Never blocks for more than a few seconds, never raises.
    env : mapping
        Its own variables, on top of :func:`environment`.
    needs : tuple of str
        Names of the services that must be ready before it is started.
    start_timeout_s : float
        After which it counts as failed.
    """

    name: str
    title: str
    command: tuple[str, ...]
    url: str
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    start_timeout_s: float = 300


def environment(settings: Settings) -> dict[str, str]:
    """Variables of every process of this stack: settings, addresses, no telemetry, few numeric threads."""
    no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY"), settings.host, "127.0.0.1", "localhost"]))
    return {
        **QUIET_ENVIRONMENT,
        **settings.as_env(),
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_URL": settings.prefect_api_url,
        "PREFECT_UI_URL": settings.prefect_url,
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        # A server that is down is reported within seconds, not minutes.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        # The services share the cores: more threads than that only wait for each other.
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) // 2)),
        "PYTHONUNBUFFERED": "1",
        # A proxy of the environment has no part in calls to our own services.
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def answers(url: str, tls: ssl.SSLContext | None = None) -> bool:
    """Whether a GET of the address succeeds; an https one is verified with ``tls``, by default `public_tls`."""
    try:
        return httpx.get(url, timeout=3, trust_env=False, verify=tls or public_tls()).is_success
    except httpx.HTTPError:
        return False


def stack_services(settings: Settings, worker: str = "trimtab") -> list[Service]:
    """The services that this machine is to run, in the order in which they start.

    Parameters
    ----------
    settings : Settings
        With free ports (`trimtab.services.ports`). A service whose address is another machine's is left out.
    worker : str
        Name of the worker; a new one for each stack, so that an old one is not taken for it.

    Raises
    ------
    SpecError
        If a file that a TLS setting names cannot be used.
    """
    gateway_tls = client_tls(settings)
    python = sys.executable
    mlflow, reports = urlsplit(settings.mlflow_url), urlsplit(settings.reports_url)
    store = settings.home / "mlflow"
    every = [
        prefect_server(settings),
        Service(
            "mlflow",
            "MLflow",
            (
                *(python, "-m", "mlflow", "server", "--workers", "1"),
                *("--host", str(mlflow.hostname), "--port", str(mlflow.port)),
                *("--backend-store-uri", f"sqlite:///{store / 'mlflow.db'}"),
                *("--artifacts-destination", str(store / "artifacts"), "--serve-artifacts"),
            ),
            settings.mlflow_url,
            lambda: answers(f"{settings.mlflow_url}/health"),
            env={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        ),
        Service(
            "gateway",
            "gateway",
            (python, "-m", "trimtab.serving"),
            settings.gateway_url,
            lambda: answers(f"{settings.gateway_url}/v2/health/live", gateway_tls),
            env={"OMP_NUM_THREADS": "1"},
        ),
        Service(
            "reports",
            "reports page",
            (
                *(python, "-m", "http.server", str(reports.port), "--bind", str(reports.hostname)),
                *("--directory", str(settings.reports_dir)),
            ),
            settings.reports_url,
            lambda: answers(settings.reports_url),
        ),
    ]
    own = [service for service in every if is_local(service.url)]
    prefect_is_own = tuple(service.name for service in own if service.name == "prefect")
    return [
        *own,
        Service(
            "worker",
            "Prefect worker",
            (
                *(python, "-m", "prefect", "worker", "start", "--type", "process"),
                *("--pool", settings.work_pool, "--name", worker),
            ),
            "",
            lambda: worker_is_online(settings, worker),
            env={"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_HEARTBEAT_SECONDS": "10"},
            needs=prefect_is_own,
        ),
    ]


def prefect_server(settings: Settings) -> Service:
    """The Prefect server, on SQLite in the home."""
    address = urlsplit(settings.prefect_url)
    database = settings.home / "prefect" / "prefect.db"
    return Service(
        "prefect",
        "Prefect server",
        (
            *(sys.executable, "-m", "prefect", "server", "start"),
            *("--host", str(address.hostname), "--port", str(address.port)),
        ),
        settings.prefect_url,
        lambda: answers(f"{settings.prefect_api_url}/ready"),
        env={
            **_PREFECT_SERVER,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
            "PREFECT_SERVER_UI_API_URL": settings.prefect_api_url,
        },
    )
