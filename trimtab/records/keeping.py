"""What is kept of predictions and rows, for how long, and what is kept from use."""

from __future__ import annotations

from typing import ClassVar

from pydantic import AwareDatetime

from trimtab.records.base import Record


class Segment(Record):
    """A sealed span of the prediction log: its file's digest proves that no prediction in it was altered."""

    kind: ClassVar[str] = "segment"
    digest: str
    uri: str
    rows: int
    first_id: str
    last_id: str
    size_bytes: int


class Hold(Record):
    """A legal hold: until it is released, nothing of what it covers is deleted, whatever the retention.

    It covers one prediction, or the predictions with event time in [start, end); a bound that is None is open.
    """

    kind: ClassVar[str] = "hold"
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    prediction_id: str = ""
    reason: str
    placed_by: str
    placed_at: AwareDatetime


class HoldReleased(Record):
    """The end of a legal hold."""

    kind: ClassVar[str] = "hold-released"
    hold_id: str
    reason: str
    released_by: str
    released_at: AwareDatetime

    def parents(self) -> tuple[str, ...]:
        return (self.hold_id,)


class BlockedSpan(Record):
    """Rows with event time in [start, end) that a person keeps from training and evaluation, until it is lifted."""

    kind: ClassVar[str] = "blocked-span"
    start: AwareDatetime
    end: AwareDatetime
    reason: str
    blocked_by: str
    blocked_at: AwareDatetime


class BlockedSpanLifted(Record):
    """The end of a block: ``blocked_id`` is that of a `BlockedSpan`, or of a BLOCK ruling, which blocks its window."""

    kind: ClassVar[str] = "blocked-span-lifted"
    blocked_id: str
    reason: str
    lifted_by: str
    lifted_at: AwareDatetime

    def parents(self) -> tuple[str, ...]:
        return (self.blocked_id,)


class Pruning(Record):
    """The intention to delete a segment under a model's retention, stated before anything is deleted.

    Without a ``Pruned`` that follows, the segment is there still: a hold came in between, or it is deleted next time.
    """

    kind: ClassVar[str] = "pruning"
    segment_id: str
    oldest_event_time: AwareDatetime
    newest_event_time: AwareDatetime
    newest_logged_at: AwareDatetime
    retention_days: int
    as_of: AwareDatetime

    def parents(self) -> tuple[str, ...]:
        return (self.segment_id,)


class Pruned(Record):
    """A segment that was deleted, with the outcomes of its predictions: what it was stays on record."""

    kind: ClassVar[str] = "pruned"
    pruning_id: str
    segment_id: str
    digest: str
    rows: int
    first_id: str
    last_id: str
    retention_days: int
    as_of: AwareDatetime

    def parents(self) -> tuple[str, ...]:
        return (self.pruning_id, self.segment_id)
