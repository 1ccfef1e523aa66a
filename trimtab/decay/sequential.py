"""Slow drift: what many windows show together that none shows alone.

Each window bets against "this column is no farther from the reference than is tolerated": its p-value under that is
turned into a standard normal ``z`` and that into the e-value ``exp(KAPPA z - KAPPA² / 2)``, whose mean is 1 at most as
long as nothing more has drifted. Their running product, never below 1, is an e-detector of CUSUM form (Page 1954;
Shin, Ramdas & Rinaldo 2024, *E-detectors*): with columns that alarm at ``run length x columns``, the mean number of
windows to the first false alarm of any of them is the run length at least, for windows of any size, columns that hang
together in any way, and without the laws that a CUSUM takes for granted. Windows must not share rows: `chain` takes, of
the rulings on record, the newest that do not overlap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from scipy.special import ndtri

from trimtab.decay.distance import Distance
from trimtab.decay.measurements import Shift
from trimtab.decay.null_windows import NullLaw
from trimtab.decay.own_windows import OwnWindows
from trimtab.records import Ruling
from trimtab.spec import DriftRule

KAPPA = 0.5
HIGHEST = 6.0
"""No single window counts for more standard deviations than this, so that none alarms alone."""
REST = 2.0
"""How far the gathered evidence may rise above its threshold: when the drift is over, it comes back soon."""


def standardised(p_value: float) -> float:
    """The p-value as a standard normal deviate, within `HIGHEST` on either side; high is far from the reference."""
    if not p_value < 1:
        return -HIGHEST
    if p_value <= 0:
        return HIGHEST
    return float(min(max(-ndtri(p_value), -HIGHEST), HIGHEST))


def shifts(
    rule: DriftRule, distances: Sequence[Distance], laws: Mapping[str, NullLaw], own: OwnWindows
) -> tuple[Shift, ...]:
    """How far each column is beyond what is tolerated: by the rule, or by what was usual in the reference's windows."""
    found = []
    for one in distances:
        tolerated = max(rule.tolerated_effect, own.mean.get(one.column, 0.0))
        p_value = laws[one.column].p_value(one.psi, tolerated) if one.rows and one.reference_rows else 1.0
        usual = own.largest.get(one.column, 0.0)
        found.append(Shift(column=one.column, deviate=standardised(p_value), tolerated=tolerated, usual=usual))
    return tuple(found)


def gather(before: float, deviate: float, threshold: float) -> float:
    """The log evidence after one more window: from ``before`` (0 at first), never below 0, little above the threshold.

    Parameters
    ----------
    before
        Log evidence of the windows before.
    deviate
        The window's, from `standardised`.
    threshold
        Where it alarms.
    """
    return min(max(before + KAPPA * deviate - KAPPA**2 / 2, 0.0), threshold + REST)


def log_threshold(run_length: float, columns: int) -> float:
    """The log evidence at which a column alarms, so that any of them does so falsely once in ``run_length`` windows."""
    return math.log(run_length * max(columns, 1))


def chain(earlier: Sequence[Ruling], start: datetime, policy_digest: str) -> list[Ruling]:
    """The rulings that a window which begins at ``start`` goes on from, newest first.

    ``earlier`` are rulings on one release. Those of another policy do not count; of windows that overlap, only the
    newest that ends in time. A window that was judged twice therefore counts once, and where windows overlap each goes
    on from its own: the run length is then that of each such row of windows.
    """
    kept: list[Ruling] = []
    same = [one for one in earlier if one.policy_digest == policy_digest]
    for ruling in sorted(same, key=lambda one: (one.end, one.as_of), reverse=True):
        if ruling.end <= (kept[-1].start if kept else start):
            kept.append(ruling)
    return kept
