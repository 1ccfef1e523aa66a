"""Process trees: started in sessions of their own, and ended whole.

Every process of a stack carries the stack's id in its variables, those that its services start as well. So nothing is
left behind, whoever its parent was.
"""

from __future__ import annotations

import os
import subprocess
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
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        _signal(process, force=True)
    psutil.wait_procs(alive, timeout=5)


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
