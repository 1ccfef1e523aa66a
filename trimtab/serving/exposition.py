"""``GET /metrics``: the gateway's counts, its queues and its logs' backlogs, in the forms that Prometheus reads.

Names and units follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from trimtab import __version__
from trimtab.errors import PredictionLogError
from trimtab.predictions.backlog import Backlog, BacklogReader
from trimtab.serving.metrics import Histogram, LaneCounts, LaneKey

_BACKLOG_KEPT_S = 5.0
_PREFIX = "trimtab_gateway_"
_LANE = ("model", "version")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Readings:
    """What is read from the gateway at the moment of a scrape.

    Parameters
    ----------
    lanes : mapping
        Counts by model and version.
    queued_rows : mapping
        Rows that wait or are under way, by model and version, of every route.
    unlogged_rows : mapping
        Rows answered but not logged, by model, where its log policy allows that.
    denied_calls : mapping
        By reason.
    ready : bool
    connections : int
        Open now.
    buffered_bytes : int
        Of bodies that are not yet answered.
    refused_connections : mapping
        By status: ended before there was a request, of whatever kind, that could be taken.
    """

    lanes: Mapping[LaneKey, LaneCounts]
    queued_rows: Mapping[LaneKey, int] = field(default_factory=dict)
    unlogged_rows: Mapping[str, int] = field(default_factory=dict)
    denied_calls: Mapping[str, int] = field(default_factory=dict)
    ready: bool = True
    connections: int = 0
    buffered_bytes: int = 0
    refused_connections: Mapping[int, int] = field(default_factory=dict)


class Exposition:
    """Renders readings; reads the backlogs of the logs itself, at most every few seconds. One call at a time.

    Parameters
    ----------
    predictions_dir : Path
        The folder of the logs, one a model.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, predictions_dir: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = predictions_dir
        self._clock = clock
        self._readers: dict[str, BacklogReader] = {}
        self._backlogs: dict[str, Backlog] = {}
        self._read_at_s = float("-inf")

    def render(self, readings: Readings, accept: str = "") -> tuple[bytes, str]:
        """The body and its content type: OpenMetrics where the ``Accept`` header asks for it. Blocks for the disk."""
        self._read_backlogs({model for model, _ in readings.queued_rows})
        registry = CollectorRegistry()
        registry.register(
            _Collected([*_lane_families(readings), *self._backlog_families(), *_other_families(readings)])
        )
        ProcessCollector(registry=registry)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    def _read_backlogs(self, models: set[str]) -> None:
        now = self._clock()
        if 0 <= now - self._read_at_s < _BACKLOG_KEPT_S and models <= self._backlogs.keys():
            return
        self._read_at_s = now
        self._backlogs = {}
        for model in sorted(models):
            reader = self._readers.setdefault(model, BacklogReader(self._folder / model))
            try:
                self._backlogs[model] = reader.read()
            except PredictionLogError as error:
                # The other metrics are wanted all the more then; this one is missing from the page.
                _logger.warning("the backlog of a log is not in the metrics", exc_info=error, extra={"model": model})

    def _backlog_families(self) -> Iterator[Metric]:
        rows = GaugeMetricFamily(f"{_PREFIX}unsealed_rows", "Rows in the spool, not yet sealed.", labels=["model"])
        age = GaugeMetricFamily(
            f"{_PREFIX}unsealed_age_seconds",
            "Age of the oldest row that is not yet sealed; 0 if none.",
            labels=["model"],
        )
        now = self._clock()
        for model, backlog in self._backlogs.items():
            rows.add_metric([model], backlog.rows)
            age.add_metric([model], max(0.0, now - backlog.oldest_at_s) if backlog.oldest_at_s is not None else 0.0)
        yield from (rows, age)


class _Collected(Collector):
    """Families that are there already, as the client's registry takes them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _lane_families(readings: Readings) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        f"{_PREFIX}requests", "Requests to predict, by the status of their answer.", labels=[*_LANE, "status"]
    )
    last = GaugeMetricFamily(
        f"{_PREFIX}log_lag_seconds", "From receipt to durable commit, oldest request of the last batch.", labels=_LANE
    )
    worst = GaugeMetricFamily(
        f"{_PREFIX}log_lag_max_seconds", "The largest log lag since the scrape before.", labels=_LANE
    )
    for lane, counts in readings.lanes.items():
        for status, number in sorted(counts.statuses.items()):
            requests.add_metric([*lane, str(status)], number)
        if sum(counts.rows.counts):
            last.add_metric(lane, counts.log_lag_s)
            worst.add_metric(lane, counts.max_log_lag_s)
    yield from (requests, last, worst)
    yield _histogram(
        readings, "request_duration_seconds", "From receipt to answer, of answers with 200.", lambda c: c.latency_s
    )
    yield _histogram(readings, "scoring_duration_seconds", "The scorer's call, a batch.", lambda c: c.scoring_s)
    yield _histogram(readings, "log_commit_duration_seconds", "The log's commit, a batch.", lambda c: c.logging_s)
    yield _histogram(readings, "batch_rows", "Rows a batch; its sum is the rows predicted.", lambda c: c.rows)


def _histogram(readings: Readings, name: str, words: str, of: Callable[[LaneCounts], Histogram]) -> Metric:
    family = HistogramMetricFamily(f"{_PREFIX}{name}", words, labels=_LANE)
    for lane, counts in readings.lanes.items():
        histogram = of(counts)
        reached, buckets = 0, []
        for bound, number in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            reached += number
            buckets.append(("+Inf" if bound == float("inf") else str(bound), reached))
        if reached:
            family.add_metric(lane, buckets, sum_value=histogram.total)
    return family


def _other_families(readings: Readings) -> Iterator[Metric]:
    queue = GaugeMetricFamily(f"{_PREFIX}queue_rows", "Rows that wait or are under way.", labels=_LANE)
    for lane, rows in readings.queued_rows.items():
        queue.add_metric(lane, rows)
    gaps = CounterMetricFamily(
        f"{_PREFIX}unlogged_rows", "Rows answered but not logged (log policy 'available').", labels=["model"]
    )
    for model, rows in readings.unlogged_rows.items():
        gaps.add_metric([model], rows)
    denied = CounterMetricFamily(f"{_PREFIX}denied_calls", "Calls that were denied, by reason.", labels=["reason"])
    for reason, number in readings.denied_calls.items():
        denied.add_metric([reason], number)
    ready = GaugeMetricFamily(f"{_PREFIX}ready", "1 where the gateway takes requests, 0 while it drains.")
    ready.add_metric([], float(readings.ready))
    build = InfoMetricFamily(
        "trimtab_build", "What runs.", value={"version": __version__, "python_version": platform.python_version()}
    )
    refused = CounterMetricFamily(
        f"{_PREFIX}refused_connections",
        "Connections ended because what came was too much, too slow or no HTTP, by status.",
        labels=["status"],
    )
    for status, number in sorted(readings.refused_connections.items()):
        refused.add_metric([str(status)], number)
    yield from (queue, gaps, denied, ready, build, refused)
    yield GaugeMetricFamily(f"{_PREFIX}connections", "Open connections.", value=readings.connections)
    yield GaugeMetricFamily(
        f"{_PREFIX}buffered_bytes", "Bodies that are not yet answered.", value=readings.buffered_bytes
    )
