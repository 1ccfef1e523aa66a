"""What stays of a segment that was deleted under a model's retention: the row that says what it was, and since when.

A row gets its mark before anything is deleted, in one commit: from then on nobody reads the segment. What was cut short
after the mark is finished by the next pruning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trimtab.predictions.database import Database
from trimtab.predictions.schema import from_microseconds, microseconds
from trimtab.predictions.segments import SealedSpan

_ROW = """
SELECT pruning_id, pruned_at, retention_days, name, home, digest, row_count, size_bytes, first_id, last_id,
  min_event_time, max_event_time, manifest FROM segments WHERE pruned_at IS NOT NULL AND """


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A segment that is deleted or about to be, and under which record of the ledger (``records.Pruning``)."""

    span: SealedSpan
    pruning_id: str
    pruned_at: datetime
    retention_days: int


class Tombstones:
    """Those of one log's spool, which must exist.

    Parameters
    ----------
    database : Database
    segment : callable
        Makes a span from the columns of its row.
    """

    def __init__(self, database: Database, segment: Callable[[Any], SealedSpan]) -> None:
        self._database = database
        self._segment = segment

    def mark(self, name: str, pruning_id: str, pruned_at: datetime, retention_days: int) -> None:
        """From now on nobody reads the segment. A second mark changes nothing."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE segments SET pruning_id = ?, pruned_at = ?, retention_days = ? "
                "WHERE name = ? AND pruned_at IS NULL",
                (pruning_id, microseconds(pruned_at), retention_days, name),
            )

    def finish(self, name: str) -> None:
        """Note that the marked segment is gone; where its row groups began is forgotten, too."""
        with self._database.writing() as connection:
            connection.execute("UPDATE segments SET deleted = 1, manifest = x'' WHERE name = ?", (name,))

    def unfinished(self) -> list[Tombstone]:
        """Segments that have the mark and may be there still, oldest first."""
        return self._found("deleted = 0 ORDER BY through_sequence", ())

    def over(self, prediction_id: bytes) -> Tombstone | None:
        """The one in whose range of ids this id lies: if the prediction was ever made, it went with that."""
        found = self._found("first_id <= ?1 AND last_id >= ?1 ORDER BY first_id DESC LIMIT 1", (prediction_id,))
        return found[0] if found else None

    def names(self) -> set[str]:
        """The names of all segments that have the mark."""
        with self._database.reading() as connection:
            return {name for (name,) in connection.execute("SELECT name FROM segments WHERE pruned_at IS NOT NULL")}

    def _found(self, where: str, values: tuple[bytes, ...]) -> list[Tombstone]:
        with self._database.reading() as connection:
            return [
                Tombstone(self._segment(row[3:]), row[0], from_microseconds(row[1]), row[2])
                for row in connection.execute(_ROW + where, values)
            ]
