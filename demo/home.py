"""A clean home for each demo, and nothing of anybody else's removed for it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from demo.errors import DemoError
from trimtab.services import processes

MARKER = "demo-home"
"""The file that says that a folder was made by the demo, so that the demo may remove it."""

_GRACE_S = 5.0


def clean_home(home: Path) -> None:
    """Make an empty home; an earlier demo's is removed first, with whatever of it still runs.

    Raises
    ------
    DemoError
        If a demo or another stack is up in it, or the folder holds anything but an earlier demo's home.
    """
    if home.exists() and (not home.is_dir() or (any(home.iterdir()) and not (home / MARKER).is_file())):
        raise DemoError(
            f"{home} is there and is no home of an earlier demo; name another folder with --home, or remove it yourself"
        )
    if home.exists():
        _check_free(home)
        _end_leftovers(home)
        shutil.rmtree(home)
    home.mkdir(parents=True)
    (home / MARKER).write_text("Made by trimtab's demo, and removed by the next.\n")


def _check_free(home: Path) -> None:
    lock_file = home / "up.lock"
    if not lock_file.is_file():
        return
    with lock_file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(
                f"a demo is already running in {home} (process {_stated(home).get('pid', 'unknown')}); "
                "stop it with Ctrl-C, or name another folder with --home"
            ) from error


def _end_leftovers(home: Path) -> None:
    """End what an earlier demo that was killed left running: its processes, and its releases."""
    stack = str(_stated(home).get("stack", ""))
    if stack:
        processes.end(processes.members(stack), _GRACE_S)
    if (home / "releases").is_dir():
        subprocess.run(
            [sys.executable, "-c", "from tasks.rollout.scorers import stop_all; stop_all()"],
            env={**os.environ, "TRIMTAB_HOME": str(home)},
            cwd=Path(__file__).parents[1],
            capture_output=True,
            check=False,
        )


def _stated(home: Path) -> dict[str, object]:
    try:
        return dict(json.loads((home / "services.json").read_text()))
    except (FileNotFoundError, ValueError):
        return {}
