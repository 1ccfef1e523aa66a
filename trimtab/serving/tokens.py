"""The secret that moves routes: made on first use, readable by its owner only."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path


def admin_token(file: Path) -> str:
    """The token in the file; a new one if there is no file yet.

    Safe when several processes ask at once: one of them makes it, all read the same.
    """
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        pass
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_urlsafe(32).encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        # A link, unlike a rename, fails if another process was first.
        os.link(aside, file)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
    return file.read_text().strip()


def bearer_is(header: bytes | None, token: str) -> bool:
    """Whether an ``Authorization`` header carries this token; takes the same time for every wrong one."""
    return header is not None and hmac.compare_digest(header, b"Bearer " + token.encode())
