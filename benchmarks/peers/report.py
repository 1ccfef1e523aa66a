"""From rounds to figures: medians, the best of each, and how far the gateway is ahead. Nothing here measures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers.limits import Limit
from benchmarks.peers.measure import Found, Point

OURS = "trimtab"


@dataclass(frozen=True)
class Row:
    """A point over all rounds: medians, and errors added up."""

    point: Point
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float


@dataclass(frozen=True)
class Verdict:
    """How the gateway stands to the best peer in one situation. ``ratio`` is ours over theirs, in requests/s."""

    situation: str
    ours: Row
    peer: Row
    aim: float
    lower_p99: bool = False

    @property
    def ratio(self) -> float:
        return self.ours.requests_per_s / self.peer.requests_per_s

    @property
    def holds(self) -> bool:
        return self.ratio >= self.aim and (not self.lower_p99 or self.ours.p99_ms < self.peer.p99_ms)


def medians(rounds: Iterable[Mapping[Point, Found]]) -> list[Row]:
    """One row a point, in order of the points."""
    by_point: dict[Point, list[Found]] = {}
    for found in rounds:
        for point, each in found.items():
            by_point.setdefault(point, []).append(each)
    return [_median(point, by_point[point]) for point in sorted(by_point)]


def _median(point: Point, found: Sequence[Found]) -> Row:
    return Row(
        point,
        statistics.median(each.load.requests_per_s for each in found),
        statistics.median(each.load.p50_ms for each in found),
        statistics.median(each.load.p99_ms for each in found),
        sum(each.load.errors for each in found),
        statistics.median(each.cpu_us for each in found),
    )


def singles(rows: Sequence[Row], connections: int) -> list[Row]:
    """Rows of single-row requests at so many connections, the fastest first."""
    chosen = [row for row in rows if row.point.rows == 1 and row.point.connections == connections]
    return sorted(chosen, key=lambda row: -row.requests_per_s)


def batches(rows: Sequence[Row]) -> list[Row]:
    """Of each contender and form the number of connections that was best for batches, the fastest first."""
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        if row.point.rows > 1:
            key = (row.point.contender, row.point.form)
            if key not in best or row.requests_per_s > best[key].requests_per_s:
                best[key] = row
    return sorted(best.values(), key=lambda row: -row.requests_per_s)


def verdict(
    situation: str, rows: Sequence[Row], aim: float, forms: frozenset[str] | None = None, lower_p99: bool = False
) -> Verdict | None:
    """The gateway's fastest form beside the fastest peer's; None if either is missing.

    Parameters
    ----------
    rows
        Of one situation.
    forms
        Which forms count, by name; None for all. Text is to be compared with text.
    lower_p99
        Whether the gateway's p99 must be the lower one too.
    """
    counted = sorted(
        (row for row in rows if forms is None or row.point.form in forms), key=lambda row: -row.requests_per_s
    )
    ours = [row for row in counted if row.point.contender == OURS]
    peers = [row for row in counted if row.point.contender != OURS and row.requests_per_s > 0]
    return Verdict(situation, ours[0], peers[0], aim, lower_p99) if ours and peers else None


def limit_medians(rounds: Sequence[Mapping[str, Limit]]) -> dict[str, Limit]:
    """The limits by situation, each the median over the rounds."""
    return {
        name: Limit(
            *(
                statistics.median(getattr(each[name], part) for each in rounds)
                for part in ("predict_per_s", "http_per_s", "append_per_s", "flush_per_s")
            )
        )
        for name in (rounds[0] if rounds else {})
    }
