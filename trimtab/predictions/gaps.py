"""What was answered and is not in the log, where a model chose ``log_policy=available``.

Such a model answers even when its log cannot be written. What is lost is then counted here, so that a scan can say how
many predictions it does not see, and between which times. A stretch of lost rows becomes one row of ``gaps.sqlite``
about every second; while the disk takes nothing it is counted in memory, and written once the disk takes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from trimtab.errors import PredictionLogError
from trimtab.predictions.database import Database
from trimtab.predictions.schema import from_microseconds, id_bytes, id_text, microseconds

_FORMAT_VERSION = 1
_WRITE_EVERY_S = 1.0
_MAX_REASON = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS gaps (
  sequence INTEGER PRIMARY KEY, row_count INTEGER NOT NULL, version TEXT NOT NULL, release_id TEXT NOT NULL,
  reason TEXT NOT NULL, first_id BLOB NOT NULL, last_id BLOB NOT NULL, min_event_time INTEGER NOT NULL,
  max_event_time INTEGER NOT NULL, first_answered_at INTEGER NOT NULL, last_answered_at INTEGER NOT NULL);
"""
_INSERT = """
INSERT INTO gaps (row_count, version, release_id, reason, first_id, last_id, min_event_time, max_event_time,
  first_answered_at, last_answered_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_SELECT = """
SELECT row_count, version, release_id, reason, first_id, last_id, min_event_time, max_event_time, first_answered_at,
  last_answered_at FROM gaps WHERE max_event_time >= ? AND min_event_time < ? ORDER BY sequence"""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of predictions that were answered and not logged; all bounds are inclusive.

    ``first_answered_at`` and ``last_answered_at`` are the times at which they should have been logged.
    """

    rows: int
    version: str
    release_id: str
    reason: str
    first_id: str
    last_id: str
    min_event_time: datetime
    max_event_time: datetime
    first_answered_at: datetime
    last_answered_at: datetime


class Gaps:
    """Counts what one log folder lost. Safe for threads.

    Attributes
    ----------
    total : int
        Rows that were not logged since this object was made.
    pending : int
        Those of them that are counted in memory only.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = folder / "gaps.sqlite"
        self.total = 0
        self.pending = 0
        self._database = Database(self.path, _TABLES, _FORMAT_VERSION)
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], Gap] = {}
        self._next_write_s = 0.0

    def count(
        self, ids: Sequence[bytes], event_times: Sequence[int], version: str, release_id: str, reason: str
    ) -> None:
        """Count rows that are answered and were not logged. Writes to disk about once a second; never raises.

        Parameters
        ----------
        ids
            Of the rows, at least one.
        event_times
            Microseconds since 1970, of the same rows.
        version, release_id
            Which release answered.
        reason
            What the log said; the first of a stretch is kept.
        """
        now = from_microseconds(time.time_ns() // 1000)
        times = (from_microseconds(min(event_times)), from_microseconds(max(event_times)), now, now)
        bounds = (id_text(min(ids)), id_text(max(ids)))
        lost = Gap(len(ids), version, release_id, reason[:_MAX_REASON], *bounds, *times)
        with self._lock:
            known = self._open.get((version, release_id))
            self._open[version, release_id] = _joined(known, lost) if known else lost
            self.total += lost.rows
            self.pending += lost.rows
            due = self._clock() >= self._next_write_s
        if due:
            self.flush()

    def flush(self) -> None:
        """Write what is pending, if the disk takes it; else it stays pending. Never raises for the disk's sake."""
        with self._lock:
            if not self._open:
                return
            self._next_write_s = self._clock() + _WRITE_EVERY_S
            try:
                with self._database.writing() as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.executemany(_INSERT, [_values(gap) for gap in self._open.values()])
                    connection.execute("COMMIT")
            except PredictionLogError as error:
                _logger.error("%d predictions were answered, not logged, and not yet counted: %s", self.pending, error)
                return
            self._open.clear()
            self.pending = 0

    def close(self) -> None:
        """Write what is pending and close the file. What the disk still refuses is lost, and named in the log."""
        self.flush()
        self._database.close()


def read_gaps(folder: Path, start: datetime | None = None, end: datetime | None = None) -> list[Gap]:
    """What a model's log lost, in the order in which it was lost.

    Parameters
    ----------
    folder
        The model's log folder.
    start, end
        Only gaps that may hold an event time in [start, end); all by default. A gap that reaches beyond is counted
        whole: which of its rows lie inside is not known.

    Raises
    ------
    PredictionLogError
        If the record of gaps cannot be read.
    """
    path = folder / "gaps.sqlite"
    if not path.exists():
        return []
    bounds = (-(2**63) if start is None else microseconds(start), 2**63 - 1 if end is None else microseconds(end))
    with Database(path, _TABLES, _FORMAT_VERSION).reading() as connection:
        rows = connection.execute(_SELECT, bounds).fetchall()
    return [_gap(*row) for row in rows]


def gap_over(folder: Path, prediction_id: bytes) -> Gap | None:
    """The gap among whose ids a prediction's lies, if there is one: then it may have been answered and not logged."""
    text = id_text(prediction_id)
    # As text, ids sort as they do as bytes.
    return next((gap for gap in read_gaps(folder) if gap.first_id <= text <= gap.last_id), None)


def tell_gaps(gaps: Sequence[Gap]) -> str:
    """One sentence on what is missing; empty if nothing is."""
    if not gaps:
        return ""
    first, last = min(gap.first_answered_at for gap in gaps), max(gap.last_answered_at for gap in gaps)
    return (
        f"{sum(gap.rows for gap in gaps)} predictions were answered and not logged "
        f"between {first:%Y-%m-%d %H:%M:%S} and {last:%Y-%m-%d %H:%M:%S} UTC ({gaps[-1].reason})"
    )


def _joined(one: Gap, other: Gap) -> Gap:
    return replace(
        one,
        rows=one.rows + other.rows,
        first_id=min(one.first_id, other.first_id),
        last_id=max(one.last_id, other.last_id),
        min_event_time=min(one.min_event_time, other.min_event_time),
        max_event_time=max(one.max_event_time, other.max_event_time),
        last_answered_at=other.last_answered_at,
    )


def _values(gap: Gap) -> tuple[object, ...]:
    times = (gap.min_event_time, gap.max_event_time, gap.first_answered_at, gap.last_answered_at)
    return (
        *(gap.rows, gap.version, gap.release_id, gap.reason, id_bytes(gap.first_id), id_bytes(gap.last_id)),
        *map(microseconds, times),
    )


def _gap(rows: int, version: str, release_id: str, reason: str, first_id: bytes, last_id: bytes, *times: int) -> Gap:
    start, end, first, last = map(from_microseconds, times)
    return Gap(rows, version, release_id, reason, id_text(first_id), id_text(last_id), start, end, first, last)
