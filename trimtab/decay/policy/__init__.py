"""From what was measured to what follows: pure, and the first that holds wins.

====================  ============================================================================================
BLOCK                 the window's data is broken: its suite failed, a feature lost too many of its values, or it shows
                      another fault
ROLLBACK              the release does worse than its predecessor on the same rows (paired interval)
RETRAIN               performance is lost, or expected to be, or worse than a constant's (or features drift, where the
                      spec asks for that), in k of the last m windows
ALERT                 a retraining is called for but held back, or anything else has left its limits
NONE                  none of these, or the window has too few rows to say
====================  ============================================================================================

A retraining is held back while one (or a rollback) is in flight, in the cooldown, when the budget is spent, or while
the breaker is open: the last retrainings were all in vain, so another will not help until a person looks.

judge.py (the ruling) · sentences.py (its reason) · hysteresis.py (what was breached stays so until it is well back) ·
holds.py (what holds a retraining back) · breaker.py (the breaker) · state.py (what counts as a change that people are
told of) · history.py (what is on record, and what a record of it is called)
"""

from trimtab.decay.policy.breaker import Breaker, breaker
from trimtab.decay.policy.history import IN_FLIGHT_FOR, History, retrain_cause_id, ruling_id
from trimtab.decay.policy.holds import held_back
from trimtab.decay.policy.judge import rule

__all__ = [
    "IN_FLIGHT_FOR",
    "Breaker",
    "History",
    "breaker",
    "held_back",
    "retrain_cause_id",
    "rule",
    "ruling_id",
]
