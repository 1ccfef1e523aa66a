"""What a stack does to the releases of its home, in processes of their own: they import what the stack need not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence

from trimtab.services.definitions import environment
from trimtab.settings import Settings

_POLL_S = 0.2

# An error raised on purpose is told in its own words; of any other the last line of the traceback is.
_RUN = """\
import sys
from tasks.rollout import {module}
from trimtab.errors import TrimtabError
try:
    {module}.{call}
except TrimtabError as error:
    print(error)
    sys.exit(1)
"""


def restore(settings: Settings, cut_off: threading.Event, models: Sequence[str] | None = None) -> str:
    """Have the scorers started that the routes lead to (`tasks.rollout.restoring.restore`).

    Blocks until it is done, or the event is set, which ends it.

    Returns
    -------
    str
        Why it failed; empty if it did not, or was cut off.
    """
    names = None if models is None else list(models)
    failed = _failure("restoring", f"restore({names!r})", settings, cut_off)
    return "" if cut_off.is_set() else failed


def stop_all(settings: Settings) -> str:
    """Have every scorer of the home stopped (`tasks.rollout.scorers.stop_all`); returns why it failed, or nothing."""
    return _failure("scorers", "stop_all()", settings, threading.Event())


def _failure(module: str, call: str, settings: Settings, cut_off: threading.Event) -> str:
    with subprocess.Popen(
        [sys.executable, "-c", _RUN.format(module=module, call=call)],
        env={**os.environ, **environment(settings)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, errors = _wait_for(process, cut_off)
        except BaseException:
            process.kill()
            raise
    if process.returncode == 0:
        return ""
    return said.strip() or "".join(errors.strip().splitlines()[-1:]) or f"status {process.returncode}"


def _wait_for(process: subprocess.Popen[str], cut_off: threading.Event) -> tuple[str, str]:
    """What the process wrote (output, errors) when it has ended; it is killed when the event is set."""
    while True:
        try:
            return process.communicate(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            if cut_off.is_set():
                process.kill()
                return process.communicate()
