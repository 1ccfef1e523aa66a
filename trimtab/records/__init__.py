"""The values that flow between the steps, and that the ledger keeps.

``Cause`` → ``Snapshot`` → ``Validation`` → ``Candidate`` → ``Evaluation`` → ``Decision`` → ``Version`` → ``Image`` →
``Release`` → ``Ruling`` → ``Cause`` …

All are frozen and go to JSON and back without loss. A record's ``id`` follows from what it states (`content_id`), so a
step that runs twice states the same record twice, and the ledger keeps it once. Times are timezone-aware UTC. Formats
are promises: fields are only ever added, with a default.

================================================================  ===============
what every record is                                              ``base.py``
from the cause of a run to the decision on its candidate          ``training.py``
what is served                                                    ``release.py``
rulings, and what came of them                                    ``watching.py``
the log's segments, holds, blocked spans, deletions               ``keeping.py``
================================================================  ===============
"""

from __future__ import annotations

from trimtab.records.base import Record, Value, content_id
from trimtab.records.keeping import BlockedSpan, BlockedSpanLifted, Hold, HoldReleased, Pruned, Pruning, Segment
from trimtab.records.release import Image, Release, Version
from trimtab.records.training import (
    Candidate,
    Cause,
    Decision,
    Evaluation,
    FailedExpectation,
    GateResult,
    LeftOut,
    Metric,
    SliceScore,
    Snapshot,
    Validation,
    higher_is_better,
    is_worse,
)
from trimtab.records.watching import Action, BreakerClosed, Retraining, Ruling, Signal, StateChange

__all__ = [
    "RECORDS",
    "Action",
    "BlockedSpan",
    "BlockedSpanLifted",
    "BreakerClosed",
    "Candidate",
    "Cause",
    "Decision",
    "Evaluation",
    "FailedExpectation",
    "GateResult",
    "Hold",
    "HoldReleased",
    "Image",
    "LeftOut",
    "Metric",
    "Pruned",
    "Pruning",
    "Record",
    "Release",
    "Retraining",
    "Ruling",
    "Segment",
    "Signal",
    "SliceScore",
    "Snapshot",
    "StateChange",
    "Validation",
    "Value",
    "Version",
    "content_id",
    "higher_is_better",
    "is_worse",
]

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
