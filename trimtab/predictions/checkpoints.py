"""Checkpoints of the spool beside its appends: none waits while pages go from the write-ahead log to the file.

A thread moves what was committed so far; the append that follows moves what came meanwhile, which is little, so that
the write-ahead log begins anew. Where this fails or comes too late SQLite does it after a commit, at `WAL_PAGES`.
"""

from __future__ import annotations

import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

PAGE_BYTES = 8_192
"""Of a new spool: each commit writes some five pages whatever its rows, so larger ones cost small batches more; and a
batch of 1,000 rows takes half of the pages that it would take of SQLite's usual 4,096."""
WAL_PAGES = 2_000
_EVERY_PAGES = 1_000
_PAGES_BESIDE_A_BODY = 4
_CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"


class Checkpoints:
    """Those of one file. For the one thread at a time that holds the writing connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: Future[None] | None = None
        self._pages = 0

    def appended(self, connection: sqlite3.Connection, body_bytes: int) -> None:
        """Count what was committed on the writing connection; begin a checkpoint, or end the one that was begun.

        Never raises: what was committed is in the write-ahead log, and must not be refused for what comes after.
        """
        self._pages += body_bytes // PAGE_BYTES + _PAGES_BESIDE_A_BODY
        with suppress(sqlite3.Error, RuntimeError):  # RuntimeError: no thread can be started
            if self._under_way is None:
                if self._pages >= _EVERY_PAGES:
                    self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
                    self._under_way = self._thread.submit(self._move)
            elif self._under_way.done():
                self._under_way, self._pages = None, 0
                connection.execute(_CHECKPOINT).fetchall()

    def close(self) -> None:
        """Wait for what is under way."""
        if self._thread is not None:
            self._thread.shutdown()
        self._thread = self._under_way = None

    def _move(self) -> None:
        with suppress(sqlite3.Error):
            address = f"{self._path.absolute().as_uri()}?mode=rw"
            with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_CHECKPOINT).fetchall()
