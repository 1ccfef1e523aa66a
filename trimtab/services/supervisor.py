"""Keeps the services of a stack running together: ready, restarted when they die, and stopped as one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from trimtab.errors import LedgerError, ServiceUnavailableError
from trimtab.services import processes, releases, state
from trimtab.services.absences import Absences, readiness_of_routes
from trimtab.services.definitions import Service, environment, stack_services
from trimtab.services.ports import hold_ports, settle_ports
from trimtab.services.prefect_api import close_interrupted_runs
from trimtab.services.signals import deaf_to_signals
from trimtab.settings import Settings

_POLL_S = 0.2
_GRACE_S = 8.0
_LONGEST_BACKOFF_S = 30.0
_STABLE_AFTER_S = 60.0
_SCORERS_CHECK_S = 5.0
_STOP_ORDER = ("worker", "gateway", "reports", "mlflow", "prefect")


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    started: float
    failures: int = 0
    restart_at: float | None = None


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
        self._ports: list[socket.socket] = []
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
            self._ports = hold_ports(self.settings)
            for folder in ("prefect", "mlflow", "reports", "logs"):
                (self.settings.home / folder).mkdir(parents=True, exist_ok=True)
            self._start_all()
            state.write(self.settings, self._stack, self.process_ids())
            self._write_front_page()
            if (self.settings.home / "routes.json").is_file():
                self._say("starting what was released before")
                self._restore()
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
        with deaf_to_signals():
            self._stopping.set()
            for watcher in self._watchers:
                if watcher is not threading.current_thread():
                    watcher.join()
            self._watchers.clear()
            names = sorted(self._running, key=lambda name: (*_STOP_ORDER, name).index(name))
            for running in [self._running[name] for name in names]:
                processes.stop_tree(running.process.pid, _GRACE_S)
                running.process.wait()
                self._say(f"{running.service.title} is stopped")
            processes.end(processes.members(self._stack), _GRACE_S)
            self._running.clear()
            while self._ports:
                self._ports.pop().close()
            if self._lock is not None and self.settings.releases_dir.is_dir():
                self._say_failure("stop_all", releases.stop_all(self.settings))
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

    def _is_ready(self, running: _Running) -> bool:
        code = running.process.poll()
        waited = time.monotonic() - running.started
        if code is not None or waited > running.service.start_timeout_s:
            problem = f"ended with status {code}" if code is not None else f"is not ready after {waited:.0f} s"
            raise ServiceUnavailableError(
                f"{running.service.title} {problem}; the end of {self._log(running.service)}:\n"
                + processes.tail(self._log(running.service))
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
        absences = Absences()
        while not self._stopping.wait(_SCORERS_CHECK_S):
            if due := absences.due(readiness_of_routes(self.settings), time.monotonic()):
                self._say(f"no scorer answers for {', '.join(due)}: starting what the route leads to")
                self._restore(due)

    def _restore(self, models: Sequence[str] | None = None) -> None:
        self._say_failure("restore", releases.restore(self.settings, self._stopping, models))

    def _say_failure(self, what: str, reason: str) -> None:
        if reason:
            self._say(f"releases: {what} failed: {reason}")

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
            state.write(self.settings, self._stack, self.process_ids())

    def _write_front_page(self) -> None:
        # Here, as it takes a third of a second, which other commands need not wait for.
        from trimtab.pages.front import write_front_page

        try:
            write_front_page(self.settings)
        except LedgerError as error:
            self._say(f"the reports' front page stays as it was: {error}")
