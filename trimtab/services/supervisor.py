"""Keeps the services of a stack running together: ready, restarted when they die, and stopped as one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

import httpx

from trimtab.errors import ServiceUnavailableError, SpecError
from trimtab.services import processes, state
from trimtab.services.definitions import Service, environment, settle_ports, stack_services
from trimtab.services.prefect_api import close_interrupted_runs
from trimtab.serving.routes import load_routes
from trimtab.serving.tls import client_tls
from trimtab.settings import Settings

_POLL_S = 0.2
_GRACE_S = 8.0
_LONGEST_BACKOFF_S = 30.0
_STABLE_AFTER_S = 60.0
_SCORERS_CHECK_S = 5.0
_LONGEST_SCORER_BACKOFF_S = 300.0
_STOP_ORDER = ("worker", "gateway", "reports", "mlflow", "prefect")

# An error raised on purpose is told in its own words; of any other the last line of the traceback is.
_TELL = """\
import sys
from tasks import rollout
from trimtab.errors import TrimtabError
try:
    rollout.{what}({arguments})
except TrimtabError as error:
    print(error)
    sys.exit(1)
"""


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    started: float
    failures: int = 0
    restart_at: float | None = None


@dataclass
class _Down:
    """A model whose scorer does not answer: how often that was seen, how often restored, and when to do so next."""

    seen: int = 0
    restored: int = 0
    restore_at: float = 0.0


class Supervisor:
    """Starts the services of a home, keeps them up, and stops them without leaving a process behind.

    Blocking while starting and stopping; in between one thread restarts the services that die, and another has
    the scorers restored that do not answer. A context manager: leaving it stops the stack.

    Parameters
    ----------
    settings : Settings
        Where the stack lives. Addresses of other machines are used as they are; those of this one are served here, on
        another port where theirs is taken.
    say : callable
        Told, a line at a time, what happens.
    services : callable, optional
        The services to run, given settings and the worker's name; all of them by default.

    Raises
    ------
    ServiceUnavailableError
        From :meth:`start`, if a stack is up in this home or a service does not become ready; nothing is left running.
    """

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None] = print,
        services: Callable[[Settings, str], Sequence[Service]] = stack_services,
    ) -> None:
        self.settings = settings
        self._say = say
        self._services = services
        self._stack = uuid.uuid4().hex
        self._running: dict[str, _Running] = {}
        self._lock: IO[str] | None = None
        self._stopping = threading.Event()
        self._watchers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Settings:
        """Start everything and wait until it is ready.

        Returns
        -------
        Settings
            With the addresses that the services really have; also on file for other processes.
        """
        self._lock = state.take_home(self.settings)
        self._stopping.clear()
        try:
            self._end_dead_stack()
            self.settings = settle_ports(self.settings, self._say)
            for folder in ("prefect", "mlflow", "reports", "logs"):
                (self.settings.home / folder).mkdir(parents=True, exist_ok=True)
            self._start_all()
            self._write_services_file()
            if (self.settings.home / "routes.json").is_file():
                self._say("starting what was released before")
                self._tell_releases("restore")
            for task, name in ((self._watch, "supervisor"), (self._watch_scorers, "scorers")):
                watcher = threading.Thread(target=task, name=name, daemon=True)
                self._watchers.append(watcher)
                watcher.start()
        except BaseException:
            self.stop()
            raise
        return self.settings

    def wait(self) -> None:
        """Block until :meth:`stop` is called, or the process is interrupted."""
        while not self._stopping.wait(1.0):
            pass

    def stop(self) -> None:
        """Stop everything, in order. Idempotent; a second Ctrl-C does not cut it short."""
        with _deaf_to_signals():
            self._stopping.set()
            for watcher in self._watchers:
                if watcher is not threading.current_thread():
                    watcher.join()
            self._watchers.clear()
            order = sorted(
                self._running.values(),
                key=lambda each: (
                    _STOP_ORDER.index(each.service.name) if each.service.name in _STOP_ORDER else len(_STOP_ORDER)
                ),
            )
            for running in order:
                processes.stop_tree(running.process.pid, _GRACE_S)
                running.process.wait()
                self._say(f"{running.service.title} is stopped")
            processes.end(processes.members(self._stack), _GRACE_S)
            self._running.clear()
            if self._lock is not None and self.settings.releases_dir.is_dir():
                self._tell_releases("stop_all", even_when_stopping=True)
            if self._lock is not None:
                self.settings.services_file.unlink(missing_ok=True)
                self._lock.close()
                self._lock = None

    def process_ids(self) -> dict[str, int]:
        """Process id of each running service, by name."""
        return {name: running.process.pid for name, running in self._running.items()}

    def _end_dead_stack(self) -> None:
        stated = state.stated(self.settings)
        if not stated:
            return
        left = processes.members(str(stated.get("stack", "")))
        self._say(
            f"the stack that was up in {self.settings.home} did not end well: stopping {len(left)} processes of it"
        )
        processes.end(left, _GRACE_S)
        self.settings.services_file.unlink(missing_ok=True)

    def _start_all(self) -> None:
        worker = f"trimtab-{self._stack[:8]}"
        waiting = list(self._services(self.settings, worker))
        ready: set[str] = set()
        while waiting or len(ready) < len(self._running):
            for service in [each for each in waiting if ready.issuperset(each.needs)]:
                if service.name == "worker":
                    close_interrupted_runs(self.settings, self._say)
                self._launch(service)
                waiting.remove(service)
            for name, running in self._running.items():
                if name not in ready and self._is_ready(running):
                    ready.add(name)
                    where = f" at {running.service.url}" if running.service.url else ""
                    self._say(f"{running.service.title} is ready{where} ({time.monotonic() - running.started:.1f} s)")
            time.sleep(_POLL_S)

    def _tell_releases(self, what: str, arguments: str = "", even_when_stopping: bool = False) -> None:
        """Run ``tasks.rollout``'s function of that name, in a process with this stack's settings.

        Blocks until it is done, or the stack stops.
        """
        with subprocess.Popen(
            [sys.executable, "-c", _TELL.format(what=what, arguments=arguments)],
            env={**os.environ, **environment(self.settings)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as telling:
            try:
                said, errors = _wait_for(telling, None if even_when_stopping else self._stopping)
            except BaseException:
                telling.kill()
                raise
        if telling.returncode != 0 and (even_when_stopping or not self._stopping.is_set()):
            reason = said.strip() or "".join(errors.strip().splitlines()[-1:])
            self._say(f"releases: {what} failed: {reason}")

    def _is_ready(self, running: _Running) -> bool:
        code = running.process.poll()
        waited = time.monotonic() - running.started
        if code is not None or waited > running.service.start_timeout_s:
            problem = f"ended with status {code}" if code is not None else f"is not ready after {waited:.0f} s"
            raise ServiceUnavailableError(
                f"{running.service.title} {problem}; the end of {self._log(running.service)}:\n"
                + _tail(self._log(running.service))
            )
        return running.service.ready()

    def _launch(self, service: Service, failures: int = 0) -> None:
        process = processes.start(
            service.command,
            {**environment(self.settings), **service.env},
            self._log(service),
            self.settings.home,
            self._stack,
        )
        self._running[service.name] = _Running(service, process, time.monotonic(), failures)

    def _log(self, service: Service) -> Path:
        return self.settings.home / "logs" / f"{service.name}.log"

    def _watch(self) -> None:
        while not self._stopping.wait(_POLL_S):
            for running in list(self._running.values()):
                self._tend(running)

    def _watch_scorers(self) -> None:
        down: dict[str, _Down] = {}
        while not self._stopping.wait(_SCORERS_CHECK_S):
            due = self._due(down)
            if due:
                self._say(f"no scorer answers for {', '.join(due)}: starting what the route leads to")
                self._tell_releases("restore", repr(due))

    def _due(self, down: dict[str, _Down]) -> list[str]:
        """The models to restore now: not ready twice in a row, and not restored a short while ago."""
        due, now = [], time.monotonic()
        readiness = {model: self._has_scorer(model) for model in self._routed()}
        for model in down.keys() - {model for model, ready in readiness.items() if ready is False}:
            del down[model]
        for model in (model for model, ready in readiness.items() if ready is False):
            found = down.setdefault(model, _Down())
            found.seen += 1
            if found.seen >= 2 and now >= found.restore_at:
                pause = min(_SCORERS_CHECK_S * 2.0**found.restored, _LONGEST_SCORER_BACKOFF_S)
                found.restored, found.restore_at = found.restored + 1, now + pause
                due.append(model)
        return due

    def _routed(self) -> list[str]:
        try:
            return sorted(load_routes(self.settings.home / "routes.json"))
        except (SpecError, OSError):
            # The gateway itself says what is wrong with its routes.
            return []

    def _has_scorer(self, model: str) -> bool | None:
        """Whether the gateway reaches the model's scorer; None if the gateway does not say."""
        try:
            url = f"{self.settings.gateway_url}/v2/models/{model}/ready"
            status = httpx.get(url, timeout=5, trust_env=False, verify=client_tls(self.settings)).status_code
        except httpx.TransportError:
            return None
        return None if status == httpx.codes.NOT_FOUND else status < httpx.codes.INTERNAL_SERVER_ERROR

    def _tend(self, running: _Running) -> None:
        code = running.process.poll()
        if code is None:
            return
        now = time.monotonic()
        if running.restart_at is None:
            failures = 0 if now - running.started > _STABLE_AFTER_S else running.failures
            pause = min(2.0**failures, _LONGEST_BACKOFF_S)
            running.failures, running.restart_at = failures + 1, now + pause
            self._say(
                f"{running.service.title} ended with status {code}; started again in {pause:.0f} s "
                f"(see {self._log(running.service)})"
            )
        elif now >= running.restart_at:
            # A child that outlived its parent would keep the port. Flow runs have sessions of their own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.process.pid, signal.SIGKILL)
            self._launch(running.service, running.failures)
            self._write_services_file()

    def _write_services_file(self) -> None:
        state.write(self.settings, self._stack, self.process_ids())


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Within it SIGTERM and SIGINT interrupt (KeyboardInterrupt), so that both leave through the same door.

    SIGINT as well: a process that a shell started in the background would not hear it.
    """

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _deaf_to_signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for(process: subprocess.Popen[str], cut_off: threading.Event | None) -> tuple[str, str]:
    """What the process wrote (output, errors) when it has ended; it is killed when the event is set."""
    while True:
        try:
            return process.communicate(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            if cut_off is not None and cut_off.is_set():
                process.kill()
                return process.communicate()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.is_file() else ""
