"""A server under measurement: started with all its processes, asked until it answers, weighed, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil

from benchmarks.peers.environments import PeerError
from benchmarks.peers.forms import Form

_START_TIMEOUT_S = 120
_STOP_TIMEOUT_S = 10
_TOLERANCE = 1e-6
_SHOWN = 800


@dataclass(frozen=True)
class Memory:
    """MiB of a tree of processes: resident, and proportional (what several share is counted once among them)."""

    rss_mib: float
    pss_mib: float
    processes: int


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Server:
    """Processes that belong together, each with its children. Stop it in any case."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._roots: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        """Start one more process, in a session of its own."""
        with self._log.open("ab") as log:
            self._roots.append(
                subprocess.Popen(
                    list(command), cwd=folder, env=dict(environment), stdout=log, stderr=log, start_new_session=True
                )
            )

    def check_alive(self) -> None:
        """Raise PeerError with the end of the log if a process has ended."""
        for root in self._roots:
            if root.poll() is not None:
                raise PeerError(f"{root.args[0]} ended with {root.returncode}; {self.log_tail()}")  # type: ignore[index]

    def log_tail(self) -> str:
        """The end of what the processes wrote."""
        text = self._log.read_text(errors="replace").strip() if self._log.exists() else ""
        return f"its log ends with: {text[-_SHOWN:]}" if text else "its log is empty"

    def memory(self) -> Memory:
        """What all processes hold now."""
        held = self.memory_by_root()
        return Memory(
            sum(each.rss_mib for each in held), sum(each.pss_mib for each in held), sum(each.processes for each in held)
        )

    def memory_by_root(self) -> list[Memory]:
        """What each process that was started holds now, with its children, in the order of the starts."""
        return [_weigh(_with_children(root.pid)) for root in self._roots]

    def cpu_s(self) -> float:
        """Seconds of processor time that the processes took so far."""
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                spent = process.cpu_times()
                total += spent.user + spent.system
        return total

    def stop(self) -> None:
        """SIGTERM to every session, SIGKILL to what is left; returns once nothing of it runs."""
        tree = self._tree()
        for root in self._roots:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(root.pid, signal.SIGTERM)
        _, left = psutil.wait_procs(tree, timeout=_STOP_TIMEOUT_S)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for root in self._roots:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(root.pid, signal.SIGKILL)
            root.wait()
        self._roots.clear()

    def _tree(self) -> list[psutil.Process]:
        return [process for root in self._roots for process in _with_children(root.pid)]


def _with_children(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _weigh(processes: Sequence[psutil.Process]) -> Memory:
    rss = pss = count = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            held = process.memory_full_info()
            rss, pss, count = rss + held.rss, pss + held.pss, count + 1
    return Memory(rss / 2**20, pss / 2**20, count)


def await_first_answer(server: Server, base_url: str, form: Form, rows: np.ndarray, scores: np.ndarray) -> None:
    """Ask until the answer is there and right.

    Raises
    ------
    PeerError
        If a process ends, nothing answers in time, or the scores are not the model's.
    """
    headers, body = form.write(rows)
    deadline = time.monotonic() + _START_TIMEOUT_S
    last = "nothing answered"
    with httpx.Client(base_url=base_url, timeout=30, trust_env=False) as client:
        while time.monotonic() < deadline:
            server.check_alive()
            try:
                answer = client.post(form.path, headers=headers, content=body)
            except httpx.TransportError as error:
                last = f"{type(error).__name__}: {error}"
            else:
                if answer.status_code == 200:
                    _check_scores(form, answer, scores)
                    return
                last = f"{answer.status_code}: {answer.text[:300]}"
            time.sleep(0.01)
    raise PeerError(f"no answer within {_START_TIMEOUT_S} s, last {last}; {server.log_tail()}")


def check_answer(base_url: str, form: Form, rows: np.ndarray, scores: np.ndarray) -> None:
    """Ask once; raise PeerError unless the scores are the model's."""
    headers, body = form.write(rows)
    try:
        answer = httpx.post(f"{base_url}{form.path}", headers=headers, content=body, timeout=60, trust_env=False)
    except httpx.TransportError as error:
        raise PeerError(f"{form.name}: {type(error).__name__}: {error}") from error
    if answer.status_code != 200:
        raise PeerError(f"{form.name}: {answer.status_code}: {answer.text[:300]}")
    _check_scores(form, answer, scores)


def _check_scores(form: Form, answer: httpx.Response, scores: np.ndarray) -> None:
    try:
        found = form.read((answer.headers, answer.content))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise PeerError(f"{form.name}: {error} in {answer.content[:300]!r}") from error
    if found.shape != scores.shape or np.abs(found - scores).max() > _TOLERANCE:
        raise PeerError(f"{form.name}: it answers {found[:3]} of {found.shape}; the model says {scores[:3]}")
