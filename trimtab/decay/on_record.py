"""What the policy reads in the ledger, whether a run may act on a ruling, and how a person closes the breaker."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeVar

from trimtab.decay.policy import Breaker, History, breaker, held_back, retrain_cause_id
from trimtab.errors import TrimtabError
from trimtab.ledger import Ledger
from trimtab.records import Action, BreakerClosed, Cause, Record, Release, Retraining, Ruling, content_id
from trimtab.spec import ModelSpec

R = TypeVar("R", bound=Record)

_CLOCKS_DIFFER_BY = timedelta(minutes=1)


def read_history(ledger: Ledger, model: str, before: str = "") -> History:
    """What is on record of a model; with ``before``, what was recorded earlier than the record of that id.

    Raises
    ------
    LedgerError
        If the ledger does not answer, or nothing is on record under ``before``.
    """
    end = ledger.get(before).sequence if before else None

    def of(kind: type[R]) -> tuple[R, ...]:
        found = (entry for entry in ledger.entries(kind, model) if end is None or entry.sequence < end)
        return tuple(entry.record for entry in found if isinstance(entry.record, kind))

    return History(
        rulings=of(Ruling),
        retrainings=of(Retraining),
        rollbacks=tuple(cause for cause in of(Cause) if cause.trigger == "rollback"),
        closings=of(BreakerClosed),
    )


def refusal(spec: ModelSpec, ledger: Ledger, ruling: Ruling) -> str | None:
    """Why the run that a ruling on record asks for must do nothing; None if it may act.

    Follows from the ledger alone, so that of many runs that were started for rulings close to each other the same one
    acts, in whatever order they come, and a run that was killed may go on.

    Parameters
    ----------
    spec, ledger
    ruling
        A RETRAIN or a ROLLBACK ruling that is on record. What its own run has released does not count against it.

    Raises
    ------
    LedgerError
        If the ledger does not answer.
    """
    serving = ledger.latest(Release, spec.name)
    if serving and serving.id != ruling.release_id and serving.cause_id != retrain_cause_id(ruling.id):
        return (
            f"{ruling.id} judged {ruling.release_id}, which no longer serves: version {serving.version} "
            f"({serving.id}) does since {serving.since:%Y-%m-%d %H:%M}"
        )
    if ruling.action is Action.ROLLBACK:
        return None
    return held_back(spec, ruling.as_of, read_history(ledger, spec.name, before=ruling.id), ruling.release_id)


def read_breaker(spec: ModelSpec, ledger: Ledger) -> Breaker:
    """How a model's breaker stands now."""
    return breaker(spec.policy.breaker, read_history(ledger, spec.name))


def plan_closing(
    spec: ModelSpec, ledger: Ledger, reason: str, closed_by: str, closed_at: datetime, as_of: datetime
) -> BreakerClosed:
    """What states that a person closes a model's breaker; it is closed once that is on record.

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
        If the breaker is not open at ``as_of``, that is not yet here, or nothing is said of why or who.
    LedgerError
        If the ledger does not answer.
    """
    for what, text in (("a reason", reason), ("who closes it", closed_by)):
        if not text.strip():
            raise TrimtabError(f"closing the breaker of {spec.name} needs {what}; it goes on record")
    if as_of > closed_at + _CLOCKS_DIFFER_BY:
        raise TrimtabError(
            f"as_of is {as_of.isoformat()}, which is not yet here: the breaker of {spec.name} would be open until then"
        )
    past = read_history(ledger, spec.name)
    # One that counts from later on only, as where history is replayed, leaves the breaker open at that moment.
    counting = tuple(closing for closing in past.closings if closing.as_of <= as_of)
    stands = breaker(spec.policy.breaker, past.model_copy(update={"closings": counting}))
    if not stands.is_open:
        raise TrimtabError(
            f"the breaker of {spec.name} is not open: {len(stands.in_vain)} retrainings in a row were in vain, and "
            f"{spec.policy.breaker} open it"
        )
    last = stands.in_vain[-1]
    return BreakerClosed(
        id=content_id("breaker-closed", spec.name, last.id, as_of),
        model=spec.name,
        retraining_id=last.id,
        reason=reason,
        closed_by=closed_by,
        closed_at=closed_at,
        as_of=as_of,
    )
