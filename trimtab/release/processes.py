"""Scorers as local processes: the runtime where no container engine is at hand.

A release has a folder ``<releases>/<model>/<release id>/``. A scorer holds the lock on the file ``lock`` in it for as
long as it lives: the kernel frees the lock whatever kills the process, so that no process id is ever mistaken for
another's. ``ready.json`` is written by the scorer itself once it listens. A process has no memory limit; containers do.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trimtab.errors import RolloutError
from trimtab.release.environment import ensure_environment
from trimtab.release.runtimes import POLL_INTERVAL_S, ScorerOrder, not_ready, start_failure

STOP_TIMEOUT_S = 15.0

# The shell goes away at once, so the scorer is nobody's child: it outlives us and leaves no zombie behind.
_DETACH = '"$@" >>scorer.log 2>&1 </dev/null & echo $! >pid'


class ProcessRuntime:
    """Runs scorers as processes of this machine (`trimtab.release.runtimes.Runtime`).

    Parameters
    ----------
    releases_dir : Path
        Folder of the releases' state, of the environments, and of the scoring code.
    """

    def __init__(self, releases_dir: Path) -> None:
        self._dir = releases_dir

    def start(self, order: ScorerOrder) -> str:
        """Start a scorer on a free loopback port (see `Runtime.start`)."""
        folder = self._dir / order.model / order.release_id
        folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + order.start_timeout_s
        spawned, reason = False, "it did not say where it listens"
        while time.monotonic() < deadline:
            with _lock(folder) as lock:
                if lock is not None:
                    if spawned:
                        raise start_failure(order, "it exited", _log(folder))
                    self._spawn(order, folder, lock)
                    spawned = True
            if url := _ready_url(folder):
                reason = not_ready(url, order)
                if not reason:
                    return url
            time.sleep(POLL_INTERVAL_S)
        self.stop(order.release_id)
        raise start_failure(order, f"within {order.start_timeout_s:g} s {reason}", _log(folder))

    def stop(self, release_id: str) -> None:
        """Send SIGTERM, and SIGKILL after 15 s (see `Runtime.stop`)."""
        for folder in self._dir.glob(f"*/{release_id}"):
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while _is_held(folder):
                late = time.monotonic() > deadline
                _signal(folder, signal.SIGKILL if late else signal.SIGTERM)
                _wait_while_held(folder, STOP_TIMEOUT_S)
            (folder / "ready.json").unlink(missing_ok=True)

    def running(self, model: str | None = None) -> dict[str, str]:
        """Base URLs by release id (see `Runtime.running`)."""
        locks = sorted(self._dir.glob(f"{model or '*'}/*/lock"))
        return {lock.parent.name: _ready_url(lock.parent) for lock in locks if _is_held(lock.parent)}

    def stop_all(self) -> None:
        """Stop every scorer under this folder (see `Runtime.stop_all`)."""
        for release_id in self.running():
            self.stop(release_id)

    def _spawn(self, order: ScorerOrder, folder: Path, lock: int) -> None:
        for stale in ("ready.json", "pid", "scorer.log"):
            (folder / stale).unlink(missing_ok=True)
        _, _, code_digest = order.reference.partition("/")
        code = self._dir / "code" / code_digest
        if not code.is_dir():
            raise RolloutError(f"the scoring code {code_digest} is gone from {code.parent}: build the image again")
        python = ensure_environment((order.artifact / "requirements.txt").read_text(), self._dir / "environments")
        arguments = ["--artifact", str(order.artifact), "--expected-digest", order.artifact_digest]
        arguments += ["--version", order.version, "--port", "0", "--ready-file", str(folder / "ready.json")]
        environment = {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
        subprocess.run(
            ["/bin/sh", "-c", _DETACH, "scorer", str(python), "-m", "trimtab.scoring", *arguments],
            cwd=folder,
            env={"PATH": os.defpath, **environment},
            pass_fds=(lock,),
            start_new_session=True,
            check=True,
        )


@contextmanager
def _lock(folder: Path, kind: int = fcntl.LOCK_EX) -> Iterator[int | None]:
    """The lock of a release's folder, or None while its scorer, or one that starts it, holds it."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        # Not unlocked: a scorer that inherited the descriptor keeps the lock.
        os.close(descriptor)


def _is_held(folder: Path) -> bool:
    # Shared: two that look at once must not take each other for a scorer.
    with _lock(folder, fcntl.LOCK_SH) as lock:
        return lock is None


def _wait_while_held(folder: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while _is_held(folder) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)


def _signal(folder: Path, number: signal.Signals) -> None:
    try:
        os.kill(int((folder / "pid").read_text()), number)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        # It was started this instant and its id is not written yet, or it has just gone: the caller looks again.
        time.sleep(POLL_INTERVAL_S)


def _ready_url(folder: Path) -> str:
    try:
        return str(json.loads((folder / "ready.json").read_text())["url"])
    except FileNotFoundError:
        return ""


def _log(folder: Path) -> str:
    try:
        return (folder / "scorer.log").read_text(errors="replace")
    except FileNotFoundError:
        return ""
