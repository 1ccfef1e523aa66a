"""Legal holds: what must not be deleted, whatever the retention. They stand in the ledger, so none can be taken back
unseen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from trimtab.errors import LedgerError, PredictionLogError
from trimtab.ledger import Ledger
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.schema import id_bytes, id_text
from trimtab.predictions.segments import SealedSpan
from trimtab.records import Hold, HoldReleased, Pruning, Segment, content_id


@dataclass(frozen=True, slots=True)
class Standing:
    """A hold, and its release if it came."""

    hold: Hold
    released: HoldReleased | None


def place_hold(
    ledger: Ledger,
    log: PredictionLog,
    model: str,
    reason: str,
    placed_by: str,
    placed_at: datetime,
    start: datetime | None = None,
    end: datetime | None = None,
    prediction_id: str = "",
) -> Hold:
    """Put a model's predictions under a legal hold, until it is released.

    Parameters
    ----------
    ledger, log
        Where it is recorded, and the model's log.
    model
    reason, placed_by
        Why, and who says so.
    placed_at
        Now.
    start, end
        Event time in [start, end), timezone-aware; None: open.
    prediction_id
        Of one prediction, in place of times.

    Raises
    ------
    PredictionLogError
        If it covers nothing that can be, or the one prediction is not on record.
    LedgerError
        If it cannot be recorded; then nothing is held.
    """
    if not reason.strip():
        raise PredictionLogError("the hold gives no reason; it must say why, such as 'case 2024-17'")
    if prediction_id and (start or end):
        raise PredictionLogError("the hold names a prediction and times; it must be the one or the other")
    if start and end and start >= end:
        raise PredictionLogError(f"the hold is from {start} to {end}; it must end after it starts")
    if prediction_id:
        # Raises for one that was never made or is gone: a hold on that would be an empty promise.
        prediction_id = log.get(prediction_id)["prediction_id"]
    hold = Hold(
        id=content_id("hold", model, start, end, prediction_id, reason, placed_by, placed_at),
        model=model,
        start=start,
        end=end,
        prediction_id=prediction_id,
        reason=reason,
        placed_by=placed_by,
        placed_at=placed_at,
    )
    ledger.append(hold)
    return hold


def too_late(ledger: Ledger, hold: Hold) -> list[Pruning]:
    """Deletions of what the hold covers that were stated before it, and so are done or may not have seen it.

    One that was stated and not done looks for holds once more before it deletes; that look may have been too early.
    """
    return [pruning for pruning in ledger.records(Pruning, hold.model) if _reaches(hold, ledger, pruning)]


def _reaches(hold: Hold, ledger: Ledger, pruning: Pruning) -> bool:
    if hold.prediction_id:
        segment = ledger.find(Segment, pruning.segment_id)
        return segment is not None and _has_id(segment, hold.prediction_id)
    return _in_time(hold, pruning.oldest_event_time, pruning.newest_event_time)


def release_hold(ledger: Ledger, hold_id: str, reason: str, released_by: str, released_at: datetime) -> HoldReleased:
    """End a hold. Releasing it again gives the release that is on record.

    Raises
    ------
    LedgerError
        If there is no such hold.
    PredictionLogError
        If no reason is given.
    """
    if not reason.strip():
        raise PredictionLogError("the release gives no reason; it must say why, such as 'case 2024-17 is closed'")
    hold = ledger.find(Hold, hold_id)
    if hold is None:
        raise LedgerError(f"no hold is on record under {hold_id!r}; `trimtab predictions holds` lists them")
    release_id = content_id("hold-released", hold_id)
    if (known := ledger.find(HoldReleased, release_id)) is not None:
        return known
    released = HoldReleased(
        id=release_id,
        model=hold.model,
        hold_id=hold_id,
        reason=reason,
        released_by=released_by,
        released_at=released_at,
    )
    ledger.append(released)
    return released


def all_holds(ledger: Ledger, model: str | None = None) -> list[Standing]:
    """Every hold, of a model if asked for, oldest first."""
    released = {release.hold_id: release for release in ledger.records(HoldReleased, model)}
    return [Standing(hold, released.get(hold.id)) for hold in ledger.records(Hold, model)]


def standing_holds(ledger: Ledger, model: str) -> list[Hold]:
    """A model's holds that are not released."""
    return [standing.hold for standing in all_holds(ledger, model) if standing.released is None]


def covering(holds: Iterable[Hold], span: SealedSpan) -> tuple[Hold, ...]:
    """The holds under which any row of a segment may stand."""
    return tuple(hold for hold in holds if _covers(hold, span))


def _covers(hold: Hold, span: SealedSpan) -> bool:
    if hold.prediction_id:
        return _has_id(span, hold.prediction_id)
    return _in_time(hold, span.min_event_time, span.max_event_time)


def _in_time(hold: Hold, oldest: datetime, newest: datetime) -> bool:
    return (hold.start is None or newest >= hold.start) and (hold.end is None or oldest < hold.end)


def _has_id(span: SealedSpan | Segment, prediction_id: str) -> bool:
    return span.first_id <= id_text(id_bytes(prediction_id)) <= span.last_id
