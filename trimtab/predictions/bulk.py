"""Loading a file of outcomes: each chunk is one transaction, what is bad is set aside with its line and reason.

Nothing good is lost for what is bad beside it. Loading the same file again finds duplicates only, so a load that was
cut short is finished by starting it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trimtab.answers import outcome_text
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.outcome_cells import parse_classes, parse_ids, parse_marks, parse_times, parse_values
from trimtab.predictions.outcome_files import CHUNK_ROWS, Chunk, Layout, read_chunks
from trimtab.predictions.outcomes import Outcomes
from trimtab.predictions.rejects import rejects_file
from trimtab.predictions.requested import predictions_of
from trimtab.predictions.schema import microseconds
from trimtab.predictions.statements import Fate, Statements, Verdict

MALFORMED = "malformed row"
NO_ID = "no id"
UNKNOWN = "unknown prediction"
AMBIGUOUS = "ambiguous request id"
NOT_A_NUMBER = "not a finite number"
NOT_BINARY = "neither 0 nor 1"
NO_CLASS = "none of the classes"
BAD_TIME = "bad time"
BAD_MARK = "bad correction mark"
CONFLICT = "conflicting value"

_RIGHT = {
    NOT_A_NUMBER: "it must be a number with a decimal point, such as 1234.5",
    BAD_TIME: "it must be ISO 8601 with a timezone, such as 2024-01-31T00:00:00Z",
    BAD_MARK: "it must be true, false, 1, 0 or empty",
}
"""What would be right, where the reason alone does not say so."""


@dataclass(frozen=True, slots=True)
class Load:
    """How a file is to be read.

    Parameters
    ----------
    layout : Layout
    corrections : bool
        Every row may correct what was stated before. Each then needs a time, its own or ``observed_at``: a second load
        could not tell a correction without one from a new one.
    observed_at : datetime, optional
        For rows that do not say when they became known; by default the time of the load.
    binary : bool
        Values other than 0 and 1 are rejected.
    now : datetime, optional
        The time of the load; by default, when it begins.
    """

    layout: Layout = field(default_factory=Layout)
    corrections: bool = False
    observed_at: datetime | None = None
    binary: bool = False
    now: datetime | None = None

    @property
    def default_time(self) -> int | None:
        """Microseconds since 1970 for a row that states no time; None if every row must."""
        if self.observed_at is not None:
            return microseconds(self.observed_at)
        if self.corrections or self.layout.correction_column:
            return None
        return microseconds(self.now or datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the rows so far; ``rejected`` by reason. ``done`` is the share of the file, 0 to 1."""

    accepted: int = 0
    duplicates: int = 0
    corrected: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    done: float = 0.0

    @property
    def rows(self) -> int:
        """All rows that were read."""
        return self.accepted + self.duplicates + self.corrected + self.rejected.total()


def load_outcomes(
    file: Path,
    outcomes: Outcomes,
    log: PredictionLog,
    load: Load,
    rejects: Path,
    on_progress: Callable[[LoadReport], None] = lambda report: None,
    chunk_rows: int = CHUNK_ROWS,
) -> LoadReport:
    """Load a CSV, JSON lines or Parquet file of outcomes. Idempotent; memory is a chunk's.

    Parameters
    ----------
    file
        Its format is told by its name.
    outcomes
        Where they are stored.
    log
        In which the predictions stand.
    load
        What the file's columns mean.
    rejects
        A CSV file for the rows that are not stored: line, reason, what was found instead, and the row's cells. It is
        there afterwards only if there are any; then it can be put right and loaded in its turn.
    on_progress
        Called after each chunk; what it was told is on disk.
    chunk_rows
        Rows a transaction.

    Raises
    ------
    OutcomeFileError
        If the file cannot be read at all, or its rejects not written. What was loaded before the fault stays.
    PredictionLogError
        If the disk refuses.
    """
    load = replace(load, now=load.now or datetime.now(UTC))
    report = LoadReport()
    with rejects_file(rejects, _rejects_header(load.layout)) as reject:
        for chunk in read_chunks(file, load.layout, chunk_rows):
            judged = _Judged.of(chunk, load, log)
            verdict = outcomes.add_each(judged.statements)
            judged.note(verdict, log.classes())
            for row in judged.rejects(chunk):
                reject(row)
            report = LoadReport(
                report.accepted + verdict.count(Fate.ACCEPTED),
                report.duplicates + verdict.count(Fate.DUPLICATE),
                report.corrected + verdict.count(Fate.CORRECTED),
                report.rejected + judged.reasons(len(chunk.malformed)),
                chunk.done,
            )
            on_progress(report)
    return report


@dataclass(frozen=True, slots=True)
class _Judged:
    """A chunk's rows: why each is rejected (empty: it is not), and the statements that the others make.

    ``places`` are the statements' rows; ``details`` say more of a reason than `_RIGHT` does, by row.
    """

    why: np.ndarray
    details: dict[int, str]
    places: np.ndarray
    statements: Statements

    @classmethod
    def of(cls, chunk: Chunk, load: Load, log: PredictionLog) -> _Judged:
        """Read the cells; which predictions are on record is not asked here."""
        n = len(chunk.lines)
        why = np.full(n, "", dtype=object)
        details: dict[int, str] = {}
        ids = _ids_by_request(chunk, log, why, details) if load.layout.by_request else _ids(chunk, why)
        classes = log.classes()
        values = parse_classes(chunk.values, classes) if classes else parse_values(chunk.values, chunk.is_text)
        _reject(why, ~np.isfinite(values), NO_CLASS if classes else NOT_A_NUMBER)
        details.update((int(row), f"it must be one of {list(classes)}") for row in np.flatnonzero(why == NO_CLASS))
        if load.binary:
            _reject(why, (values != 0) & (values != 1), NOT_BINARY)
        times, timely = parse_times(chunk.observed_at, n, load.default_time)
        _reject(why, ~timely, BAD_TIME)
        marks, marked = parse_marks(chunk.corrections, n)
        _reject(why, ~marked, BAD_MARK)
        places = np.flatnonzero(why == "")
        corrections = marks | load.corrections
        given = (ids.take(pa.array(places)), values[places], times[places], corrections[places])
        return cls(why, details, places, Statements(*given))

    def note(self, verdict: Verdict, classes: Sequence[str]) -> None:
        """Take up what the log and the outcomes say of the statements."""
        self.why[self.places[verdict.places(Fate.UNKNOWN)]] = UNKNOWN
        for place in verdict.places(Fate.CONFLICT).tolist():
            row = int(self.places[place])
            self.why[row] = CONFLICT
            self.details[row] = (
                f"the outcome is {outcome_text(verdict.standing[place], classes)}; --corrections replaces it"
            )

    def reasons(self, malformed: int) -> Counter[str]:
        """How many rows are rejected, by reason."""
        found = Counter(reason for reason in self.why.tolist() if reason)
        return found + Counter({MALFORMED: malformed})

    def rejects(self, chunk: Chunk) -> Iterator[list[Any]]:
        """A line of the rejects file for each, in the order of the file: line, reason, detail, cells."""
        cells = (chunk.keys, chunk.values, chunk.observed_at, chunk.corrections)
        rows: list[list[Any]] = [[line, MALFORMED, detail] for line, detail in chunk.malformed]
        for row in np.flatnonzero(self.why != "").tolist():
            found = [_shown(None if column is None else column[row]) for column in cells]
            reason = self.why[row]
            rows.append([chunk.lines[row], reason, self.details.get(row, _RIGHT.get(reason, "")), *found])
        yield from sorted(rows, key=lambda row: row[0])


def _ids(chunk: Chunk, why: np.ndarray) -> pa.Array:
    ids = parse_ids(chunk.keys)
    _reject(why, np.array([key is None or key == "" for key in chunk.keys], np.bool_), NO_ID)
    # What is no id at all is on nobody's record.
    _reject(why, ids.is_null().to_numpy(zero_copy_only=False), UNKNOWN)
    return ids


def _ids_by_request(chunk: Chunk, log: PredictionLog, why: np.ndarray, details: dict[int, str]) -> pa.Array:
    requests = pa.array([_request_id(key) for key in chunk.keys], pa.string())
    ids, counts = predictions_of(log, requests)
    _reject(why, requests.is_null().to_numpy(zero_copy_only=False), NO_ID)
    _reject(why, counts == 0, UNKNOWN)
    several = (why == "") & (counts > 1)
    details.update((int(row), "several predictions have it; name one by its id") for row in np.flatnonzero(several))
    _reject(why, several, AMBIGUOUS)
    return ids


def _request_id(cell: Any) -> str | None:
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    return cell if isinstance(cell, str) and cell else None


def _reject(why: np.ndarray, rows: np.ndarray, reason: str) -> None:
    """The first reason stays."""
    why[rows & (why == "")] = reason


def _shown(cell: Any) -> Any:
    value = cell.as_py() if isinstance(cell, pa.Scalar) else cell
    return "" if value is None else value.isoformat() if isinstance(value, datetime) else value


def _rejects_header(layout: Layout) -> list[str]:
    names = (layout.id_column, layout.value_column, layout.observed_at_column or "observed_at")
    return ["line", "reason", "detail", *names, layout.correction_column or "correction"]
