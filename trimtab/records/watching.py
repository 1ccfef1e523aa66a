"""What was ruled of a release, and what came of it."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import AwareDatetime

from trimtab.records.base import Record, Value


class Action(StrEnum):
    """What a ruling does, most severe first."""

    BLOCK = "BLOCK"
    ROLLBACK = "ROLLBACK"
    RETRAIN = "RETRAIN"
    ALERT = "ALERT"
    NONE = "NONE"


class Signal(Value):
    """One thing that was measured on a window, beside its threshold.

    ``calm`` is what is held against the evaluation was there; None of all else. ``held``: it would not be breached by
    this window alone; it was before, and is not back by the policy's margin.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    threshold: float
    breached: bool
    rows: int
    detail: str = ""
    calm: float | None = None
    held: bool = False


class Ruling(Record):
    """The judgement on one window of one release: what was measured, what was asked for, and what follows.

    The outcomes that it looked at are of event times in [outcomes_start, outcomes_end); None: not kept then.
    """

    kind: ClassVar[str] = "ruling"
    release_id: str
    validation_id: str | None
    start: AwareDatetime
    end: AwareDatetime
    as_of: AwareDatetime
    action: Action
    reason: str
    signals: tuple[Signal, ...]
    policy_digest: str
    report: str = ""
    outcomes_start: AwareDatetime | None = None
    outcomes_end: AwareDatetime | None = None

    def parents(self) -> tuple[str, ...]:
        return (self.release_id, self.validation_id) if self.validation_id else (self.release_id,)


class Retraining(Record):
    """The end of a retrain run: a new release, or the champion kept."""

    kind: ClassVar[str] = "retraining"
    cause_id: str
    decision_id: str
    release_id: str | None
    as_of: AwareDatetime
    trigger: Literal["manual", "schedule", "decay", "rollback"]

    def parents(self) -> tuple[str, ...]:
        own = (self.cause_id, self.decision_id)
        return (*own, self.release_id) if self.release_id else own


class BreakerClosed(Record):
    """A person's word that retraining may go on after several retrainings in a row were in vain.

    ``retraining_id`` is the last of those; ``as_of`` is the moment in event time from which on it counts.
    """

    kind: ClassVar[str] = "breaker-closed"
    retraining_id: str
    reason: str
    closed_by: str
    closed_at: AwareDatetime
    as_of: AwareDatetime

    def parents(self) -> tuple[str, ...]:
        return (self.retraining_id,)


class StateChange(Record):
    """A change of a model's state that people were told of: the Prefect server has taken the event.

    ``families`` are the kinds of signals that were breached, such as ``drift`` or ``performance``.
    """

    kind: ClassVar[str] = "state-change"
    ruling_id: str
    action_before: Action
    action: Action
    families_before: tuple[str, ...]
    families: tuple[str, ...]
    event_id: str

    def parents(self) -> tuple[str, ...]:
        return (self.ruling_id,)
