"""The values that flow between the steps, and that the ledger keeps.

``Cause`` → ``Snapshot`` → ``Validation`` → ``Candidate`` → ``Evaluation`` → ``Decision`` → ``Version`` → ``Image`` →
``Release`` → ``Ruling`` → ``Cause`` …

All are frozen and go to JSON and back without loss. A record's ``id`` follows from what it states (`content_id`), so a
step that runs twice states the same record twice, and the ledger keeps it once. Times are timezone-aware UTC. Formats
are promises: fields are only ever added, with a default.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict


def content_id(prefix: str, *parts: Any) -> str:
    """An id that follows from content: ``<prefix>-`` and 16 hex digits of the SHA-256 of the parts' JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return f"{prefix}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class Value(BaseModel):
    """A frozen value with a JSON round trip."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Record(Value):
    """A value that the ledger keeps, under its id, with the ids of the records that it follows from."""

    kind: ClassVar[str]
    id: str
    model: str

    def parents(self) -> tuple[str, ...]:
        """Ids of the records that this one follows from."""
        return ()


class Cause(Record):
    """Why a run happened. ``rollback`` causes bring an older version back; the others may retrain."""

    kind: ClassVar[str] = "cause"
    trigger: Literal["manual", "schedule", "decay", "rollback"]
    reason: str
    as_of: AwareDatetime
    ruling_id: str | None = None
    event_id: str | None = None
    requested_by: str = ""

    def parents(self) -> tuple[str, ...]:
        return (self.ruling_id,) if self.ruling_id else ()


class LeftOut(Value):
    """Rows that a snapshot of [start, end) would hold but for a block; ``because`` is the id of what blocks them."""

    start: AwareDatetime
    end: AwareDatetime
    because: str


class Snapshot(Record):
    """Rows as they were known at ``as_of``, in one content-addressed Parquet file. ``end`` is exclusive.

    ``window`` names the training window where several compete; rows within ``left_out`` are not in the file.
    """

    kind: ClassVar[str] = "snapshot"
    digest: str
    uri: str
    rows: int
    start: AwareDatetime
    end: AwareDatetime
    as_of: AwareDatetime
    purpose: Literal["training", "evaluation"]
    columns: dict[str, str]
    source: str
    window: str = ""
    left_out: tuple[LeftOut, ...] = ()

    def parents(self) -> tuple[str, ...]:
        return tuple(sorted({one.because for one in self.left_out}))


class FailedExpectation(Value):
    """One expectation that did not hold, with its numbers and some of the rows."""

    expectation: str
    column: str | None
    expected: str
    observed: str
    unexpected_count: int | None = None
    unexpected_percent: float | None = None
    sample_rows: tuple[dict[str, Any], ...] = ()


class Validation(Record):
    """What an expectation suite said about a snapshot or about a window of incoming rows."""

    kind: ClassVar[str] = "validation"
    subject_id: str
    suite: str
    suite_digest: str
    success: bool
    expectations: int
    rows: int
    failed: tuple[FailedExpectation, ...] = ()
    page: str = ""

    def parents(self) -> tuple[str, ...]:
        return (self.subject_id,)


class Candidate(Record):
    """A trained artifact: the very bytes that are evaluated, registered and served."""

    kind: ClassVar[str] = "candidate"
    trainer: str
    snapshot_id: str
    validation_id: str
    run_id: str
    artifact_digest: str
    artifact_uri: str
    artifact_format: Literal["onnx", "treelite", "skops"]
    format_reason: str
    environment_digest: str
    seed: int
    trained_at: AwareDatetime

    def parents(self) -> tuple[str, ...]:
        return (self.snapshot_id, self.validation_id)


class Metric(Value):
    """A number with its 95 % confidence interval. Names ending in ``_loss`` or ``_error`` are to be minimised, the
    others maximised (`higher_is_better`)."""

    name: str
    value: float
    low: float
    high: float
    rows: int


def higher_is_better(metric: str) -> bool:
    """Whether a metric of that name is to be maximised."""
    return not metric.endswith(("_loss", "_error"))


def is_worse(metric: str, value: float, than: float) -> bool:
    """Whether a value of the metric is worse than another."""
    return value < than if higher_is_better(metric) else value > than


class SliceScore(Value):
    """A metric on the rows where ``column`` is ``value``."""

    subject: str
    column: str
    value: str
    metric: Metric


class Evaluation(Record):
    """Every candidate and the champion, scored on the same mature out-of-time slice.

    ``scores`` is keyed by candidate id; the champion stands under its own candidate id. ``differences`` holds paired
    intervals of (candidate minus champion) in each metric's own unit.
    """

    kind: ClassVar[str] = "evaluation"
    snapshot_id: str
    champion_id: str | None
    scores: dict[str, dict[str, Metric]]
    differences: dict[str, dict[str, Metric]]
    slices: tuple[SliceScore, ...] = ()

    def parents(self) -> tuple[str, ...]:
        return (self.snapshot_id, *sorted(self.scores))


class GateResult(Value):
    """One gate, what it measured and what it asked for."""

    gate: str
    candidate_id: str
    passed: bool
    value: float | None
    threshold: float | None
    reason: str


class Decision(Record):
    """Which candidate may replace the champion, or none, and each gate with its number."""

    kind: ClassVar[str] = "decision"
    cause_id: str
    evaluation_id: str
    winner_id: str | None
    gates: tuple[GateResult, ...]
    reason: str

    def parents(self) -> tuple[str, ...]:
        return (self.cause_id, self.evaluation_id)


class Version(Record):
    """A candidate under its number in the MLflow registry."""

    kind: ClassVar[str] = "version"
    version: str
    candidate_id: str
    decision_id: str
    uri: str

    def parents(self) -> tuple[str, ...]:
        return (self.candidate_id, self.decision_id)


class Image(Record):
    """What a release runs: a container image, or (``runtime`` process) a virtual environment from the same lock.

    ``pushed`` is its address in a registry, by the digest that it has there (``host/models/loan@sha256:...``).
    """

    kind: ClassVar[str] = "image"
    version_id: str
    runtime: Literal["docker", "process"]
    digest: str
    reference: str
    base: str
    environment_digest: str
    artifact_digest: str
    size_bytes: int
    pushed: str = ""

    def parents(self) -> tuple[str, ...]:
        return (self.version_id,)


class Release(Record):
    """What serves, and since when (in event time: the ``as_of`` of the run that released it)."""

    kind: ClassVar[str] = "release"
    version: str
    version_id: str
    candidate_id: str
    image_id: str
    artifact_digest: str
    runtime: Literal["docker", "process"]
    endpoint: str
    cause_id: str
    since: AwareDatetime
    previous_id: str | None = None

    def parents(self) -> tuple[str, ...]:
        own = (self.version_id, self.image_id, self.cause_id)
        return (*own, self.previous_id) if self.previous_id else own


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


RECORDS: dict[str, type[Record]] = {
    record.kind: record
    for record in (
        Cause,
        Snapshot,
        Validation,
        Candidate,
        Evaluation,
        Decision,
        Version,
        Image,
        Release,
        Ruling,
        Retraining,
        BreakerClosed,
        StateChange,
        Segment,
        Hold,
        HoldReleased,
        BlockedSpan,
        BlockedSpanLifted,
        Pruning,
        Pruned,
    )
}
"""Each kind of record by its name in the ledger."""
