"""The one place where the environment is read.

Each setting is a field with a type, a default and a help text; its variable is ``TRIMTAB_`` and the field's name in
capitals. What a running stack (``trimtab up``) wrote to ``<home>/services.json`` stands in for a default, so that
notebooks and commands find it without any variable.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from trimtab.errors import SpecError

QUIET_ENVIRONMENT: Mapping[str, str] = {
    # Nothing phones home.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "ORT_DISABLE_TELEMETRY": "1",
}
"""Variables that turn off the telemetry of Prefect, MLflow, Great Expectations, Evidently and ONNX Runtime."""

_IMAGE_REPOSITORY = re.compile(r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$", re.ASCII)
_TASK_RUNNER = re.compile(r"^(threads|dask|(tcp|tls|ws|wss|ucx)://[^\s/@]+:[0-9]+)$", re.ASCII)
_SEGMENTS_URL = re.compile(r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.!*'()-]+)*/?$", re.ASCII)


def quiet_telemetry() -> None:
    """Turn telemetry off in this process, unless the user's own environment says otherwise.

    Called by the packages ``tasks`` and ``flows`` before they import any of those libraries.
    """
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def connect() -> None:
    """Point Prefect and MLflow in this process at the services that the settings name, unless it says otherwise.

    Notebooks, commands and flow runs all come to the same servers, without a variable set by hand. Called by the
    packages ``tasks`` and ``flows``; does nothing where neither a stack runs in the home nor a URL is set, so that a
    test's own Prefect server is left alone.
    """
    settings = Settings.from_env()
    if is_ours(settings, "prefect_url"):
        os.environ.setdefault("PREFECT_API_URL", settings.prefect_api_url)
    if is_ours(settings, "mlflow_url"):
        os.environ.setdefault("MLFLOW_TRACKING_URI", settings.mlflow_url)


def is_ours(settings: Settings, url: str) -> bool:
    """Whether the address of that setting (such as ``prefect_url``) was given or is a running stack's of this home.

    What only stands at a default address may be someone else's.
    """
    return variable(url) in os.environ or bool(_running_services(settings.home))


def require_stack(settings: Settings) -> None:
    """Refuse to act on a Prefect server that only happens to be at the default address: it may be someone else's.

    Raises
    ------
    SpecError
        If no stack runs in the home and no address of a Prefect server is set.
    """
    if not is_ours(settings, "prefect_url"):
        raise SpecError(
            f"no stack runs in {settings.home}: start one with `trimtab up`, or set TRIMTAB_HOME to where one runs, or "
            "TRIMTAB_PREFECT_URL to your Prefect server"
        )


def _setting(default: Any, help_text: str, is_file: bool = False, least: int = 1) -> Any:
    """A setting. One that names a file, or is empty, becomes absolute: services run in another folder."""
    return field(default=default, metadata={"help": help_text, "is_file": is_file, "least": least})


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are and how services are reached. Frozen; made by :func:`Settings.from_env`."""

    home: Path = _setting(Path(".trimtab"), "folder of all that trimtab keeps (ledger, logs, snapshots, releases)")
    models_dir: Path = _setting(Path("deployments/models"), "folder with one folder a model, each with a spec.py")
    suites_dir: Path = _setting(Path("expectations"), "folder of the Great Expectations suites, as JSON")
    host: str = _setting("127.0.0.1", "address that the services listen on")
    prefect_url: str = _setting("http://127.0.0.1:4200", "address of the Prefect server (without /api)")
    mlflow_url: str = _setting("http://127.0.0.1:5001", "address of the MLflow tracking server and registry")
    gateway_url: str = _setting("http://127.0.0.1:8080", "address of the gateway")
    reports_url: str = _setting("http://127.0.0.1:8081", "address under which <home>/reports is served")
    ledger_url: str = _setting("", "SQLAlchemy URL of the ledger; empty: SQLite in <home>/ledger.db")
    runtime: str = _setting("auto", "where releases run: docker, process, or auto (docker where an engine answers)")
    base_image: str = _setting(
        "",
        "base image with Python 3.11 for model images; empty: trimtab-scorer:3.11, trimtab-python:3.11 or "
        "python:3.11-slim, the first that is there",
    )
    image_repository: str = _setting(
        "", "registry that model images are pushed to and run from, like registry.example.org/models; empty: none"
    )
    work_pool: str = _setting("trimtab", "Prefect work pool that the deployments run in")
    task_runner: str = _setting(
        "threads",
        "what runs many tasks of one flow: threads, dask (a local cluster for the run), or the address of a Dask "
        "scheduler, like tcp://10.0.0.7:8786",
    )
    segments_url: str = _setting(
        "", "where sealed prediction logs go: s3://bucket/prefix; empty: a folder beside each log's spool"
    )
    s3_endpoint_url: str = _setting("", "address of the S3 server; empty: Amazon's, or what boto3's variables say")
    gateway_token: str = _setting(
        "", "token to send to the gateway; unless `trimtab tokens` made it, also one that the gateway then asks for"
    )
    allow_open: bool = _setting(False, "true: let the gateway listen beyond loopback without asking for any token")
    tls_cert: str = _setting("", "certificate chain (PEM) of the gateway; empty: it speaks plain HTTP", is_file=True)
    tls_key: str = _setting("", "key (PEM, unencrypted) of the gateway's certificate", is_file=True)
    tls_client_ca: str = _setting(
        "", "authorities (PEM) of whom callers of the gateway must show a certificate; empty: none is asked for", True
    )
    tls_ca: str = _setting("", "authorities (PEM) that the gateway is verified with; empty: the system's", is_file=True)
    tls_client_cert: str = _setting("", "certificate (PEM) to show to a gateway that asks for one", is_file=True)
    tls_client_key: str = _setting("", "key (PEM, unencrypted) of the certificate to show", is_file=True)
    evidently_runs: int = _setting(365, "windows a model that Evidently's workspace in <home>/evidently keeps")
    max_body_bytes: int = _setting(8 * 1024 * 1024, "largest request body that the gateway reads")
    max_rows: int = _setting(10_000, "largest number of rows in one request")
    max_queue_rows: int = _setting(20_000, "rows waiting for a scorer before the gateway answers 429")
    max_reads: int = _setting(16, "calls that read predictions, under way, before the gateway answers 429")
    log_format: str = _setting("text", "what the gateway's log lines are: text, or json (an object a line)")
    log_requests: bool = _setting(
        False, "true: the gateway logs a line a request, and what errors say of requests; else nothing of either"
    )
    drain_delay_s: int = _setting(
        0, "seconds that a stopping gateway still takes requests while it says it is not ready", least=0
    )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the settings.

        Parameters
        ----------
        env
            The variables to read; the process's own by default.

        Raises
        ------
        SpecError
            If a variable holds a value of the wrong type, or a number below 1.
        """
        env = os.environ if env is None else env
        home = Path(env.get("TRIMTAB_HOME", str(cls.__dataclass_fields__["home"].default))).absolute()
        running = _running_services(home)
        values: dict[str, Any] = {}
        for setting in fields(cls):
            name = variable(setting.name)
            raw = env.get(name, running.get(setting.name))
            values[setting.name] = (
                setting.default
                if raw is None
                else _convert(name, raw, type(setting.default), setting.metadata["least"])
            )
        for setting in fields(cls):
            if isinstance(setting.default, Path):
                values[setting.name] = Path(values[setting.name]).absolute()
            elif setting.metadata["is_file"] and values[setting.name]:
                values[setting.name] = str(Path(values[setting.name]).absolute())
        if values["runtime"] not in ("auto", "docker", "process"):
            raise SpecError(f"TRIMTAB_RUNTIME is {values['runtime']!r}; it must be one of auto, docker, process")
        if values["log_format"] not in ("text", "json"):
            raise SpecError(f"TRIMTAB_LOG_FORMAT is {values['log_format']!r}; it must be text or json")
        if not _TASK_RUNNER.match(values["task_runner"]):
            raise SpecError(
                f"TRIMTAB_TASK_RUNNER is {values['task_runner']!r}; it must be threads, dask, or the address of a Dask "
                "scheduler like tcp://10.0.0.7:8786"
            )
        _check_image_repository(values["image_repository"])
        _check_segments_url(values["segments_url"])
        _check_endpoint_url(values["s3_endpoint_url"])
        return cls(**values)

    def as_env(self) -> dict[str, str]:
        """The variables under which another process reads these same settings."""
        return {variable(setting.name): _as_text(getattr(self, setting.name)) for setting in fields(self)}

    @property
    def ledger(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return self.ledger_url or f"sqlite:///{self.home / 'ledger.db'}"

    @property
    def prefect_api_url(self) -> str:
        """Address of the Prefect server's API."""
        return f"{self.prefect_url.rstrip('/')}/api"

    def flow_run_url(self, flow_run_id: str) -> str:
        """Address of the page on a flow run in Prefect's UI."""
        return f"{self.prefect_url.rstrip('/')}/runs/flow-run/{flow_run_id}"

    @property
    def services_file(self) -> Path:
        """What a running stack wrote about itself."""
        return self.home / "services.json"

    @property
    def admin_token_file(self) -> Path:
        """The secret that moves routes at the gateway; made on first use, readable by its owner only."""
        return self.home / "admin.token"

    @property
    def snapshots_dir(self) -> Path:
        """Content-addressed training and evaluation data, as Parquet."""
        return self.home / "snapshots"

    @property
    def artifacts_dir(self) -> Path:
        """Content-addressed model artifacts, a folder each."""
        return self.home / "artifacts"

    @property
    def predictions_dir(self) -> Path:
        """The prediction logs, a folder a model."""
        return self.home / "predictions"

    @property
    def releases_dir(self) -> Path:
        """State of the releases that run: ports, process ids, logs; and cached environments."""
        return self.home / "releases"

    @property
    def reports_dir(self) -> Path:
        """Pages for people, served under ``reports_url``."""
        return self.home / "reports"

    @property
    def evidently_dir(self) -> Path:
        """Evidently's workspace, for ``evidently ui --workspace``."""
        return self.home / "evidently"


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"TRIMTAB_{name.upper()}"


def _check_image_repository(repository: str) -> None:
    host = repository.partition("/")[0]
    named = host == "localhost" or "." in host or ":" in host
    if repository and not (named and _IMAGE_REPOSITORY.match(repository)):
        raise SpecError(
            f"TRIMTAB_IMAGE_REPOSITORY is {repository!r}; it must be empty or a registry's host and a path without tag "
            "or credentials, like registry.example.org/models (docker login keeps credentials)"
        )


def _check_segments_url(url: str) -> None:
    # A wrong one is not quoted where it may hold a secret.
    if url and not _SEGMENTS_URL.match(url):
        stated = "an address with a user name" if "@" in url else repr(url)
        raise SpecError(
            f"TRIMTAB_SEGMENTS_URL is {stated}; it must be empty or s3://bucket/prefix, without credentials: boto3 "
            "finds those by its own conventions (AWS_ACCESS_KEY_ID, AWS_PROFILE, a role)"
        )


def _check_endpoint_url(url: str) -> None:
    if url and (not url.startswith(("http://", "https://")) or "@" in url):
        stated = "an address with a user name" if "@" in url else repr(url)
        raise SpecError(
            f"TRIMTAB_S3_ENDPOINT_URL is {stated}; it must be empty or like http://127.0.0.1:9000, without credentials"
        )


def _running_services(home: Path) -> dict[str, str]:
    try:
        found = json.loads((home / "services.json").read_text())
    except (FileNotFoundError, ValueError):
        # A damaged file is as good as none: the next stack writes it anew.
        return {}
    if not isinstance(found, dict):
        return {}
    stated = {str(key): str(value) for key, value in found.items()}
    return stated if _is_alive(stated.get("pid", "")) else {}


def _is_alive(process_id: str) -> bool:
    """Whether the stack that wrote the file still runs; without a process id it is taken at its word."""
    if not process_id.isdigit():
        return True
    try:
        os.kill(int(process_id), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _convert(name: str, raw: str, to: type, least: int) -> Any:
    if to is bool:
        if raw.lower() not in ("true", "false"):
            raise SpecError(f"{name} is {raw!r}; it must be true or false")
        return raw.lower() == "true"
    try:
        value = to(raw)
    except ValueError as error:
        raise SpecError(f"{name} is {raw!r}; it must be of type {to.__name__}") from error
    if to is int and value < least:
        raise SpecError(f"{name} is {raw!r}; it must be a whole number of at least {least}")
    return value
