"""Days that lie whole in a window, each added up once from its segments' pieces: a week is then seven sums, not 168.

A day is no more than the sum of its hours, so it is right whenever it was made; which segments it is of is part of its
name (profile_files.py), so that no day is taken for whole to which a row has come since.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from trimtab.decay.profile import Bins, merge_stored, to_bytes
from trimtab.predictions.profile_files import Piece, ProfileFiles
from trimtab.predictions.schema import from_microseconds, microseconds
from trimtab.predictions.segments import SealedSpan
from trimtab.predictions.snapshot import Bounds

WIDE = timedelta(days=3)
"""A segment of more than that has a few odd times, or is of a model that is asked little."""


def days_of(span: SealedSpan, bounds: Bounds) -> list[date]:
    """The days (UTC) within the bounds of which a segment may have rows."""
    first = max(span.min_event_time, from_microseconds(bounds.start)).date()
    last = min(span.max_event_time, from_microseconds(bounds.end - 1)).date()
    return [date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1)]


def whole_days(spans: Sequence[SealedSpan], bounds: Bounds) -> dict[date, list[SealedSpan]]:
    """The days that lie whole within the bounds and are worth to be added up, with all the segments that may have rows
    of them: days of `WIDE` segments alone are not."""
    found: dict[date, list[SealedSpan]] = {}
    for span in spans:
        for day in days_of(span, bounds):
            start, end = _ends(day)
            if bounds.start <= start and end <= bounds.end:
                found.setdefault(day, []).append(span)
    return {
        day: touching
        for day, touching in found.items()
        if any(span.max_event_time - span.min_event_time <= WIDE for span in touching)
    }


def day_pieces(
    files: ProfileFiles, day: date, spans: Sequence[SealedSpan], features: Sequence[Bins], score: Sequence[Bins]
) -> list[Piece] | None:
    """The sum of a day as one piece for its features and one for the scores of each release, kept for the next time.

    Parameters
    ----------
    files
        Of the log, on these bins.
    day
    spans
        All the segments that may have rows of it.
    features, score
        The reference's bins.

    Returns
    -------
    list of Piece or None
        None where a segment's own profiles are not there, or a piece of one lies across an end of the day.
    """
    kept = files.read_day(day, spans)
    if kept is not None:
        return kept
    start, end = _ends(day)
    scores: dict[str, list[Any]] = {}
    is_whole = True

    def of_features() -> Iterator[Any]:
        nonlocal is_whole
        for span in spans:
            pieces = files.read(span)
            if pieces is None or any(one.start < start < one.end or one.start < end < one.end for one in pieces):
                is_whole = False
                return
            for piece in pieces:
                if not (start <= piece.start and piece.end <= end):
                    continue
                if piece.release_id is None:
                    yield piece.body
                else:
                    scores.setdefault(piece.release_id, []).append(piece.body)

    total = to_bytes(merge_stored(of_features(), features))
    if not is_whole:
        return None
    found = [Piece(start, end, None, total)]
    found += [Piece(start, end, name, to_bytes(merge_stored(bodies, score))) for name, bodies in scores.items()]
    files.keep_day(day, spans, found)
    return found


def _ends(day: date) -> tuple[int, int]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return microseconds(start), microseconds(start) + 24 * 3_600_000_000
