"""What holds a retraining back."""

from __future__ import annotations

from datetime import datetime, timedelta

from trimtab.decay.policy.breaker import breaker
from trimtab.decay.policy.history import IN_FLIGHT_FOR, History, retrain_cause_id
from trimtab.records import Action, Ruling
from trimtab.spec import ModelSpec


def held_back(spec: ModelSpec, as_of: datetime, history: History, release_id: str = "") -> str | None:
    """Why no retraining may start at ``as_of``; None if one may.

    Parameters
    ----------
    spec
        The model's spec.
    as_of
        The moment, in event time.
    history
        What is on record; all of it counts.
    release_id
        What serves: while its rollback is in flight it is not retrained.
    """
    return _in_flight(as_of, history, release_id) or _cooling(spec, as_of, history) or _spent(spec, as_of, history)


def rolling_back(as_of: datetime, history: History, release_id: str) -> Ruling | None:
    """The ruling whose rollback of that release, which serves, is in flight."""
    asked = [one for one in history.asked(Action.ROLLBACK) if one.release_id == release_id]
    return next((one for one in reversed(asked) if as_of - one.as_of < IN_FLIGHT_FOR), None)


def _in_flight(as_of: datetime, history: History, release_id: str) -> str | None:
    if found := rolling_back(as_of, history, release_id):
        return f"the rollback ruled on {found.as_of:%Y-%m-%d %H:%M} is still in flight"
    ended = {retraining.cause_id for retraining in history.retrainings}
    for ruling in history.asked(Action.RETRAIN):
        if retrain_cause_id(ruling.id) not in ended and as_of - ruling.as_of < IN_FLIGHT_FOR:
            return f"the retraining ruled on {ruling.as_of:%Y-%m-%d %H:%M} is still in flight"
    return None


def _cooling(spec: ModelSpec, as_of: datetime, history: History) -> str | None:
    """After a rollback, too: what it took out of service came of the same rows that a retraining would see now."""
    cooldown = spec.policy.cooldown
    asked, undone = history.asked(Action.RETRAIN), history.asked(Action.ROLLBACK)
    retrained = [one.as_of for one in asked] + [one.as_of for one in history.retrainings]
    rolled_back = [one.as_of for one in undone] + [one.as_of for one in history.rollbacks]
    for what, times in (("retraining", retrained), ("rollback", rolled_back)):
        last = max(times, default=None)
        if last is not None and as_of - last < cooldown:
            return f"the last {what} was on {last:%Y-%m-%d} and the cooldown lasts until {last + cooldown:%Y-%m-%d}"
    return None


def _spent(spec: ModelSpec, as_of: datetime, history: History) -> str | None:
    policy = spec.policy
    spent = sum(as_of - ruling.as_of < policy.budget_period for ruling in history.asked(Action.RETRAIN))
    if spent >= policy.budget:
        return (
            f"the budget of {policy.budget} retrainings in {policy.budget_period / timedelta(days=1):g} days is spent"
        )
    stands = breaker(policy.breaker, history)
    if stands.is_open:
        return (
            f"the breaker is open: the last {len(stands.in_vain)} retrainings all kept the champion or were rolled "
            "back; a person must close it"
        )
    return None
