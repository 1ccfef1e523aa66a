"""From the cause of a run to the decision on its candidate."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime

from trimtab.records.base import Record, Value


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
