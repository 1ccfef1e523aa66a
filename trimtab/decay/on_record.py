"""Reading what the policy needs from the ledger, and a person's closing of the breaker."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from trimtab.decay.policy import Breaker, History, breaker
from trimtab.errors import TrimtabError
from trimtab.ledger import Ledger
from trimtab.records import BreakerClosed, Cause, Record, Retraining, Ruling, content_id
from trimtab.spec import ModelSpec


def history_of(records: Iterable[Record]) -> History:
    """What the policy reads of a model's records."""
    found = list(records)
    return History(
        rulings=tuple(one for one in found if isinstance(one, Ruling)),
        retrainings=tuple(one for one in found if isinstance(one, Retraining)),
        rollbacks=tuple(one for one in found if isinstance(one, Cause) and one.trigger == "rollback"),
        closings=tuple(one for one in found if isinstance(one, BreakerClosed)),
    )


def read_history(ledger: Ledger, model: str) -> History:
    """What is on record of a model.

    Raises
    ------
    LedgerError
        If the ledger does not answer.
    """
    kinds = (Ruling, Retraining, Cause, BreakerClosed)
    return history_of(record for kind in kinds for record in ledger.records(kind, model))


def read_breaker(spec: ModelSpec, ledger: Ledger) -> Breaker:
    """How a model's breaker stands now."""
    return breaker(spec.policy.breaker, read_history(ledger, spec.name))


def close_breaker(
    spec: ModelSpec, ledger: Ledger, reason: str, closed_by: str, closed_at: datetime, as_of: datetime
) -> BreakerClosed:
    """State that a person closes a model's breaker.

    Parameters
    ----------
    spec, ledger
    reason, closed_by
        Why, and who says so.
    closed_at
        Now.
    as_of
        The moment in event time from which on rulings may ask for a retraining again.

    Raises
    ------
    TrimtabError
        If the breaker is not open, or nothing is said of why or who.
    LedgerError
        If it cannot be recorded; the breaker is open then.
    """
    for what, text in (("a reason", reason), ("who closes it", closed_by)):
        if not text.strip():
            raise TrimtabError(f"closing the breaker of {spec.name} needs {what}; it goes on record")
    stands = read_breaker(spec, ledger)
    if not stands.is_open:
        raise TrimtabError(
            f"the breaker of {spec.name} is not open: {len(stands.in_vain)} retrainings in a row were in vain, and "
            f"{spec.policy.breaker} open it"
        )
    last = stands.in_vain[-1]
    closing = BreakerClosed(
        id=content_id("breaker-closed", spec.name, last.id),
        model=spec.name,
        retraining_id=last.id,
        reason=reason,
        closed_by=closed_by,
        closed_at=closed_at,
        as_of=as_of,
    )
    ledger.append(closing)
    return closing
