"""A SQLite file as the log uses it: WAL, every commit on disk, one writer a process, many readers.

Every error of SQLite comes out as ``PredictionLogError`` naming the file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from trimtab.errors import LogBusyError, PredictionLogError

_BUSY_TIMEOUT_S = 30

_Inode = tuple[int, int] | None
_Identity = tuple[_Inode, _Inode]
"""Device and inode of the database and of its write-ahead log; None for one that is not there."""


class Database:
    """One file. Safe for threads and for many processes; makes the file on the first write.

    A file that is removed or replaced while it is written to would take every commit with it: the write that finds it
    so is refused. The next takes what is there then; while nothing is there every write is refused, as this object
    makes a file but once.

    Parameters
    ----------
    path : Path
    tables : str
        SQL that makes what a new file must hold.
    version : int
        Of the format, kept in ``user_version``; a file of a higher one is refused.
    additions : mapping of int to sequence of str
        For each version above 1, the SQL statements that bring a file of the version before up to it, at its first
        use; they only add.
    before_making : callable, optional
        Called before a new file is made; may raise to refuse it.
    page_bytes : int
        Of a new file; one that is there keeps its own.
    wal_pages : int
        So many in the write-ahead log make SQLite move them to the file after a commit.
    """

    def __init__(
        self,
        path: Path,
        tables: str,
        version: int,
        additions: Mapping[int, Sequence[str]] | None = None,
        before_making: Callable[[], None] = lambda: None,
        page_bytes: int = 4096,
        wal_pages: int = 1000,
    ) -> None:
        self.path = path
        self._name, self._wal_name = str(path), f"{path}-wal"
        self._tables = tables
        self._version = version
        self._additions = additions or {}
        self._before_making = before_making
        self._page_bytes = page_bytes
        self._wal_pages = wal_pages
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._opened: _Identity | None = None
        self._waits = True

    @contextmanager
    def writing(self, wait: bool = True) -> Iterator[sqlite3.Connection]:
        """The writing connection, for one thread at a time; each statement commits unless the caller begins.

        Parameters
        ----------
        wait
            Whether to wait for others who write: up to half a minute. False is for those whom nobody may hold up.

        Raises
        ------
        LogBusyError
            If another writes, or (without ``wait``) the file is not yet open.
        PredictionLogError
            If the file cannot be used, or was removed or replaced since the last write.
        """
        if not self._lock.acquire(blocking=wait):
            raise LogBusyError(f"{self.path} is being written to by another thread")
        try:
            with self._held(wait) as connection:
                yield connection
        finally:
            self._lock.release()

    @contextmanager
    def _held(self, wait: bool) -> Iterator[sqlite3.Connection]:
        with self._translated():
            try:
                if self._writer is None:
                    if not wait:
                        raise LogBusyError(f"{self.path} is not open yet")
                    self._writer = self._open()
                    self._opened = self._identity()
                    self._waits = True
                if wait != self._waits:
                    self._writer.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_S * 1000 if wait else 0}")
                    self._waits = wait
                self._check_there()
                yield self._writer
                # Once more: what was committed to a file that has gone meanwhile must not be answered.
                self._check_there()
            except BaseException:
                # What a transaction began is undone; after a full disk a fresh connection finds the last commit.
                self._disconnect()
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection in one read transaction; the file must exist."""
        with self._translated():
            address = f"{self.path.absolute().as_uri()}?mode=rw"
            # A reader's stream may be drawn by another thread than the one that opened it, though never by two at once.
            connection = sqlite3.connect(
                address, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._check_version(connection)
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            finally:
                connection.close()

    def close(self) -> None:
        """Close the writing connection; the next write opens another."""
        with self._lock:
            self._disconnect()

    def _open(self) -> sqlite3.Connection:
        if not self.path.exists():
            if self._opened is not None:
                raise self._moved()
            self._before_making()
            self._make()
        writer = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            self._check_version(writer)
            writer.execute("PRAGMA synchronous = FULL")
            writer.execute(f"PRAGMA wal_autocheckpoint = {self._wal_pages}")
            # A copy that was put back need not be in this mode; a file that is in it stays as it is.
            writer.execute("PRAGMA journal_mode = WAL")
            # The first read makes the write-ahead log, by which the file is known from now on.
            writer.execute("PRAGMA user_version").fetchone()
        except BaseException:
            writer.close()
            raise
        # Not every reader of a log that once wrote to it has an end at which to close it.
        weakref.finalize(self, writer.close)
        return writer

    def _identity(self) -> _Identity:
        """Which file has the name, and which its write-ahead log.

        An open connection keeps both: no other process removes the write-ahead log while this one writes.
        """
        return _inode(self._name), _inode(self._wal_name)

    def _check_there(self) -> None:
        if self._identity() != self._opened:
            raise self._moved()

    def _moved(self) -> PredictionLogError:
        return PredictionLogError(
            f"{self.path} or its -wal file was removed or replaced while in use; put it back: until it is there, "
            "nothing is written"
        )

    def _make(self) -> None:
        """Make the file with its tables aside, and give it its name at once: readers never see half of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}-{threading.get_ident()}")
        aside.unlink(missing_ok=True)
        try:
            connection = sqlite3.connect(aside, isolation_level=None)
            try:
                connection.execute(f"PRAGMA page_size = {self._page_bytes}")
                connection.executescript(f"BEGIN; {self._tables} PRAGMA user_version = {self._version}; COMMIT;")
                connection.execute("PRAGMA journal_mode = WAL")
            finally:
                connection.close()
            # A link, unlike a rename, leaves the file of a process that was first.
            with suppress(FileExistsError):
                os.link(aside, self.path)
        finally:
            # Also where the disk is full: each thread that tries would leave one.
            aside.unlink(missing_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _disconnect(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _check_version(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > self._version:
            raise PredictionLogError(
                f"{self.path} is of format {version}; this trimtab reads up to {self._version}: update trimtab"
            )
        if version < 1:
            raise PredictionLogError(f"{self.path} is a database of something else; put the log's back from a copy")
        if version < self._version:
            self._bring_up(connection)

    def _bring_up(self, connection: sqlite3.Connection) -> None:
        """Add what newer versions added; whoever comes first does it, in one transaction."""
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for newer in range(version + 1, self._version + 1):
            for statement in self._additions[newer]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {self._version}")
        connection.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise LogBusyError(f"{self.path} is being written to by another process: {error}") from error
            raise PredictionLogError(f"{self.path} cannot be used: {error}") from error


def _inode(path: str) -> _Inode:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
