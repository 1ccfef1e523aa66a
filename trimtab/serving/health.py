"""Whether the log can be written, asked before a request depends on it: part of the gateway's readiness."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

_KEPT_S = 2.0
_PROBE_BYTES = 64 * 1024  # more than a commit of one batch takes at first


_PAGE_BYTES = 4096


def small_blocks(folder: Path) -> str:
    """Why a full disk would end this process rather than be told to callers; empty where it would not.

    SQLite takes room for what it maps into memory (``spool.sqlite-shm``) by a byte a page. Where blocks are smaller
    than pages the rest of each is taken when it is touched: if there is none, the kernel ends the process (SIGBUS).
    """
    block_bytes = os.statvfs(folder).f_frsize
    if block_bytes >= _PAGE_BYTES:
        return ""
    return (
        f"{folder} is on a file system with blocks of {block_bytes} bytes: when it is full, the gateway may be ended "
        f"by SIGBUS; make one with blocks of {_PAGE_BYTES} (mkfs.ext4 -b {_PAGE_BYTES})"
    )


class LogProbe:
    """Writes a little file beside the logs and removes it. Belongs to one event loop.

    A gateway that is not asked to predict, because it said that it is not ready, would not learn from its log that the
    disk takes data again; a probe does.

    Parameters
    ----------
    folder : Path
        Of the logs; made if it is not there.
    clock : callable
        Seconds that only go forward.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._asked_at_s = float("-inf")
        self._finding: asyncio.Future[str] | None = None

    async def refusal(self) -> str:
        """Why nothing can be written; empty if it can. Looks at most every two seconds, whoever asks how often."""
        now = self._clock()
        if self._finding is None or (self._finding.done() and now - self._asked_at_s > _KEPT_S):
            self._asked_at_s = now
            self._finding = asyncio.ensure_future(asyncio.to_thread(_refusal, self._folder))
        # Shielded: who asks may go, and others wait for the same finding.
        return await asyncio.shield(self._finding)


def _refusal(folder: Path) -> str:
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with probe.open("wb") as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            with contextlib.suppress(FileNotFoundError):
                probe.unlink()
    except OSError as error:
        return f"the prediction log cannot be written in {folder}: {error.strerror or error}"
    return ""
