"""The profile of a window, from stored profiles of the log's segments: no row that was counted once is read again.

Each sealed segment is counted once on a reference's bins, an hour (UTC) of event time at a time; the rows of the spool,
and those of hours that lie only partly in a window, are counted when they are asked for. Whole days are kept as sums
(profile_days.py). All together is the profile of the window's rows. Memory is that of one segment's columns, or of a
chunk of the spool.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.answers import answer_names, classes_of
from trimtab.decay.profile import Bins, Profile, merge_stored, profile, to_bytes
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.profile_days import day_pieces, days_of, whole_days
from trimtab.predictions.profile_files import Piece, ProfileFiles
from trimtab.predictions.scan import segment_rows, select_columns, spool_rows
from trimtab.predictions.schema import FEATURE_TYPES, from_microseconds, merge_schemas, microseconds
from trimtab.predictions.segments import SealedSpan
from trimtab.predictions.snapshot import Bounds

PIECES = 64
"""Pieces of one segment at most: one whose rows are of more hours than that is cut into longer spans."""

_HOUR = 3_600_000_000
_WIDTHS = tuple(hours * _HOUR for hours in (1, 6, 24, 7 * 24, 28 * 24))
_TIME, _RELEASE = "event_time", "release_id"


@dataclass(frozen=True, slots=True)
class _Columns:
    """A reference's bins: those of the features, and of what was said, if there are any."""

    features: tuple[Bins, ...]
    score: tuple[Bins, ...]

    @classmethod
    def of(cls, bins: Sequence[Bins]) -> _Columns:
        answers = answer_names(classes_of(one.column for one in bins))
        said = tuple(one for one in bins if one.column in answers)
        return cls(tuple(one for one in bins if one.column not in answers), said)

    @property
    def names(self) -> list[str]:
        return [*(one.column for one in self.features), *(one.column for one in self.score), _TIME, _RELEASE]


def window_profile(
    log: PredictionLog, start: datetime, end: datetime, bins: Sequence[Bins], release_id: str | None = None
) -> Profile:
    """The profile of a window: the features of all its rows, and the scores of those that the release answered.

    Parameters
    ----------
    log
    start, end
        Event time in [start, end), timezone-aware; on hours it is quickest.
    bins
        Of the reference: of its features, and of the answer (such as ``score``) if that is to be counted.
    release_id
        Whose scores are counted; everybody's by default.

    Returns
    -------
    Profile
        The columns of ``bins``, features first. It is the profile of the rows, but for the rounding of sums.

    Raises
    ------
    PredictionLogError
        If a file of the log is damaged or gone, or no row ever had such a column.
    TrimtabError
        If a column does not hold what its type says.
    """
    columns, files = _Columns.of(bins), ProfileFiles(log.folder, bins)
    bounds = Bounds(start=microseconds(start), end=microseconds(end))
    scores: list[Any] = []
    if log.exists:
        files.note_use()

    def features(pieces: Iterable[Piece]) -> Iterator[Any]:
        for piece in pieces:
            if piece.release_id is None:
                yield piece.body
            elif release_id in (None, piece.release_id):
                scores.append(piece.body)

    with log.snapshot() as snapshot:
        known = merge_schemas(snapshot.schemas())
        select_columns(known, known, columns.names, log.folder)
        sealed = _of_segments(files, snapshot.spans(bounds), columns, bounds)
        fresh = (_count(rows, columns, bounds) for rows in spool_rows(snapshot, bounds, columns.names))
        every = chain(sealed, chain.from_iterable(fresh))
        of_features = merge_stored(features(every), columns.features)
    return Profile(columns=of_features.columns + merge_stored(scores, columns.score).columns)


def unprofiled(
    log: PredictionLog, bins: Sequence[Bins], start: datetime | None = None, end: datetime | None = None
) -> list[SealedSpan]:
    """The segments that have no profile on these bins; of all, or of those with rows in [start, end), oldest first."""
    files = ProfileFiles(log.folder, bins)
    return [
        span
        for span in log.spans()
        if (start is None or span.max_event_time >= start)
        and (end is None or span.min_event_time < end)
        and not files.has(span)
    ]


def profile_segments(folder: Path, spans: Iterable[SealedSpan], bins: Sequence[Bins]) -> int:
    """Count these segments of the log in that folder, and keep their profiles; returns how many rows they hold.

    Idempotent. The spool is not opened: whoever can read the segments and write the folder can do it.

    Raises
    ------
    PredictionLogError
        If a segment is damaged or gone.
    TrimtabError
        If a column does not hold what its type says.
    """
    columns, files, rows = _Columns.of(bins), ProfileFiles(folder, bins), 0
    files.note_use()
    for span in spans:
        files.keep(span, _cut(segment_rows(span, Bounds(), columns.names), columns))
        rows += span.rows
    return rows


def _of_segments(
    files: ProfileFiles, spans: Sequence[SealedSpan], columns: _Columns, bounds: Bounds
) -> Iterator[Piece]:
    """What segments add to a window: the sums of whole days, and the pieces of the rest."""
    days: set[date] = set()
    for day, touching in whole_days(spans, bounds).items():
        pieces = day_pieces(files, day, touching, columns.features, columns.score)
        if pieces is not None:
            days.add(day)
            yield from pieces
    for span in spans:
        if not days.issuperset(days_of(span, bounds)):
            within = _of_segment(files, span, columns, bounds)
            yield from (piece for piece in within if from_microseconds(piece.start).date() not in days)


def _of_segment(files: ProfileFiles, span: SealedSpan, columns: _Columns, bounds: Bounds) -> Iterator[Piece]:
    """What a segment adds to a window: the pieces that lie within, and the rows of those that lie across its ends."""
    pieces = files.read(span)
    if pieces is None:
        pieces = _cut(segment_rows(span, Bounds(), columns.names), columns)
        files.keep(span, pieces)
    for piece in pieces:
        if bounds.start <= piece.start and piece.end <= bounds.end:
            yield piece
        elif piece.release_id is None and piece.start < bounds.end and bounds.start < piece.end:
            across = Bounds(start=max(piece.start, bounds.start), end=min(piece.end, bounds.end))
            yield from _count(segment_rows(span, across, columns.names), columns, across)


def _cut(rows: pa.Table, columns: _Columns) -> list[Piece]:
    """All rows of a segment, counted by the hour, or by longer spans where it has too many hours."""
    times = pc.cast(rows[_TIME], pa.int64()).to_numpy()
    for width in _WIDTHS:
        places = times // width
        marks = np.unique(places)
        if len(marks) <= PIECES:
            break
    else:
        return list(_count(rows, columns, Bounds(start=int(times.min()), end=int(times.max()) + 1)))
    pieces: list[Piece] = []
    for mark in marks.tolist():
        some = rows if len(marks) == 1 else rows.filter(pa.array(places == mark))
        pieces += _count(some, columns, Bounds(start=mark * width, end=(mark + 1) * width))
    return pieces


def _count(rows: pa.Table, columns: _Columns, bounds: Bounds) -> Iterator[Piece]:
    """The pieces of rows that all lie within these bounds."""
    if not len(rows):
        return
    for one in (*columns.features, *columns.score):
        if one.column not in rows.column_names:
            rows = rows.append_column(one.column, pa.nulls(len(rows), FEATURE_TYPES[one.type]))
    yield Piece(bounds.start, bounds.end, None, to_bytes(profile(rows, columns.features)))
    for release_id in pc.unique(rows[_RELEASE]).to_pylist() if columns.score else ():
        own = rows.filter(pc.equal(rows[_RELEASE], release_id))
        yield Piece(bounds.start, bounds.end, release_id, to_bytes(profile(own, columns.score)))
