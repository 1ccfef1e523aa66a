"""What the gateway counts while it serves: plain numbers, added to once a batch; ``exposition.py`` shows them.

Prometheus's own client takes a lock and a dictionary for each observation; here a batch of a hundred requests costs a
few microseconds, and all is added on the event loop, so that nothing needs a lock.

The number of series is bounded: requests for a model that is not served are counted under ``_unknown``, and of each
model only the newest versions are kept.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

LaneKey = tuple[str, str]
"""Model and version."""

UNKNOWN: LaneKey = ("_unknown", "")
"""No model can be named so."""

LATENCY_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STEP_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
ROW_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0, 10000.0)

_VERSIONS_KEPT = 5  # of a model: to render a series costs a scrape some 15 microseconds, and each has 65


class Histogram:
    """Counts by bucket, cumulative only when shown.

    Parameters
    ----------
    bounds : sequence of float
        Upper bounds, ascending, each within its bucket; one more bucket takes what is above.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_all(self, values: Sequence[float]) -> None:
        """Count many values."""
        if len(values) == 1:
            self.add(values[0])
            return
        self.total += sum(values)
        # Sorted, each bound is looked for once, rather than each value: a fraction of the work for a large batch.
        ascending = sorted(values)
        below = 0
        for bucket, bound in enumerate(self.bounds):
            if below == len(ascending):
                return
            reached = bisect_right(ascending, bound, below)
            self.counts[bucket] += reached - below
            below = reached
        self.counts[-1] += len(ascending) - below

    def copy(self) -> Histogram:
        """One that stays as this is now."""
        twin = Histogram(self.bounds)
        twin.counts, twin.total = self.counts.copy(), self.total
        return twin


@dataclass(slots=True)
class LaneCounts:
    """What was counted of one version of one model."""

    statuses: Counter[int] = field(default_factory=Counter)
    latency_s: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS_S))
    scoring_s: Histogram = field(default_factory=lambda: Histogram(STEP_BOUNDS_S))
    logging_s: Histogram = field(default_factory=lambda: Histogram(STEP_BOUNDS_S))
    rows: Histogram = field(default_factory=lambda: Histogram(ROW_BOUNDS))
    log_lag_s: float = 0.0
    max_log_lag_s: float = 0.0

    def copy(self) -> LaneCounts:
        """Counts that stay as these are now."""
        histograms = (self.latency_s.copy(), self.scoring_s.copy(), self.logging_s.copy(), self.rows.copy())
        return LaneCounts(Counter(self.statuses), *histograms, self.log_lag_s, self.max_log_lag_s)


class Metrics:
    """The counters of one gateway. Belongs to its event loop.

    Parameters
    ----------
    version_of : callable
        The version that serves for a model; None if no such model is served.
    """

    def __init__(self, version_of: Callable[[str], str | None]) -> None:
        self._version_of = version_of
        self._lanes: dict[LaneKey, LaneCounts] = {}

    def batch(
        self,
        lane: LaneKey,
        requests: int,
        rows: int,
        latencies_s: Sequence[float],
        scoring_s: float,
        logging_s: float,
    ) -> None:
        """Count a batch whose requests are answered with 200.

        Parameters
        ----------
        lane
            Model and version.
        requests, rows
            In the batch.
        latencies_s
            Of each request, from its receipt to the answer, seconds.
        scoring_s, logging_s
            How long the scorer's call and the commit of the log took, seconds.
        """
        counts = self._lanes.get(lane) or self._new(lane)
        counts.statuses[200] += requests
        counts.rows.add(rows)
        counts.latency_s.add_all(latencies_s)
        counts.scoring_s.add(scoring_s)
        counts.logging_s.add(logging_s)
        # The answer goes out when the commit returns, so the oldest request's latency is how long it was not durable.
        counts.log_lag_s = max(latencies_s, default=0.0)
        if counts.log_lag_s > counts.max_log_lag_s:
            counts.max_log_lag_s = counts.log_lag_s

    def refused(self, model: str, status: int) -> None:
        """Count a request to predict that was answered otherwise than with 200; any name will do for a model."""
        version = self._version_of(model)
        lane = UNKNOWN if version is None else (model, version)
        counts = self._lanes.get(lane) or self._new(lane)
        counts.statuses[status] += 1

    def snapshot(self) -> Mapping[LaneKey, LaneCounts]:
        """The counts as they are now; the largest lag starts anew with it."""
        taken = {lane: counts.copy() for lane, counts in self._lanes.items()}
        for counts in self._lanes.values():
            counts.max_log_lag_s = 0.0
        return taken

    def _new(self, lane: LaneKey) -> LaneCounts:
        versions = [known for known in self._lanes if known[0] == lane[0]]
        if len(versions) >= _VERSIONS_KEPT:
            del self._lanes[versions[0]]
        counts = self._lanes[lane] = LaneCounts()
        return counts
