"""How the gateway's small files are replaced: as a whole, durably, so that a reader or a crash sees old or new; and
that one gateway alone replaces those of a home."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trimtab.errors import ServiceUnavailableError

STOPPING_S = 60.0
"""A gateway that stops answers what is under way for up to half a minute."""
_STOPPING = ", stopping"
_HOLDER_BYTES = 100
_LOOK_S = 0.05


def replace_file(file: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace a file, or make it: write aside, fsync, rename, fsync the folder.

    Parameters
    ----------
    file
        Its folder is made if need be. Made by root in another user's folder it is given to that user, whose gateway
        is to read it.
    content
        All that it is to hold.
    mode
        Its permissions, less the umask, whatever those before were.

    Raises
    ------
    OSError
        If it cannot be written; what was there stays.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            give_to_owner(stream.fileno(), file.parent)
            os.fsync(stream.fileno())
        aside.replace(file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def give_to_owner(handle: int, folder: Path) -> None:
    """Let an open file belong to the owner of its folder, if this process is root's."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)


@contextmanager
def only_gateway_of(home: Path, wait_s: float = STOPPING_S) -> Iterator[Callable[[], None]]:
    """Hold a home for this gateway; whatever ends the process gives it back.

    Gives what is to be called once this gateway stops: the next one waits for it then. That does what a restart needs,
    which starts a gateway while the one before answers its last requests.

    Parameters
    ----------
    home : Path
    wait_s : float
        For one that is stopping; one that is not is not waited for.

    Raises
    ------
    ServiceUnavailableError
        If another gateway holds it: each would overwrite the routes that the other was given.
    OSError
        If the lock's file cannot be made.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = os.open(home / "gateway.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        deadline = time.monotonic() + wait_s
        while not _is_taken(lock):
            holder = os.pread(lock, _HOLDER_BYTES, 0).decode("ascii", "replace").strip()
            if not holder.endswith(_STOPPING) or time.monotonic() >= deadline:
                raise ServiceUnavailableError(
                    f"a gateway (process {holder or 'unknown'}) serves from {home} already; stop it first, or give "
                    "this one another TRIMTAB_HOME"
                )
            time.sleep(_LOOK_S)
        give_to_owner(lock, home)
        _say(lock, str(os.getpid()))
        yield lambda: _say(lock, f"{os.getpid()}{_STOPPING}")
    finally:
        os.close(lock)


def _is_taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _say(lock: int, holder: str) -> None:
    # In this order, so that nobody reads an empty file.
    os.pwrite(lock, holder.encode(), 0)
    os.ftruncate(lock, len(holder))
