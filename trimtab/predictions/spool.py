"""The spool: where a batch becomes durable before its answers go out, and the list of what was sealed since.

One SQLite file in WAL mode with ``synchronous=FULL``; one row a batch, the rows themselves as an Arrow IPC message.
Sealing commits in one small row of ``segments``: a batch whose sequence is at most the highest ``through_sequence``
counts as sealed from then on, and is deleted afterwards, at leisure. So every reader, in one read transaction, sees
each row exactly once, whenever a seal is cut short.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from isal.isal_zlib import crc32

from trimtab.errors import PredictionLogError
from trimtab.predictions.checkpoints import PAGE_BYTES, WAL_PAGES, Checkpoints
from trimtab.predictions.database import Database
from trimtab.predictions.homes import BESIDE_THE_SPOOL, SegmentHome, home_at, home_for
from trimtab.predictions.schema import check_schema, from_microseconds, id_bytes, id_text, microseconds
from trimtab.predictions.segments import Manifest, SealedSpan
from trimtab.predictions.snapshot import Snapshot, decode_batch
from trimtab.predictions.spool_format import ADDITIONS, FORMAT_VERSION, TABLES
from trimtab.predictions.tombstones import Tombstones
from trimtab.settings import Settings

_DELETE_BYTES = 1024 * 1024
_REQUIRED = ("prediction_id", "version", "release_id", "event_time", "logged_at", "score")

_UNSEALED = "sequence > (SELECT coalesce(max(through_sequence), 0) FROM segments)"
_BATCH = "SELECT sequence, schema_id, checksum, body FROM batches WHERE "
_BATCH_BOUNDS = "SELECT sequence, first_id, last_id FROM batches INDEXED BY batches_by_id WHERE "
_WIDE_BATCHES = """
SELECT sequence, first_id, last_id FROM batches INDEXED BY batches_wide
WHERE substr(first_id, 1, 8) <> substr(last_id, 1, 8) AND """
_SPANS = "last_id >= ? AND first_id <= ?"
_SEGMENT = """
SELECT name, home, digest, row_count, size_bytes, first_id, last_id, min_event_time, max_event_time, manifest
FROM segments WHERE pruned_at IS NULL """
# A sequence is never given twice: only what is sealed is deleted, and up to where that is stays in `segments` for ever.
_INSERT_BATCH = """
INSERT INTO batches (sequence, schema_id, row_count, first_id, last_id, min_event_time, max_event_time, checksum, body)
VALUES (
  1 + max((SELECT coalesce(max(sequence), 0) FROM batches), (SELECT coalesce(max(through_sequence), 0) FROM segments)),
  ?, ?, ?, ?, ?, ?, ?, ?)"""
_INSERT_SEGMENT = """
INSERT INTO segments (name, through_sequence, digest, row_count, size_bytes, first_id, last_id, min_event_time,
  max_event_time, manifest, home) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_SEALED_THROUGH = "SELECT coalesce(max(through_sequence), 0) FROM segments"
_SEALED_BATCHES = """
SELECT sequence, length(body) FROM batches
WHERE sequence <= (SELECT coalesce(max(through_sequence), 0) FROM segments) ORDER BY sequence"""


class Ends(NamedTuple):
    """The least and the greatest id and event time (microseconds since 1970) of a batch."""

    first_id: bytes
    last_id: bytes
    first_time: int
    last_time: int

    @classmethod
    def of(cls, rows: pa.RecordBatch) -> Ends:
        """Those of at least one row."""
        return cls(*_ends(rows["prediction_id"]), *_ends(rows["event_time"].view(pa.int64())))


@dataclass(frozen=True, slots=True)
class View:
    """What one read transaction saw: unsealed batches and sealed segments, no row in both."""

    batches: list[pa.RecordBatch]
    segments: list[tuple[SealedSpan, Manifest]]


class Spool:
    """The spool of one log folder. Safe for threads and for many processes.

    Parameters
    ----------
    folder : Path
    settings : Settings, optional
        Where new segments go and how S3 is reached; by default this process's own, read when they are needed.
    """

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.path = folder / "spool.sqlite"
        self._folder = folder
        self._given_settings = settings
        self._database = Database(self.path, TABLES, FORMAT_VERSION, ADDITIONS, self._check_new, PAGE_BYTES, WAL_PAGES)
        self._checkpoints = Checkpoints(self.path)
        self._known_schema: tuple[sqlite3.Connection, pa.Schema, int] | None = None

    @functools.cached_property
    def home(self) -> SegmentHome:
        """Where the next segment goes."""
        return home_for(self._folder, self._settings)

    @functools.cached_property
    def _settings(self) -> Settings:
        return self._given_settings or Settings.from_env()

    @property
    def exists(self) -> bool:
        """Whether anything was ever appended.

        Raises
        ------
        PredictionLogError
            If there are segments but no spool: it lists them, so without it the log is not whole.
        """
        if self.path.exists():
            return True
        self._check_new()
        return False

    def _check_new(self) -> None:
        """Refuse a log without a spool that has segments: to begin anew would be to forget what they hold."""
        beside = home_at(self._folder, BESIDE_THE_SPOOL, self._settings)
        for home in (beside, self.home) if self.home != beside else (beside,):
            if names := home.names():
                raise PredictionLogError(
                    f"{self.path} is gone, but {len(names)} segments of this log are there ({home.uri(names[0])}): put "
                    "the file back from a copy; to begin a new log, move them away first"
                )

    def append(self, rows: pa.RecordBatch, wait: bool = True, ends: Ends | None = None) -> None:
        """Make a batch durable: when this returns, it survives a loss of power.

        Raises
        ------
        LogBusyError
            If others write meanwhile (without ``wait``: at once).
        PredictionLogError
            If the batch lacks a column of the log, the disk refuses, or there are segments but no spool. Nothing of it
            is then kept.
        """
        if rows.num_rows == 0:
            return
        bounds = ends or Ends.of(rows)
        body = rows.serialize()
        with self._database.writing(wait) as connection:
            schema_id = self._schema_id(connection, rows)
            values = (schema_id, rows.num_rows, *bounds, crc32(body), memoryview(body))
            connection.execute(_INSERT_BATCH, values)
            self._checkpoints.appended(connection, body.size)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """All that the log holds at this moment, to be read piece by piece."""
        if self.exists:
            with self._database.reading() as connection:
                yield Snapshot(self.path, connection, self._segment)
            return
        with closing(sqlite3.connect(":memory:", check_same_thread=False)) as nothing:
            nothing.executescript(TABLES)
            yield Snapshot(self.path, nothing, self._segment)

    def view_ids(self, ids: Sequence[bytes]) -> View:
        """Batches and segments that may hold any of these ids."""
        if not self.exists:
            return View([], [])
        wanted = sorted(ids)
        span = (wanted[0], wanted[-1])
        with self._database.reading() as connection:
            # A batch whose ids share their first half ends no later than the half of the last id that is wanted.
            narrow = (*span, wanted[-1][:8] + b"\xff" * 8)
            candidates = connection.execute(f"{_BATCH_BOUNDS}{_UNSEALED} AND {_SPANS} AND last_id <= ?", narrow)
            others = connection.execute(f"{_WIDE_BATCHES}{_UNSEALED} AND {_SPANS}", span)
            sequences = {number for number, *ends in itertools.chain(candidates, others) if _any_within(wanted, *ends)}
            rows = [
                connection.execute(f"{_BATCH}sequence = ?", (sequence,)).fetchone() for sequence in sorted(sequences)
            ]
            segments = [
                (sealed, manifest)
                for sealed, manifest in map(self._segment, connection.execute(f"{_SEGMENT}AND {_SPANS}", span))
                if _any_within(wanted, id_bytes(sealed.first_id), id_bytes(sealed.last_id))
            ]
            schemas = self._schemas(connection) if rows else {}
        return View([decode_batch(self.path, schemas, *row) for row in rows], segments)

    @functools.cached_property
    def tombstones(self) -> Tombstones:
        """What was deleted under the model's retention."""
        return Tombstones(self._database, lambda row: self._segment(row)[0])

    def last_sequence(self) -> int:
        """The sequence of the newest batch; 0 if there is none."""
        with self._database.reading() as connection:
            (last,) = connection.execute("SELECT coalesce(max(sequence), 0) FROM batches").fetchone()
        return int(last)

    def unsealed(self, through_sequence: int, max_rows: int) -> tuple[range, list[pa.RecordBatch]]:
        """The oldest unsealed batches up to a sequence, about that many rows; and the sequences that they span."""
        rows, sequences, taken = 0, range(0), []
        with self._database.reading() as connection:
            schemas = self._schemas(connection)
            query = f"{_BATCH}{_UNSEALED} AND sequence <= ? ORDER BY sequence"
            for row in connection.execute(query, (through_sequence,)):
                taken.append(decode_batch(self.path, schemas, *row))
                sequences = range(sequences.start or row[0], row[0] + 1)
                rows += taken[-1].num_rows
                if rows >= max_rows:
                    break
        return sequences, taken

    def intend(self, name: str) -> None:
        """Note that a segment of that name is about to be put into its home; it replaces what was intended before."""
        with self._database.writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM intended")
            connection.execute("INSERT INTO intended (name) VALUES (?)", (name,))
            connection.execute("COMMIT")

    def withdraw(self, name: str) -> bool:
        """Give up a segment that was never committed: from now on it cannot be. False if it counts."""
        with self._database.writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM intended WHERE name = ?", (name,))
            counts = connection.execute("SELECT 1 FROM segments WHERE name = ?", (name,)).fetchone()
            connection.execute("COMMIT")
        return counts is None

    def commit_segment(self, first_sequence: int, through_sequence: int, span: SealedSpan, manifest: Manifest) -> None:
        """From now on the segment stands for every batch from the first sequence up to the second.

        Raises
        ------
        PredictionLogError
            If another segment stands for some of them already, or this one was given up: two sealers cannot both count.
        """
        values = (
            *(span.name, through_sequence, span.digest, span.rows, span.size_bytes),
            *(id_bytes(span.first_id), id_bytes(span.last_id)),
            *(microseconds(span.min_event_time), microseconds(span.max_event_time), manifest.first_ids),
            span.home.stored_as,
        )
        with self._database.writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            (sealed,) = connection.execute(_SEALED_THROUGH).fetchone()
            intended = connection.execute("DELETE FROM intended WHERE name = ?", (span.name,)).rowcount
            if sealed >= first_sequence or not intended:
                raise PredictionLogError(
                    f"batches {first_sequence} to {through_sequence} of {self.path} were sealed or given up meanwhile "
                    f"(sealed is up to {sealed}): another sealer does not see the lock; this one's segment counts for "
                    "nothing, and no row is lost"
                )
            connection.execute(_INSERT_SEGMENT, values)
            connection.execute("COMMIT")

    def drop_sealed(self) -> None:
        """Delete sealed batches, a few at a time and with pauses, so that appends hardly wait."""
        with self._database.reading() as connection:
            sealed = connection.execute(_SEALED_BATCHES).fetchall()
        for last_sequence in _portions(sealed, _DELETE_BYTES):
            began = time.monotonic()
            with self._database.writing() as connection:
                # Some builds of SQLite write zeros over all that is deleted; here that would be all that was appended.
                connection.execute("PRAGMA secure_delete = FAST")
                connection.execute("DELETE FROM batches WHERE sequence <= ?", (last_sequence,))
            # SQLite lets whoever comes first have the file: without a pause that would be this loop again.
            time.sleep(time.monotonic() - began)

    def spans(self, unacknowledged_only: bool = False) -> list[SealedSpan]:
        """The sealed segments, oldest first."""
        if not self.exists:
            return []
        where = "AND acknowledged = 0 " if unacknowledged_only else ""
        with self._database.reading() as connection:
            return [self._segment(row)[0] for row in connection.execute(f"{_SEGMENT}{where}ORDER BY through_sequence")]

    def acknowledge(self, names: Iterable[str]) -> None:
        """Note that these segments are in the ledger."""
        values = [(name,) for name in names]
        if not values:
            return
        with self._database.writing() as connection:
            connection.executemany("UPDATE segments SET acknowledged = 1 WHERE name = ?", values)

    def schemas(self) -> list[pa.Schema]:
        """Every schema that a batch ever had, oldest first."""
        if not self.exists:
            return []
        with self._database.reading() as connection:
            return list(self._schemas(connection).values())

    def close(self) -> None:
        """Close the writing connection; the next append opens another."""
        self._checkpoints.close()
        self._database.close()

    def _segment(self, row: Any) -> tuple[SealedSpan, Manifest]:
        name, stored_as, digest, rows, size_bytes, first_id, last_id, start, end, manifest = row
        home = home_at(self._folder, stored_as, self._settings)
        times = (from_microseconds(start), from_microseconds(end))
        span = SealedSpan(home, name, digest, rows, size_bytes, id_text(first_id), id_text(last_id), *times)
        return span, Manifest(manifest)

    def _schema_id(self, connection: sqlite3.Connection, rows: pa.RecordBatch) -> int:
        schema = rows.schema
        for name in _REQUIRED:
            if (place := schema.get_field_index(name)) >= 0 and rows.column(place).null_count:
                raise PredictionLogError(f"column {name!r} of the batch holds null; every prediction has one")
        # Another connection may be to another file, put back from a copy, that lacks the schema.
        if (known := self._known_schema) and known[0] is connection and known[1].equals(schema):
            return known[2]
        check_schema(schema)
        body = schema.remove_metadata().serialize().to_pybytes()
        connection.execute("INSERT INTO schemas (body) VALUES (?) ON CONFLICT DO NOTHING", (body,))
        (schema_id,) = connection.execute("SELECT id FROM schemas WHERE body = ?", (body,)).fetchone()
        self._known_schema = (connection, schema, schema_id)
        return int(schema_id)

    @staticmethod
    def _schemas(connection: sqlite3.Connection) -> dict[int, pa.Schema]:
        found = connection.execute("SELECT id, body FROM schemas ORDER BY id")
        return {key: pa.ipc.read_schema(pa.py_buffer(body)) for key, body in found}


def _ends(values: pa.Array) -> tuple[Any, Any]:
    """The least and the greatest of at least one value."""
    if len(values) == 1:
        return values[0].as_py(), values[0].as_py()
    found = pc.min_max(values)
    return found["min"].as_py(), found["max"].as_py()


def _any_within(ascending: Sequence[bytes], first: bytes, last: bytes) -> bool:
    """Whether any of the ids lies in [first, last]."""
    place = bisect.bisect_left(ascending, first)
    return place < len(ascending) and ascending[place] <= last


def _portions(sealed: Iterable[tuple[int, int]], size_bytes: int) -> Iterator[int]:
    """Where to stop so that each portion of (sequence, bytes) has about that many bytes; the last is the end."""
    sequence = taken = 0
    for sequence, length in sealed:
        taken += length
        if taken >= size_bytes:
            yield sequence
            taken = 0
    if taken:
        yield sequence
