"""Outcomes: what came true, by prediction id.

Stating an outcome again changes nothing. Another value for the same prediction is refused unless it is marked as a
correction; then both values are kept, and the one stated last counts from its ``observed_at`` on.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trimtab.answers import outcome_name, outcome_text
from trimtab.errors import OutcomeConflictError, PredictionLogError, UnknownPredictionError
from trimtab.predictions.database import Database
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.outcome_rows import COUNTING_SCHEMA, FORMAT_VERSION, TABLES, counting, history_of, insert
from trimtab.predictions.schema import ID, from_microseconds, id_bytes, id_text, microseconds
from trimtab.predictions.statements import Fate, Statements, Verdict, judge

_NAMED = 5
_FORGOTTEN_AT_ONCE = 10_000
_CORRECTED = """
SELECT prediction_id FROM outcomes WHERE prediction_id BETWEEN ? AND ? AND observed_at <= ?
GROUP BY prediction_id HAVING count(*) > 1"""
_HISTORY = """
SELECT value, observed_at, recorded_at, correction FROM outcomes WHERE prediction_id = ? ORDER BY sequence"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came true for one prediction. ``observed_at`` is the event time at which it became known.

    Of several classes ``value`` is the place of one among `PredictionLog.classes`, from 0 on.
    """

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
        self._database = Database(self.path, TABLES, FORMAT_VERSION)
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
        return self.add_all(_statements(outcomes), recorded_at)

    def add_all(self, given: Statements, recorded_at: datetime | None = None) -> Receipt:
        """As :meth:`add`, of outcomes in columns."""
        verdict = self._store(given, recorded_at, all_or_none=True)
        return Receipt(verdict.count(Fate.ACCEPTED), verdict.count(Fate.DUPLICATE), verdict.count(Fate.CORRECTED))

    def add_each(self, given: Statements, recorded_at: datetime | None = None) -> Verdict:
        """Store, durably and in one transaction, those that can be; of the others nothing.

        Returns
        -------
        Verdict
            What became of each; those that are unknown or conflict are not stored.

        Raises
        ------
        PredictionLogError
            If the disk refuses; then none is stored.
        """
        return self._store(given, recorded_at, all_or_none=False)

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
        return pa.Table.from_batches(self.batches(as_of, first_id, last_id), COUNTING_SCHEMA)

    def batches(
        self, as_of: datetime, first_id: bytes = b"\x00" * 16, last_id: bytes = b"\xff" * 16
    ) -> Iterator[pa.RecordBatch]:
        """As :meth:`table`, in batches of one reading; memory is a batch's."""
        if not self.path.exists():
            return
        with self._database.reading() as connection:
            yield from counting(connection, microseconds(as_of), first_id, last_id)

    def history(self, prediction_id: str) -> list[dict[str, Any]]:
        """Every outcome of a prediction in the order stated; the last one counts. Empty if there is none.

        Each has ``value`` (a number, or of several classes the name of one), ``observed_at``, ``recorded_at`` and
        ``correction``.
        """
        if not self.path.exists():
            return []
        with self._database.reading() as connection:
            stated = connection.execute(_HISTORY, (id_bytes(prediction_id),)).fetchall()
        classes = self._log.classes() if stated else ()
        return [
            {
                "value": outcome_name(value, classes),
                "observed_at": from_microseconds(observed_at),
                "recorded_at": from_microseconds(recorded_at),
                "correction": bool(correction),
            }
            for value, observed_at, recorded_at, correction in stated
        ]

    def forget(self, ids: Sequence[bytes]) -> int:
        """Delete every statement about these predictions for good, as retention asks; returns how many there were."""
        if not self.path.exists():
            return 0
        gone = 0
        for start in range(0, len(ids), _FORGOTTEN_AT_ONCE):
            with self._database.writing() as connection:
                connection.execute("PRAGMA secure_delete = ON")
                connection.execute("BEGIN IMMEDIATE")
                values = [(key,) for key in ids[start : start + _FORGOTTEN_AT_ONCE]]
                gone += connection.executemany("DELETE FROM outcomes WHERE prediction_id = ?", values).rowcount
                connection.execute("COMMIT")
        return gone

    def corrected(self, as_of: datetime, first_id: bytes, last_id: bytes) -> pa.Array:
        """The predictions between these ids, both inclusive, of which more than one value was known at a time."""
        rows: list[tuple[bytes]] = []
        if self.path.exists():
            with self._database.reading() as connection:
                rows = connection.execute(_CORRECTED, (first_id, last_id, microseconds(as_of))).fetchall()
        return pa.array([key for (key,) in rows], ID)

    def copy(self, folder: Path) -> Outcomes:
        """A copy as of now, in another folder, of the same log: to try out on."""
        if self.path.exists():
            with self._database.reading() as connection, closing(sqlite3.connect(folder / self.path.name)) as target:
                connection.backup(target)
        return Outcomes(folder, self._log)

    def close(self) -> None:
        """Close the writing connection; the next addition opens another."""
        self._database.close()

    def _store(self, given: Statements, recorded_at: datetime | None, all_or_none: bool) -> Verdict:
        known = self._log.known(given.ids).to_numpy(zero_copy_only=False)
        if all_or_none and not known.all():
            raise self._unknown(given.ids.filter(pa.array(~known)).to_pylist(), len(given))
        fates = np.full(len(given), Fate.UNKNOWN, np.int8)
        standing = np.full(len(given), np.nan)
        there = np.flatnonzero(known)
        if len(there):
            verdict = self._write(given.take(there), microseconds(recorded_at or datetime.now(UTC)), all_or_none)
            fates[there], standing[there] = verdict.fates, verdict.standing
        return Verdict(fates, standing)

    def _write(self, given: Statements, now: int, all_or_none: bool) -> Verdict:
        with self._database.writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            verdict = judge(given, history_of(connection, given))
            if all_or_none and len(against := verdict.places(Fate.CONFLICT)):
                raise _conflict(given, verdict, int(against[0]), self._log.classes())
            insert(connection, given.take(verdict.places(Fate.ACCEPTED, Fate.CORRECTED)), now)
            connection.execute("COMMIT")
        return verdict

    def _unknown(self, unknown: list[bytes], n: int) -> UnknownPredictionError:
        named = ", ".join(id_text(key) for key in unknown[:_NAMED])
        return UnknownPredictionError(
            f"no prediction {named}{' ...' if len(unknown) > _NAMED else ''} is on record in {self.path.parent} "
            f"({len(unknown)} of {n} are unknown); none of the outcomes is stored"
        )


def _statements(outcomes: Sequence[Outcome]) -> Statements:
    return Statements(
        ids=pa.array([id_bytes(outcome.prediction_id) for outcome in outcomes], ID),
        values=np.array([_finite(outcome) for outcome in outcomes], np.float64),
        observed_at=np.array([microseconds(outcome.observed_at) for outcome in outcomes], np.int64),
        corrections=np.array([outcome.correction for outcome in outcomes], np.bool_),
    )


def _finite(outcome: Outcome) -> float:
    if not math.isfinite(outcome.value):
        raise PredictionLogError(
            f"the outcome of prediction {outcome.prediction_id} is {outcome.value}; it must be a finite number"
        )
    return outcome.value


def _conflict(given: Statements, verdict: Verdict, place: int, classes: Sequence[str]) -> OutcomeConflictError:
    standing, stated = (outcome_text(values[place], classes) for values in (verdict.standing, given.values))
    return OutcomeConflictError(
        f"prediction {id_text(given.ids[place].as_py())} has the outcome {standing}; "
        f"{stated} contradicts it: if it is right, send it with correction true. "
        "None of the outcomes is stored"
    )
