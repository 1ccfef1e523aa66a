"""What a log holds at one moment: unsealed batches and sealed segments, no row in both, read piece by piece.

Everything comes from one read transaction of the spool, so it stays the same while appends and seals go on. Bounds are
narrowed in SQL: neither the batches nor the manifests of other times and ids are touched.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from isal.isal_zlib import crc32

from trimtab.errors import PredictionLogError
from trimtab.predictions.segments import Manifest, SealedSpan

FIRST_ID, LAST_ID = bytes(16), b"\xff" * 16
FIRST_TIME, LAST_TIME = -(2**63), 2**63 - 1

_UNSEALED = "sequence > (SELECT coalesce(max(through_sequence), 0) FROM segments)"
_BATCH = "SELECT sequence, schema_id, checksum, body FROM batches WHERE "
_STREAM = "SELECT sequence, schema_id, checksum, body, row_count FROM batches WHERE "
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_BATCH_BOUNDS = "SELECT first_id, last_id, sequence FROM batches INDEXED BY batches_by_id WHERE "
_BATCH_SCHEMAS = "SELECT DISTINCT schema_id FROM batches WHERE "
_SEGMENT_BOUNDS = "SELECT first_id, last_id, name FROM segments WHERE pruned_at IS NULL AND "
_SEGMENT = """
SELECT name, home, digest, row_count, size_bytes, first_id, last_id, min_event_time, max_event_time, manifest
FROM segments WHERE """


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which ids (16 bytes, both inclusive) and event times (microseconds, in [start, end)) are asked for."""

    first_id: bytes = FIRST_ID
    last_id: bytes = LAST_ID
    start: int = FIRST_TIME
    end: int = LAST_TIME

    def condition(self) -> tuple[str, list[Any]]:
        """SQL that is true of what may hold such rows, and its values."""
        condition = "last_id >= ? AND first_id <= ?"
        values: list[bytes | int] = [self.first_id, self.last_id]
        # Left out where it says nothing: the ids of batches are then read from their index alone.
        if (self.start, self.end) != (FIRST_TIME, LAST_TIME):
            condition += " AND max_event_time >= ? AND min_event_time < ?"
            values += [self.start, self.end]
        return condition, values


class Snapshot:
    """One read transaction of one log; ends with :meth:`Spool.snapshot`. For one thread at a time.

    Parameters
    ----------
    path : Path
        Of the spool; for errors.
    connection : sqlite3.Connection
        In a read transaction.
    as_segment : callable
        Makes a segment of its row.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, as_segment: Callable[[Any], tuple[SealedSpan, Manifest]]
    ) -> None:
        self._path, self._connection, self._as_segment = path, connection, as_segment
        found = connection.execute("SELECT id, body FROM schemas ORDER BY id")
        self._schemas = {key: pa.ipc.read_schema(pa.py_buffer(body)) for key, body in found}

    def segments(self, bounds: Bounds) -> list[tuple[bytes, bytes, str]]:
        """First id, last id and name of each segment that may hold such rows, in the order of their first ids."""
        condition, values = bounds.condition()
        query = f"{_SEGMENT_BOUNDS}{condition} ORDER BY first_id"
        return self._connection.execute(query, values).fetchall()

    def segment(self, name: str) -> tuple[SealedSpan, Manifest]:
        """One of :meth:`segments`."""
        return self._as_segment(self._connection.execute(f"{_SEGMENT}name = ?", (name,)).fetchone())

    def spans(self, bounds: Bounds) -> list[SealedSpan]:
        """The segments that may hold such rows, in the order of their first ids."""
        condition, values = bounds.condition()
        found = self._connection.execute(f"{_SEGMENT}pruned_at IS NULL AND {condition} ORDER BY first_id", values)
        return [self._as_segment(row)[0] for row in found]

    def batches(
        self, bounds: Bounds, newest_first: bool = False, containing: bytes = b""
    ) -> Iterator[tuple[bytes, bytes, int]]:
        """First id, last id and sequence of each unsealed batch that may hold such rows.

        Parameters
        ----------
        bounds
        newest_first
            In descending order of last ids rather than in ascending order of first ids.
        containing
            Bytes that must stand in the batch somewhere: far quicker than to decode it.
        """
        condition, values = bounds.condition()
        order = "last_id DESC" if newest_first else "first_id"
        found = self._connection.execute(
            f"{_BATCH_BOUNDS}{_UNSEALED} AND {condition} ORDER BY {order}, sequence", values
        )
        # Python finds bytes in bytes several times as fast as SQLite's instr; and no body goes through a sort.
        return (batch for batch in found if not containing or containing in self._body(batch[2]))

    def _body(self, sequence: int) -> bytes:
        body: bytes = self._connection.execute("SELECT body FROM batches WHERE sequence = ?", (sequence,)).fetchone()[0]
        return body

    def batch(self, sequence: int) -> pa.RecordBatch:
        """The rows of a batch.

        Raises
        ------
        PredictionLogError
            If it is damaged.
        """
        row = self._connection.execute(f"{_BATCH}sequence = ?", (sequence,)).fetchone()
        return decode_batch(self._path, self._schemas, *row)

    def stream(self, bounds: Bounds, columns: Sequence[str] | None, chunk_rows: int) -> Iterator[pa.Table]:
        """The unsealed batches that may hold such rows, in the order in which they were appended, many at a time.

        Parameters
        ----------
        bounds
        columns
            Only these, where the batches have them; all by default.
        chunk_rows
            About so many rows to a table; all rows of a table are of one schema.

        Raises
        ------
        PredictionLogError
            If a batch is damaged.
        """
        condition, values = bounds.condition()
        query = f"{_STREAM}{_UNSEALED} AND {condition} ORDER BY sequence"
        bodies: list[bytes] = []
        current, rows = -1, 0
        for sequence, schema_id, checksum, body, row_count in self._connection.execute(query, values):
            if bodies and (rows >= chunk_rows or schema_id != current):
                yield self._decode(current, bodies, columns)
                bodies, rows = [], 0
            check_batch(self._path, self._schemas, sequence, schema_id, checksum, body)
            bodies.append(body)
            current, rows = schema_id, rows + row_count
        if bodies:
            yield self._decode(current, bodies, columns)

    def _decode(self, schema_id: int, bodies: list[bytes], columns: Sequence[str] | None) -> pa.Table:
        """Batches as one table: read as one IPC stream, a small batch costs a tenth of what it does by itself."""
        schema = self._schemas[schema_id]
        options = pa.ipc.IpcReadOptions()
        if columns is not None:
            options.included_fields = [place for place, name in enumerate(schema.names) if name in columns]
        stream = b"".join([schema.serialize().to_pybytes(), *bodies, _END_OF_STREAM])
        with pa.ipc.open_stream(stream, options=options) as reader:
            table = reader.read_all()
        # Without any field of its own the reader takes them all.
        return table if columns is None else table.select([name for name in table.column_names if name in columns])

    def schemas(self, bounds: Bounds | None = None) -> list[pa.Schema]:
        """Schemas of the unsealed batches that may hold such rows; without bounds, all that the log ever knew."""
        if bounds is None:
            return list(self._schemas.values())
        condition, values = bounds.condition()
        found = self._connection.execute(f"{_BATCH_SCHEMAS}{_UNSEALED} AND {condition} ORDER BY schema_id", values)
        return [self._schemas[key] for (key,) in found]


def decode_batch(
    path: Path, schemas: dict[int, pa.Schema], sequence: int, schema_id: int, checksum: int, body: bytes
) -> pa.RecordBatch:
    """The rows of a batch as the spool keeps it.

    Raises
    ------
    PredictionLogError
        If it is damaged.
    """
    check_batch(path, schemas, sequence, schema_id, checksum, body)
    return pa.ipc.read_record_batch(pa.py_buffer(body), schemas[schema_id])


def check_batch(
    path: Path, schemas: dict[int, pa.Schema], sequence: int, schema_id: int, checksum: int, body: bytes
) -> None:
    """Hold a batch against its checksum.

    Raises
    ------
    PredictionLogError
        If it is damaged.
    """
    if crc32(body) != checksum or schema_id not in schemas:
        raise PredictionLogError(f"batch {sequence} in {path} is damaged; put the file back from a copy")
