"""Retention: segments whose time is up are deleted, with the outcomes of their predictions, unless a hold keeps them.

A whole segment goes at once, when the newest of its event times and of the times it was logged at are both older than
the model's ``retention_days``. What is still in the spool stays until it is sealed.

Each deletion is in two phases, and may be cut short anywhere and repeated:

1. the intention (``records.Pruning``) goes into the ledger; holds are looked for once more; the segment's row gets its
   mark, from which on nobody reads it;
2. the outcomes and the stored profiles go, then the file, then ``records.Pruned`` states what is gone, then the row
   says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from trimtab.errors import PredictionLogError
from trimtab.ledger import Ledger
from trimtab.predictions.holds import covering, standing_holds
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.outcomes import Outcomes
from trimtab.predictions.profile_files import forget, sweep
from trimtab.predictions.request_index import RequestIndexes
from trimtab.predictions.schema import from_microseconds
from trimtab.predictions.segments import SealedSpan, open_segment
from trimtab.predictions.tombstones import Tombstone
from trimtab.records import Hold, Pruned, Pruning, Segment, content_id


@dataclass(frozen=True, slots=True)
class Due:
    """A segment whose time is up, and the holds that keep it."""

    span: SealedSpan
    newest_logged_at: datetime
    holds: tuple[Hold, ...]


def segment_record(model: str, span: SealedSpan) -> Segment:
    """What the ledger keeps of a segment."""
    return Segment(
        id=content_id("segment", model, span.digest, span.first_id),
        model=model,
        digest=span.digest,
        uri=span.uri,
        rows=span.rows,
        first_id=span.first_id,
        last_id=span.last_id,
        size_bytes=span.size_bytes,
    )


def due(log: PredictionLog, holds: Sequence[Hold], retention_days: int, as_of: datetime) -> list[Due]:
    """The segments whose time is up at ``as_of``, oldest first, with the holds that keep them. Deletes nothing.

    Raises
    ------
    PredictionLogError
        If a segment cannot be read.
    """
    before = as_of - timedelta(days=retention_days)
    return [
        Due(span, logged_at, covering(holds, span))
        for span in log.spans()
        if span.max_event_time < before and (logged_at := _newest_logged_at(span)) < before
    ]


def prune(
    log: PredictionLog, ledger: Ledger, model: str, retention_days: int | None, as_of: datetime, flow_run_id: str = ""
) -> list[Pruned]:
    """Delete what a model's retention says, and finish what an earlier call began.

    Appends and reads go on; a scan that began before may find a segment of that age gone, and is then to be run again.

    Parameters
    ----------
    log, ledger
        Of the model.
    model
    retention_days
        None: for ever; then only what was begun is finished.
    as_of
        The moment to act as of; not in the future.
    flow_run_id
        Stands in the ledger beside the records.

    Returns
    -------
    list of Pruned
        What is gone since the last call.

    Raises
    ------
    PredictionLogError
        If a segment cannot be read or deleted; the rest is done by calling it again.
    LedgerError
        If it cannot be recorded; then nothing more is deleted.
    """
    if as_of > datetime.now(UTC):
        raise PredictionLogError(f"as_of is {as_of.isoformat()}; what is to be deleted must be due now, not later")
    if not log.exists:
        return []
    with log.alone():
        _note_what_is_gone(log, ledger, model)
        gone = [_delete(log, ledger, model, stone, flow_run_id) for stone in log.tombstones.unfinished()]
        if retention_days is not None:
            for each in due(log, standing_holds(ledger, model), retention_days, as_of):
                stone = None if each.holds else _mark(log, ledger, model, each, retention_days, as_of, flow_run_id)
                if stone is not None:
                    gone.append(_delete(log, ledger, model, stone, flow_run_id))
        if gone:
            RequestIndexes(log.folder).catch_up(log.spans())
        # Whoever read a segment while its mark was made may have kept a profile of it since.
        sweep(log.folder, log.spans())
    return gone


def _newest_logged_at(span: SealedSpan) -> datetime:
    with open_segment(span) as file:
        place = file.schema_arrow.names.index("logged_at")
        groups = (file.metadata.row_group(group).column(place).statistics for group in range(file.num_row_groups))
        return from_microseconds(max(int(group.max_raw) for group in groups))


def _mark(
    log: PredictionLog, ledger: Ledger, model: str, each: Due, retention_days: int, as_of: datetime, flow_run_id: str
) -> Tombstone | None:
    segment = segment_record(model, each.span)
    # Where the log's folder has moved, the record keeps the address that the segment had.
    if ledger.find(Segment, segment.id) is None:
        ledger.append(segment, flow_run_id)
    pruning = Pruning(
        id=content_id("pruning", segment.id, retention_days, as_of),
        model=model,
        segment_id=segment.id,
        oldest_event_time=each.span.min_event_time,
        newest_event_time=each.span.max_event_time,
        newest_logged_at=each.newest_logged_at,
        retention_days=retention_days,
        as_of=as_of,
    )
    ledger.append(pruning, flow_run_id)
    # The ledger has one order: a hold stands before the pruning and is seen here, or its caller sees the pruning.
    if covering(standing_holds(ledger, model), each.span):
        return None
    log.tombstones.mark(each.span.name, pruning.id, as_of, retention_days)
    return Tombstone(each.span, pruning.id, as_of, retention_days)


def _delete(log: PredictionLog, ledger: Ledger, model: str, stone: Tombstone, flow_run_id: str) -> Pruned:
    span = stone.span
    if span.home.has(span.name):
        with open_segment(span) as file:
            ids = file.read(columns=["prediction_id"])["prediction_id"].to_pylist()
        outcomes = Outcomes(log.folder, log)
        outcomes.forget(ids)
        outcomes.close()
        forget(log.folder, span)
        span.home.delete(span.name)
    segment_id = segment_record(model, span).id
    pruned = Pruned(
        id=content_id("pruned", segment_id),
        model=model,
        pruning_id=stone.pruning_id,
        segment_id=segment_id,
        digest=span.digest,
        rows=span.rows,
        first_id=span.first_id,
        last_id=span.last_id,
        retention_days=stone.retention_days,
        as_of=stone.pruned_at,
    )
    ledger.append(pruned, flow_run_id)
    log.tombstones.finish(span.name)
    return pruned


def _note_what_is_gone(log: PredictionLog, ledger: Ledger, model: str) -> None:
    """Take from the ledger what a spool that was put back from an older copy does not know: these files are gone."""
    gone = {pruned.segment_id: pruned for pruned in ledger.records(Pruned, model)}
    for span in log.spans() if gone else ():
        if (pruned := gone.get(segment_record(model, span).id)) is not None:
            log.tombstones.mark(span.name, pruned.pruning_id, pruned.as_of, pruned.retention_days)
            log.tombstones.finish(span.name)
