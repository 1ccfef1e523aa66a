"""Scorers as containers: the runtime that production resembles most.

A container is found by its labels, never by what this process remembers. Its scorer has no root, no capabilities, a
read-only file system, a memory limit, and a port on the loopback interface. That port is chosen here and stays with the
container: one that the engine chose would change with each restart, and the gateway's route would lead nowhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import RolloutError, ServiceUnavailableError
from trimtab.release.runtimes import (
    CONTAINER_PORT,
    LOG_LINES,
    POLL_INTERVAL_S,
    ScorerOrder,
    readiness,
    start_failure,
    why_no_listener,
)

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container


STOP_TIMEOUT_S = 15
_LOOPBACK = "127.0.0.1"
_PORT_ATTEMPTS = 5
_TAKEN = ("port is already allocated", "address already in use", "ports are not available")


class ContainerRuntime:
    """Runs scorers as containers (`trimtab.release.runtimes.Runtime`).

    Parameters
    ----------
    engine : docker.DockerClient
    home : Path
        Of the stack; its hash labels the containers, so that stacks on one engine do not touch each other's.
    """

    def __init__(self, engine: docker.DockerClient, home: Path) -> None:
        self._engine = engine
        self._home = hashlib.sha256(str(home).encode()).hexdigest()[:12]

    def start(self, order: ScorerOrder) -> str:
        """Start a container and publish its port on the loopback interface (see `Runtime.start`)."""
        deadline = time.monotonic() + order.start_timeout_s
        with _as_rollout_error(f"the Docker engine did not start {order.release_id} from {order.reference}"):
            container = self._container(order)
            reason = "it published no port"
            while time.monotonic() < deadline:
                container.reload()
                if container.status in ("restarting", "exited", "dead"):
                    reason = f"it exited with {container.attrs['State']['ExitCode']}"
                    break
                if url := _url(container):
                    reason, is_final = readiness(url, order)
                    if not reason:
                        return url
                    if is_final:
                        break
                time.sleep(POLL_INTERVAL_S)
            else:
                reason = f"within {order.start_timeout_s:g} s {reason}"
            log = container.logs(tail=LOG_LINES).decode(errors="replace")
            self.stop(order.release_id)
            raise start_failure(order, reason, log)

    def stop(self, release_id: str) -> None:
        """Stop and remove a release's container (see `Runtime.stop`)."""
        from docker.errors import NotFound

        with _as_rollout_error(f"the Docker engine did not stop {release_id}"):
            for container in self._containers(release=release_id):
                # Gone already: another process stopped it.
                with contextlib.suppress(NotFound):
                    container.stop(timeout=STOP_TIMEOUT_S)
                    container.remove(force=True)

    def running(self, model: str | None = None) -> dict[str, str]:
        """Base URLs by release id (see `Runtime.running`)."""
        with _as_rollout_error("the Docker engine did not list its containers"):
            found = self._containers(**({"model": model} if model else {}))
            return {item.labels["trimtab.release"]: _url(item) for item in found if item.status == "running"}

    def stop_all(self) -> None:
        """Stop and remove every container of this home (see `Runtime.stop_all`)."""
        with _as_rollout_error("the Docker engine did not list its containers"):
            releases = {container.labels["trimtab.release"] for container in self._containers()}
        for release_id in releases:
            self.stop(release_id)

    def _container(self, order: ScorerOrder) -> Container:
        """The release's container, created if need be; one that has ended is replaced."""
        from docker.errors import APIError

        for attempt in range(1, _PORT_ATTEMPTS + 1):
            try:
                return self._running_container(order)
            except APIError as error:
                if attempt == _PORT_ATTEMPTS or not _port_is_taken(error):
                    raise
                # It was created, but bound to a port that someone else has: the next one gets another.
                for container in self._containers(release=order.release_id):
                    if container.status != "running":
                        container.remove(force=True)
        raise AssertionError("the last attempt returns or raises")

    def _running_container(self, order: ScorerOrder) -> Container:
        from docker.errors import APIError

        for container in self._containers(release=order.release_id):
            if container.status in ("running", "created"):
                container.start()
                return container
            container.remove(force=True)
        self._require_image(order)
        name = f"trimtab-{order.model}-{order.release_id.removeprefix('release-')}-{self._home}"
        labels = {"home": self._home, "model": order.model, "release": order.release_id, "version": order.version}
        try:
            return self._engine.containers.run(
                order.reference,
                detach=True,
                name=name,
                labels={f"trimtab.{key}": value for key, value in labels.items()},
                ports={f"{CONTAINER_PORT}/tcp": (_LOOPBACK, _free_port())},
                read_only=True,
                tmpfs={"/tmp": "rw,noexec,nosuid,size=16m"},  # noqa: S108 - inside the container
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                pids_limit=64,
                mem_limit=f"{order.memory_mb}m",
                restart_policy={"Name": "unless-stopped"},
            )
        except APIError as error:
            # Another process created it between our look and our call: the name is taken.
            if error.status_code == 409 and (found := self._containers(release=order.release_id)):
                return found[0]
            raise

    def _require_image(self, order: ScorerOrder) -> None:
        """See that the engine has the image: one in a registry is pulled by its digest, any other is not looked for."""
        from docker.errors import ImageNotFound

        try:
            self._engine.images.get(order.reference)
        except ImageNotFound as error:
            if "@sha256:" not in order.reference:
                # Left to itself, the engine would ask a public registry for that name.
                raise RolloutError(
                    f"the engine has no image {order.reference} any more; roll {order.model} {order.version} out anew, "
                    "which builds it again"
                ) from error
            self._engine.images.pull(order.reference)

    def _containers(self, **labels: str) -> list[Container]:
        wanted = [f"trimtab.{key}={value}" for key, value in {"home": self._home, **labels}.items()]
        return self._engine.containers.list(all=True, filters={"label": wanted}, ignore_removed=True)


def connect() -> docker.DockerClient:
    """The Docker engine.

    Raises
    ------
    ServiceUnavailableError
        If none answers.
    """
    import docker
    from docker.constants import DEFAULT_UNIX_SOCKET
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    if reason := why_no_listener(kwargs_from_env().get("base_url", DEFAULT_UNIX_SOCKET)):
        raise ServiceUnavailableError(f"the Docker engine does not answer: {reason}; is it running?")
    try:
        engine = docker.from_env()
        engine.ping()
    except DockerException as error:
        raise ServiceUnavailableError(f"the Docker engine does not answer: {error}; is it running?") from error
    return engine


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _port_is_taken(error: Exception) -> bool:
    return any(words in str(error).lower() for words in _TAKEN)


def _url(container: Container) -> str:
    bindings: dict[str, Any] = container.ports
    published = bindings.get(f"{CONTAINER_PORT}/tcp") or []
    return f"http://{_LOOPBACK}:{published[0]['HostPort']}" if published else ""


@contextlib.contextmanager
def _as_rollout_error(what: str) -> Iterator[None]:
    from docker.errors import DockerException
    from requests import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        raise RolloutError(f"{what}: {error}") from error
