"""How much of a log waits in the spool to be sealed, read cheaply and often, for the gateway's metrics."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import PredictionLogError

_BUSY_TIMEOUT_S = 1.0
_THROUGH = "SELECT coalesce(max(through_sequence), 0) FROM segments"
_SEALED_ROWS = "SELECT coalesce(sum(row_count), 0) FROM segments WHERE through_sequence > ?"
_NEWER = "SELECT coalesce(sum(row_count), 0), max(sequence) FROM batches WHERE sequence > ?"
_OLDEST = "SELECT first_id FROM batches WHERE sequence > ? ORDER BY sequence LIMIT 1"


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not yet sealed: how many rows, and when the oldest was answered (None if there is none)."""

    rows: int
    oldest_at_s: float | None
    """Seconds since 1970, to a millisecond."""


class BacklogReader:
    """Reads one log's backlog, again and again; not safe for threads.

    The rows of a batch stand beside its body, so that to add them up reads the whole spool. That is done once; each
    later reading adds what came since and takes off what was sealed.

    Parameters
    ----------
    folder : Path
        Of the log.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "spool.sqlite"
        self._file: tuple[int, int] | None = None
        self._rows = 0
        self._seen = 0
        self._through = 0

    def read(self) -> Backlog:
        """The backlog now. Blocks for a read of the disk.

        Raises
        ------
        PredictionLogError
            If the spool cannot be read.
        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return Backlog(0, None)
        if self._file != (found.st_dev, found.st_ino):
            # Another file was put in its place: what was added up is not of this one.
            self._file, self._rows, self._seen, self._through = (found.st_dev, found.st_ino), 0, 0, 0
        try:
            address = f"{self._path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)) as spool:
                spool.execute("BEGIN")
                return self._read(spool)
        except sqlite3.Error as error:
            raise PredictionLogError(f"{self._path} cannot be read: {error}") from error

    def _read(self, spool: sqlite3.Connection) -> Backlog:
        (through,) = spool.execute(_THROUGH).fetchone()
        if through >= self._seen:
            # All that was counted is sealed, and batches that came and went since were never seen.
            rows, newest = spool.execute(_NEWER, (through,)).fetchone()
        else:
            (sealed,) = spool.execute(_SEALED_ROWS, (self._through,)).fetchone()
            rows, newest = spool.execute(_NEWER, (self._seen,)).fetchone()
            rows += self._rows - sealed
        self._rows, self._seen, self._through = rows, max(newest or 0, self._seen, through), through
        oldest = spool.execute(_OLDEST, (through,)).fetchone()
        # An id begins with the milliseconds at which it was given.
        return Backlog(rows, None if oldest is None else int.from_bytes(oldest[0][:6], "big") / 1000)
