"""What a stack says about itself in its home: that it is there, since when, and where its services answer."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any

from trimtab.errors import ServiceUnavailableError
from trimtab.settings import Settings

_KEPT_TO_ITSELF = ("TRIMTAB_HOME", "TRIMTAB_GATEWAY_TOKEN")


def take_home(settings: Settings) -> IO[str]:
    """Claim the home for one stack; closing what is returned gives it back, and so does the end of the process.

    Raises
    ------
    ServiceUnavailableError
        If a stack is up in it.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = (settings.home / "up.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        owner = stated(settings).get("pid", "unknown")
        raise ServiceUnavailableError(
            f"a stack is already up in {settings.home} (process {owner}); "
            "stop it with Ctrl-C, or set TRIMTAB_HOME to another folder"
        ) from error
    return lock


def stated(settings: Settings) -> dict[str, Any]:
    """What the last stack in this home wrote and did not take back; empty if nothing, or if it is damaged."""
    try:
        found = json.loads(settings.services_file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(settings: Settings, stack: str, process_ids: Mapping[str, int]) -> None:
    """State the running stack, at once or not at all; other processes of its owner then find it by its home."""
    kept = {
        key.removeprefix("TRIMTAB_").lower(): value
        for key, value in settings.as_env().items()
        if key not in _KEPT_TO_ITSELF
    }
    state = {
        **kept,
        "pid": os.getpid(),
        "stack": stack,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processes": dict(process_ids),
    }
    draft = settings.services_file.with_suffix(".draft")
    # Nobody else's to read: the ledger's URL may hold a password.
    with open(draft, "w", opener=_own) as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(json.dumps(state, indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(settings.services_file)


def _own(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
