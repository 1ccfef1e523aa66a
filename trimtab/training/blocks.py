"""Blocked spans on record: rows that neither train nor judge, until a person lifts the block."""

from __future__ import annotations

from datetime import datetime

from trimtab.errors import LedgerError, SpecError
from trimtab.ledger import Ledger
from trimtab.records import Action, BlockedSpan, BlockedSpanLifted, LeftOut, Ruling, content_id
from trimtab.training.windows import blocked_spans


def block_span(
    ledger: Ledger, model: str, start: datetime, end: datetime, reason: str, blocked_by: str, blocked_at: datetime
) -> BlockedSpan:
    """Keep the rows with event time in [start, end) from training and evaluation.

    Raises
    ------
    SpecError
        If the span is empty, or no reason is given.
    LedgerError
        If it cannot be recorded; then nothing is blocked.
    """
    if start >= end:
        raise SpecError(f"the span is from {start} to {end}; it must end after it starts")
    if not reason.strip():
        raise SpecError("the block gives no reason; it must say why, such as 'sensor 4 was broken'")
    span = BlockedSpan(
        id=content_id("blocked-span", model, start, end, reason, blocked_by, blocked_at),
        model=model,
        start=start,
        end=end,
        reason=reason,
        blocked_by=blocked_by,
        blocked_at=blocked_at,
    )
    ledger.append(span)
    return span


def lift_block(ledger: Ledger, blocked_id: str, reason: str, lifted_by: str, lifted_at: datetime) -> BlockedSpanLifted:
    """End a block, a person's or a BLOCK ruling's. Lifting it again gives what is on record.

    Raises
    ------
    LedgerError
        If nothing of that id blocks rows.
    SpecError
        If no reason is given.
    """
    if not reason.strip():
        raise SpecError("the lift gives no reason; it must say why, such as 'the rows were repaired'")
    blocked = ledger.find(BlockedSpan, blocked_id) or ledger.find(Ruling, blocked_id)
    if blocked is None or (isinstance(blocked, Ruling) and blocked.action is not Action.BLOCK):
        raise LedgerError(f"{blocked_id!r} blocks no rows; `trimtab blocks` lists what does")
    lift_id = content_id("blocked-span-lifted", blocked_id)
    if (known := ledger.find(BlockedSpanLifted, lift_id)) is not None:
        return known
    lifted = BlockedSpanLifted(
        id=lift_id,
        model=blocked.model,
        blocked_id=blocked_id,
        reason=reason,
        lifted_by=lifted_by,
        lifted_at=lifted_at,
    )
    ledger.append(lifted)
    return lifted


def standing_blocks(ledger: Ledger, model: str, as_of: datetime) -> tuple[LeftOut, ...]:
    """What of a model's rows is blocked for a retraining that stands at ``as_of``."""
    return blocked_spans(
        ledger.records(BlockedSpan, model),
        ledger.records(Ruling, model),
        ledger.records(BlockedSpanLifted, model),
        as_of,
    )
