"""What is on record of a model, as the policy reads it, and how what it leads to is called."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from trimtab.records import Action, BreakerClosed, Cause, Retraining, Ruling, Value, content_id
from trimtab.spec import ModelSpec

IN_FLIGHT_FOR = timedelta(days=1)
"""Event time after which a ruling whose run never ended no longer holds back the next one."""


class History(Value):
    """What is on record of a model. The order of the records says nothing; their times do.

    ``rollbacks`` are the causes of all rollbacks, those that people asked for included; ``closings`` say when a person
    has closed the breaker.
    """

    rulings: tuple[Ruling, ...] = ()
    retrainings: tuple[Retraining, ...] = ()
    rollbacks: tuple[Cause, ...] = ()
    closings: tuple[BreakerClosed, ...] = ()

    def until(self, as_of: datetime, but: str = "") -> Self:
        """What was on record at a moment of event time, without the ruling of the id ``but``."""
        return self.model_copy(
            update={
                "rulings": tuple(one for one in self.rulings if one.as_of <= as_of and one.id != but),
                "retrainings": tuple(one for one in self.retrainings if one.as_of <= as_of),
                "rollbacks": tuple(one for one in self.rollbacks if one.as_of <= as_of),
                "closings": tuple(one for one in self.closings if one.as_of <= as_of),
            }
        )

    def before(self, release_id: str, end: datetime) -> list[Ruling]:
        """The rulings on a release's windows that ended earlier, oldest first."""
        found = [one for one in self.rulings if one.release_id == release_id and one.end < end]
        return sorted(found, key=lambda one: (one.end, one.as_of, one.id))

    def asked(self, action: Action) -> list[Ruling]:
        """The rulings of that action, oldest first."""
        return sorted((one for one in self.rulings if one.action is action), key=lambda one: (one.as_of, one.id))


def ruling_id(spec: ModelSpec, release_id: str, start: datetime, end: datetime) -> str:
    """The id of the ruling on a window: the same window of the same release is judged once by the same policy."""
    return content_id("ruling", spec.name, release_id, start.isoformat(), end.isoformat(), spec.policy_digest)


def retrain_cause_id(ruling: str) -> str:
    """The id of the cause that the run states which a RETRAIN or a ROLLBACK ruling asks for."""
    return content_id("cause", ruling)
