"""How the gateway's small files are replaced: as a whole, durably, so that a reader or a crash sees old or new."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


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
