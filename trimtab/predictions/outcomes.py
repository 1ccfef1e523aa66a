"""Outcomes: what came true, by prediction id.

Stating an outcome again changes nothing. Another value for the same prediction is refused unless it is marked as a
correction; then both values are kept, and the one stated last counts from its ``observed_at`` on.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from trimtab.errors import OutcomeConflictError, PredictionLogError, UnknownPredictionError
from trimtab.predictions.database import Database
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.schema import ID, TIME, from_microseconds, id_bytes, id_text, microseconds

_FORMAT_VERSION = 1
_NAMED = 5
_TABLES = """
CREATE TABLE IF NOT EXISTS outcomes (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, prediction_id BLOB NOT NULL, value REAL NOT NULL,
  observed_at INTEGER NOT NULL, recorded_at INTEGER NOT NULL, correction INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS outcomes_by_id ON outcomes (prediction_id, sequence);
"""
_INSERT = """
INSERT INTO outcomes (prediction_id, value, observed_at, recorded_at, correction) VALUES (?, ?, ?, ?, ?)"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came true for one prediction. ``observed_at`` is the event time at which it became known."""

    prediction_id: str
    value: float
    observed_at: datetime
    correction: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the outcomes of one call: new ones, those known already, and corrections."""

    accepted: int
    duplicates: int
    corrected: int


class Outcomes:
    """The outcomes of one model, beside its log. Safe for threads and for many processes.

    Parameters
    ----------
    folder : Path
        The log's folder.
    log : PredictionLog, optional
        The log in which the predictions must stand; by default the one in that folder.
    """

    def __init__(self, folder: Path, log: PredictionLog | None = None) -> None:
        self.path = folder / "outcomes.sqlite"
        self._database = Database(self.path, _TABLES, _FORMAT_VERSION)
        self._log = log or PredictionLog(folder)

    def add(self, outcomes: Sequence[Outcome], recorded_at: datetime | None = None) -> Receipt:
        """Store outcomes, durably, all or none.

        Parameters
        ----------
        outcomes
            In the order in which they are to count.
        recorded_at
            Now by default.

        Raises
        ------
        UnknownPredictionError
            If a prediction is not on record.
        OutcomeConflictError
            If a value differs from the one that counts and is not marked as a correction.
        PredictionLogError
            If a value is not finite, or the disk refuses.
        """
        rows = [_row(outcome) for outcome in outcomes]
        self._check_known([row[0] for row in rows])
        now = microseconds(recorded_at or datetime.now(UTC))
        counts = {"accepted": 0, "duplicates": 0, "corrected": 0}
        if not rows:
            return Receipt(**counts)
        with self._database.writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            for row in rows:
                fate = _fate(row, _history(connection, row[0]))
                counts[fate] += 1
                if fate != "duplicates":
                    connection.execute(_INSERT, (*row[:3], now, row[3]))
            connection.execute("COMMIT")
        return Receipt(**counts)

    def table(self, as_of: datetime, first_id: bytes = b"\x00" * 16, last_id: bytes = b"\xff" * 16) -> pa.Table:
        """The outcome that counts for each prediction, as it was known at ``as_of``.

        Parameters
        ----------
        as_of
            Only outcomes with ``observed_at`` <= ``as_of``; the one stated last counts.
        first_id, last_id
            Only predictions between these ids, both inclusive.

        Returns
        -------
        pyarrow.Table
            ``prediction_id``, ``outcome`` (float64), ``observed_at``; ordered by id.
        """
        query = """
            SELECT prediction_id, value, observed_at, max(sequence) FROM outcomes
            WHERE prediction_id BETWEEN ? AND ? AND observed_at <= ? GROUP BY prediction_id ORDER BY prediction_id"""
        rows = []
        if self.path.exists():
            with self._database.reading() as connection:
                rows = connection.execute(query, (first_id, last_id, microseconds(as_of))).fetchall()
        ids, values, times = ([row[i] for row in rows] for i in range(3))
        return pa.table(
            {
                "prediction_id": pa.array(ids, ID),
                "outcome": pa.array(values, pa.float64()),
                "observed_at": pa.array(times, pa.int64()).cast(TIME),
            }
        )

    def history(self, prediction_id: str) -> list[dict[str, Any]]:
        """Every outcome of a prediction in the order stated; the last one counts. Empty if there is none."""
        if not self.path.exists():
            return []
        with self._database.reading() as connection:
            return [
                {
                    "value": value,
                    "observed_at": from_microseconds(observed_at),
                    "recorded_at": from_microseconds(recorded_at),
                    "correction": bool(correction),
                }
                for value, observed_at, recorded_at, correction in _history(connection, id_bytes(prediction_id))
            ]

    def close(self) -> None:
        """Close the writing connection; the next addition opens another."""
        self._database.close()

    def _check_known(self, ids: list[bytes]) -> None:
        if unknown := self._log.missing(ids):
            named = ", ".join(id_text(key) for key in unknown[:_NAMED])
            raise UnknownPredictionError(
                f"no prediction {named}{' ...' if len(unknown) > _NAMED else ''} is on record in {self.path.parent} "
                f"({len(unknown)} of {len(ids)} are unknown); none of the outcomes is stored"
            )


_Row = tuple[bytes, float, int, bool]


def _row(outcome: Outcome) -> _Row:
    if not math.isfinite(outcome.value):
        raise PredictionLogError(
            f"the outcome of prediction {outcome.prediction_id} is {outcome.value}; it must be a finite number"
        )
    return id_bytes(outcome.prediction_id), float(outcome.value), microseconds(outcome.observed_at), outcome.correction


def _history(connection: sqlite3.Connection, key: bytes) -> list[tuple[float, int, int, int]]:
    return connection.execute(
        "SELECT value, observed_at, recorded_at, correction FROM outcomes WHERE prediction_id = ? ORDER BY sequence",
        (key,),
    ).fetchall()


def _fate(row: _Row, known: list[tuple[float, int, int, int]]) -> str:
    """What becomes of an outcome, given those that are known of its prediction."""
    key, value, observed_at, correction = row
    if not known:
        return "accepted"
    if correction and (value, observed_at) not in [(past[0], past[1]) for past in known] and value != known[-1][0]:
        return "corrected"
    if correction or value in [past[0] for past in known]:
        return "duplicates"
    raise OutcomeConflictError(
        f"prediction {id_text(key)} has the outcome {known[-1][0]:g}; {value:g} contradicts it: if it is right, "
        "send it with correction true. None of the outcomes is stored"
    )
