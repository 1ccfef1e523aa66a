"""How outcomes lie in SQLite, and how many of them go in and come out at once.

A statement is a row; none is ever changed. An outcome takes about 80 bytes, a third of it in the index: the value that
counts for a prediction is found, and a window is read, in the order of ids.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.predictions.schema import ID, TIME
from trimtab.predictions.statements import History, Statements

FORMAT_VERSION = 1
TABLES = """
CREATE TABLE IF NOT EXISTS outcomes (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, prediction_id BLOB NOT NULL, value REAL NOT NULL,
  observed_at INTEGER NOT NULL, recorded_at INTEGER NOT NULL, correction INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS outcomes_by_id ON outcomes (prediction_id, sequence);
"""
COUNTING_SCHEMA = pa.schema(
    [pa.field("prediction_id", ID), pa.field("outcome", pa.float64()), pa.field("observed_at", TIME)]
)
"""Columns of the outcomes that count."""

_INSERT = "INSERT INTO outcomes (prediction_id, value, observed_at, recorded_at, correction) VALUES "
_ROW = "(?, ?, ?, ?, ?)"
# Half the time of a statement a row; SQLite takes 32,766 parameters.
_ROWS_A_STATEMENT = 200
_CACHE_KIB = 65_536
_BATCH_ROWS = 65_536
_ANY = "SELECT EXISTS (SELECT 1 FROM outcomes WHERE prediction_id BETWEEN ? AND ?)"
# The ids come as one blob of 16 bytes each: less than half the time of a temporary table. CROSS JOIN keeps the order.
_PAST = """
WITH RECURSIVE asked (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM asked WHERE number + 1 < ?2)
SELECT number, value, observed_at FROM asked CROSS JOIN outcomes ON prediction_id = substr(?1, number * 16 + 1, 16)
ORDER BY number, sequence"""
# Not GROUP BY with max(sequence): that takes twice the time.
_KNOWN = """
SELECT prediction_id, value, observed_at FROM outcomes
WHERE prediction_id BETWEEN ? AND ? AND observed_at <= ? ORDER BY prediction_id, sequence"""


def history_of(connection: sqlite3.Connection, given: Statements) -> History:
    """What is stored of the predictions that the statements are about, at least one."""
    order, numbers = given.by_id()
    _, firsts = np.unique(numbers, return_index=True)
    ids = given.ids.take(pa.array(order[firsts])).to_pylist()
    rows: list[tuple[int, float, int]] = []
    if connection.execute(_ANY, (ids[0], ids[-1])).fetchone()[0]:
        rows = connection.execute(_PAST, (b"".join(ids), len(ids))).fetchall()
    found, values, times = zip(*rows, strict=True) if rows else ((), (), ())
    return History(np.array(found, np.int64), np.array(values, np.float64), np.array(times, np.int64))


def insert(connection: sqlite3.Connection, given: Statements, recorded_at: int) -> None:
    """Insert statements, recorded at that time (microseconds since 1970), within the caller's transaction."""
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    # In the order of ids: what is stated of one keeps its order, and the index grows page by page.
    rows = given.take(given.by_id()[0])
    columns = (rows.ids.to_pylist(), rows.values.tolist(), rows.observed_at.tolist())
    values = list(
        itertools.chain.from_iterable(
            zip(*columns, itertools.repeat(recorded_at, len(rows)), rows.corrections.tolist(), strict=True)
        )
    )
    width, whole = _ROW.count("?"), len(rows) - len(rows) % _ROWS_A_STATEMENT
    for size, start, end in ((_ROWS_A_STATEMENT, 0, whole), (1, whole, len(rows))):
        statement = _INSERT + ", ".join([_ROW] * size)
        spans = range(start * width, end * width, size * width)
        connection.executemany(statement, (values[i : i + size * width] for i in spans))


def counting(connection: sqlite3.Connection, as_of: int, first_id: bytes, last_id: bytes) -> Iterator[pa.RecordBatch]:
    """The outcome that counts for each prediction between two ids, both inclusive, ordered by id.

    Only statements with ``observed_at`` <= ``as_of`` (microseconds since 1970); the one stated last counts.
    """
    found = connection.execute(_KNOWN, (first_id, last_id, as_of))
    rows = found.fetchmany(_BATCH_ROWS)
    while rows:
        following = found.fetchmany(_BATCH_ROWS)
        yield _last_of_each(rows, following[0][0] if following else b"")
        rows = following


def _last_of_each(rows: list[tuple[bytes, float, int]], next_id: bytes) -> pa.RecordBatch:
    ids, values, times = zip(*rows, strict=True)
    arrays = [pa.array(ids, ID), pa.array(values, pa.float64()), pa.array(times, pa.int64()).view(TIME)]
    last = pc.not_equal(arrays[0].slice(0, len(ids) - 1), arrays[0].slice(1))
    mask = pa.concat_arrays([last, pa.array([ids[-1] != next_id])])
    return pa.RecordBatch.from_arrays(arrays, schema=COUNTING_SCHEMA).filter(mask)
