"""Where releases run: the port that every runtime keeps to, and how a scorer shows that it is ready.

``processes.py`` runs scorers as local processes, ``tasks/rollout/containers.py`` as containers. Both pass the same
contract suite (tests/contracts/test_runtimes.py).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from trimtab.errors import RolloutError

LOG_LINES = 20
"""How many of a scorer's last log lines an error quotes."""

POLL_INTERVAL_S = 0.05

CONTAINER_PORT = 8080
"""Where a scorer listens inside its container."""


@dataclass(frozen=True, slots=True)
class ScorerOrder:
    """What is to run.

    ``reference`` is the image's (`trimtab.records.Image`); ``artifact`` the artifact's folder on this machine, which an
    image holds already.
    """

    release_id: str
    model: str
    version: str
    reference: str
    artifact: Path
    artifact_digest: str
    memory_mb: int = 512
    start_timeout_s: float = 60


class Runtime(Protocol):
    """Runs scorers. What it starts outlives this process; another process of the same home sees and stops it."""

    def start(self, order: ScorerOrder) -> str:
        """Start a scorer, wait until it is ready, and return its base URL.

        Idempotent: one scorer a release; one that is ready is left as it is. Blocks at most ``start_timeout_s``.

        Raises
        ------
        RolloutError
            If it does not become ready: it is stopped, and the message ends with the last lines of its log.
        """
        ...

    def stop(self, release_id: str) -> None:
        """Stop a release's scorer, after the requests that it is answering. Idempotent; blocks until it is gone."""
        ...

    def running(self, model: str | None = None) -> dict[str, str]:
        """Base URLs of the scorers that run, by release id; of one model if named. A URL is empty until it is known."""
        ...

    def stop_all(self) -> None:
        """Stop every scorer of this home. Idempotent."""
        ...


def not_ready(url: str, order: ScorerOrder, timeout_s: float = 2.0) -> str:
    """Why the scorer at that address does not serve the ordered artifact yet; empty if it does."""
    return readiness(url, order, timeout_s)[0]


def readiness(url: str, order: ScorerOrder, timeout_s: float = 2.0) -> tuple[str, bool]:
    """The same, and whether that is for good: a scorer that serves another artifact will not serve the ordered one."""
    try:
        with httpx.Client(trust_env=False, timeout=timeout_s) as client:
            answer = client.get(f"{url}/v2/models/{order.model}")
    except httpx.TransportError as error:
        return f"{url} does not answer ({type(error).__name__})", False
    if answer.status_code != httpx.codes.OK:
        return f"{url} answers {answer.status_code}: {answer.text[:200]}", False
    digest = answer.json().get("artifact_digest")
    if digest != order.artifact_digest:
        return f"{url} serves artifact {digest}; ordered was {order.artifact_digest}", True
    return "", False


def why_no_listener(address: str) -> str:
    """Why nothing listens at a ``unix://`` address; empty if something does, or the address is of another kind.

    Asked before the Docker SDK is: it does not close a socket that it cannot connect.
    """
    scheme, _, path = address.partition("://")
    if scheme not in ("unix", "http+unix"):
        return ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            return f"{address}: {error.strerror or error}"
    return ""


def start_failure(order: ScorerOrder, reason: str, log: str) -> RolloutError:
    """The error that a runtime raises when a scorer does not become ready."""
    lines = log.splitlines()[-LOG_LINES:]
    quoted = "\n".join(f"  | {line}" for line in lines) if lines else "  (its log is empty)"
    return RolloutError(
        f"release {order.release_id} ({order.model} version {order.version}) did not start: {reason}. "
        f"It was stopped; what served before still does. Last lines of its log:\n{quoted}"
    )
