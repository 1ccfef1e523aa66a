"""The breaker: after several retrainings in a row in vain no further one starts until a person has closed it."""

from __future__ import annotations

from trimtab.decay.policy.history import History
from trimtab.records import Action, Retraining, Value


class Breaker(Value):
    """How the breaker stands. ``in_vain`` are the retrainings in a row that led to nothing, oldest first."""

    is_open: bool
    in_vain: tuple[Retraining, ...] = ()


def breaker(opens_after: int, history: History) -> Breaker:
    """How the breaker stands by what is on record.

    A retraining was in vain when it kept the champion, or when what it released was rolled back by a ruling. Once
    ``opens_after`` in a row were in vain the breaker is open, and stays so whatever retrainings that people start come
    to; a closing lets the count begin anew after the retraining that it names.
    """
    rolled_back = {ruling.release_id for ruling in history.asked(Action.ROLLBACK)}
    closed = {closing.retraining_id for closing in history.closings}
    in_vain: list[Retraining] = []
    for one in sorted(history.retrainings, key=lambda one: (one.as_of, one.id)):
        if one.release_id is None or one.release_id in rolled_back:
            in_vain.append(one)
        elif len(in_vain) < opens_after:
            in_vain = []
        if one.id in closed:
            in_vain = []
    return Breaker(is_open=len(in_vain) >= opens_after, in_vain=tuple(in_vain))
