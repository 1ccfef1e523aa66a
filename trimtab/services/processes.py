"""Process trees: started in sessions of their own, and ended whole.

Every process of a stack carries the stack's id in its variables, those that its services start as well. So nothing is
left behind, whoever its parent was.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

STACK_VARIABLE = "TRIMTAB_STACK"


def start(
    command: Sequence[str], env: Mapping[str, str], log: Path, folder: Path, stack: str
) -> subprocess.Popen[bytes]:
    """Start a process that a Ctrl-C in the terminal does not reach; its output is appended to the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            env={**os.environ, **env, STACK_VARIABLE: stack},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of what a process wrote; empty if it wrote nothing."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.is_file() else ""


def stop_tree(pid: int, grace_s: float) -> None:
    """End a process and all that it started: asked first, made to after ``grace_s`` seconds. Idempotent."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    end(family, grace_s)


def end(processes: Sequence[psutil.Process], grace_s: float) -> None:
    """End these processes: asked first, made to after ``grace_s`` seconds."""
    for process in processes:
        _signal(process, force=False)
    for process in _wait(processes, grace_s):
        _signal(process, force=True)
    _wait(processes, grace_s)


def _wait(processes: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those that still run after ``timeout_s`` seconds; a zombie, which only its parent can bury, does not run."""
    deadline = time.monotonic() + timeout_s
    alive = [process for process in processes if _runs(process)]
    while alive and time.monotonic() < deadline:
        time.sleep(0.02)
        alive = [process for process in alive if _runs(process)]
    return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def members(stack: str) -> list[psutil.Process]:
    """Every process that carries the stack's id, this one excepted."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(STACK_VARIABLE) == stack:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
            continue
    return found


def _signal(process: psutil.Process, force: bool) -> None:
    try:
        if force:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return
