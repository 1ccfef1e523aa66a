"""What came of each way to keep a model, in numbers: on the very same flights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from trimtab.metrics import METRIC_FUNCTIONS

NEVER, MONTHLY, TRIMTAB = "never retrained", "retrained every month", "trimtab"


@dataclass(frozen=True, slots=True)
class Week:
    """A line of the timeline.

    ``log_loss`` and ``roc_auc`` are of all the week's flights, measured at the end of the demo. ``judged`` is the AUC
    that the ruling saw, of the release's mature flights (a day older), and ``limit`` what it was held against.
    ``outcome`` says what followed, ``versions`` what served.
    """

    number: int
    end: datetime
    flights: int
    log_loss: float
    roc_auc: float
    judged: float
    limit: float
    action: str
    reason: str
    outcome: str
    versions: tuple[str, ...]
    report: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A way to keep a model: the scores that it gave, of shape (rows,), and the runs and releases that it took."""

    name: str
    scores: np.ndarray
    retrains: int
    releases: int
    log_loss: float
    roc_auc: float


@dataclass(frozen=True)
class Comparison:
    """All policies on the same flights whose outcome is known; arrays of shape (rows,)."""

    event_time: np.ndarray
    late: np.ndarray
    policies: tuple[Policy, ...]

    def named(self, name: str) -> Policy:
        """The policy of that name."""
        return next(policy for policy in self.policies if policy.name == name)

    def kept_share(self, metric: str) -> float:
        """How much of what monthly retraining gains over never retraining trimtab gains; NaN if it gains nothing."""
        never, monthly, own = (float(getattr(self.named(name), metric)) for name in (NEVER, MONTHLY, TRIMTAB))
        return (own - never) / (monthly - never) if monthly != never else float("nan")

    def saved(self, name: str) -> np.ndarray:
        """The log-loss that a policy has saved over never retraining, summed over the flights so far."""
        return np.cumsum(_losses(self.late, self.named(NEVER).scores) - _losses(self.late, self.named(name).scores))


def compare(
    event_time: np.ndarray,
    late: np.ndarray,
    scores: Mapping[str, np.ndarray],
    retrains: Mapping[str, int],
    releases: Mapping[str, int],
) -> Comparison:
    """Measure each policy on the flights whose outcome is known (``late`` is not NaN).

    Raises
    ------
    ValueError
        If a policy has no score for one of them.
    """
    known = ~np.isnan(late)
    policies = []
    for name, given in scores.items():
        if np.isnan(given[known]).any():
            raise ValueError(f"{name} has no score for {int(np.isnan(given[known]).sum())} flights; each needs one")
        policies.append(
            Policy(
                name=name,
                scores=given[known],
                retrains=retrains[name],
                releases=releases[name],
                log_loss=measure("log_loss", late[known], given[known]),
                roc_auc=measure("roc_auc", late[known], given[known]),
            )
        )
    return Comparison(event_time[known], late[known], tuple(policies))


def measure(metric: str, late: np.ndarray, scores: np.ndarray) -> float:
    """A metric on these rows; NaN where there are none."""
    if not len(late):
        return float("nan")
    return METRIC_FUNCTIONS[metric](late, scores, 0.5)(np.ones(len(late)))


def _losses(late: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return np.asarray(-np.log(np.clip(np.where(late == 1, scores, 1 - scores), 1e-15, 1)))
