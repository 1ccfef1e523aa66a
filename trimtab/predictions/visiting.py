"""The walk over one log for a page of predictions: it reads no more than tells what comes first.

Blocks of rows (row groups of segments, batches of the spool) are visited in the order of the ids that they may hold,
best first, until enough rows are certain to come before whatever was not visited. Blocks that cannot hold what is asked
for are passed over: by their ids and times in the spool's list, by the statistics of each row group (event time,
version, release, caller), by the index of request ids. What is left is read.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.predictions.log import PredictionLog
from trimtab.predictions.query import Query
from trimtab.predictions.request_index import RequestIndexes, hash_text
from trimtab.predictions.segments import SealedSpan, open_segment
from trimtab.predictions.snapshot import Bounds, Snapshot

_PASSED_ROWS = 512
"""What it costs to find from an index or from statistics that there is nothing, in rows examined."""

BEYOND = 2**128
"""A key beyond all. A key is the id as a number, negative where the newest come first: what comes first is least."""


@dataclass(frozen=True, slots=True)
class Match:
    """A row that is asked for: where it comes in the order, and where it stands."""

    key: int
    model: str
    source: pa.Table | tuple[SealedSpan, int]
    row: int


@dataclass(slots=True)
class _Walk:
    """What a walk over one log has come to; ``cost`` is rows examined."""

    model: str
    query: Query
    bounds: Bounds
    snapshot: Snapshot
    indexes: RequestIndexes
    hashed: int | None
    matches: list[Match] = field(default_factory=list)
    cost: int = 0


def visit(log: PredictionLog, query: Query, budget: int, enough: int) -> tuple[list[Match], int]:
    """The log's rows that are asked for and have keys below the second value: all of those, no others.

    Ends when that is ``enough``, there are ``query.limit`` of them, or rows beyond the budget were examined (but never
    where it began).
    """
    with log.snapshot() as snapshot:
        hashed = None if query.request_id is None else hash_text(query.request_id)
        walk = _Walk(log.folder.name, query, query.bounds(), snapshot, RequestIndexes(log.folder), hashed)
        return _run(walk, budget, enough)


def _run(walk: _Walk, budget: int, enough: int) -> tuple[list[Match], int]:
    """See :func:`visit`."""
    # The number keeps blocks of one key from being compared themselves.
    number = itertools.count()
    heap: list[tuple[int, int, _Block]] = []

    def add(block: _Block | None) -> None:
        if block is not None:
            heapq.heappush(heap, (_least_key(walk, block), next(number), block))

    for first, last, name in walk.snapshot.segments(walk.bounds):
        add(_Segment(first, last, name))
    add(_next_batch(walk, _batches(walk)))
    beginning = heap[0][0] if heap else 0
    while heap:
        until = heap[0][0]
        enough_found = len(walk.matches) >= walk.query.limit and walk.matches[walk.query.limit - 1].key < until
        if until >= enough or enough_found or (walk.cost >= budget and until > beginning):
            return walk.matches, until
        known = len(walk.matches)
        for block in heapq.heappop(heap)[2].open(walk):
            add(block)
        if len(walk.matches) > known:
            # Only the best can be on the page.
            walk.matches = sorted(walk.matches, key=lambda match: match.key)[: walk.query.limit + 1]
    return walk.matches, BEYOND


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows with ids from ``first`` to ``last``, not yet looked at."""

    first: bytes
    last: bytes

    def open(self, walk: _Walk) -> Iterator[_Block | None]:
        """Look at it: note the rows that match, or say what it consists of."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Segment(_Block):
    name: str

    def open(self, walk: _Walk) -> Iterator[_Block | None]:
        groups = None if walk.hashed is None else self._holding(walk, walk.hashed)
        if groups == []:
            return
        span, manifest = walk.snapshot.segment(self.name)
        starts = manifest.starts()
        for group in range(len(starts)) if groups is None else groups:
            last = self.last if group + 1 == len(starts) else _before(starts[group + 1])
            if starts[group] <= walk.bounds.last_id and last >= walk.bounds.first_id:
                yield _RowGroup(starts[group], last, span, group)

    def _holding(self, walk: _Walk, hashed: int) -> list[int]:
        """The row groups in which the request id may stand."""
        walk.cost += _PASSED_ROWS
        groups = walk.indexes.row_groups(self.name, hashed)
        if groups is None:
            span, _ = walk.snapshot.segment(self.name)
            walk.cost += span.rows
            groups = walk.indexes.build(span, hashed)
        return groups


@dataclass(frozen=True, slots=True)
class _RowGroup(_Block):
    span: SealedSpan
    number: int

    def open(self, walk: _Walk) -> Iterator[_Block | None]:
        query = walk.query
        with open_segment(self.span) as file:
            if not _may_hold(file, self.number, query, walk.bounds):
                walk.cost += _PASSED_ROWS
                return
            times = [] if query.start is None and query.end is None else ["event_time"]
            rows = file.read_row_group(
                self.number, columns=["prediction_id", *times, *query.values()], use_threads=False
            )
        walk.cost += len(rows)
        _note(walk, rows, (self.span, self.number))
        yield from ()


@dataclass(frozen=True, slots=True)
class _Batch(_Block):
    sequence: int
    others: Iterator[tuple[bytes, bytes, int]]

    def open(self, walk: _Walk) -> Iterator[_Block | None]:
        rows = pa.Table.from_batches([walk.snapshot.batch(self.sequence)])
        walk.cost += len(rows)
        _note(walk, rows, rows)
        yield _next_batch(walk, self.others)


def _batches(walk: _Walk) -> Iterator[tuple[bytes, bytes, int]]:
    containing = (walk.query.request_id or walk.query.caller or "").encode()
    return walk.snapshot.batches(walk.bounds, walk.query.newest_first, containing)


def _next_batch(walk: _Walk, batches: Iterator[tuple[bytes, bytes, int]]) -> _Batch | None:
    """The spool's batches come in order: one at a time waits in the heap."""
    found = next(batches, None)
    return None if found is None else _Batch(*found, batches)


def _note(walk: _Walk, rows: pa.Table, source: pa.Table | tuple[SealedSpan, int]) -> None:
    """Note the rows that match, the best of them: more than a page's worth of one block are never needed."""
    places = walk.query.matches(rows)
    if isinstance(source, tuple):
        # A segment's rows are in the order of their ids: only an end of them can be on the page.
        many = walk.query.limit + 1
        places = places[-many:] if walk.query.newest_first else places[:many]
    if len(places) == 0:
        return
    ids = rows["prediction_id"].take(pa.array(places)).to_pylist()
    keyed = sorted((_key(walk.query, key), int(row)) for key, row in zip(ids, places, strict=True))
    walk.matches += [Match(key, walk.model, source, row) for key, row in keyed[: walk.query.limit + 1]]


def _may_hold(file: pq.ParquetFile, group: int, query: Query, bounds: Bounds) -> bool:
    """Whether a row group's statistics leave it open that it holds what is asked for."""
    names = file.schema_arrow.names
    columns = file.metadata.row_group(group)

    def spread(name: str) -> tuple[Any, Any] | None:
        statistics = columns.column(names.index(name)).statistics
        if statistics is None or not statistics.has_min_max:
            return None
        return (statistics.min_raw, statistics.max_raw) if name == "event_time" else (statistics.min, statistics.max)

    times = spread("event_time") if query.start or query.end else None
    if times and (times[0] >= bounds.end or times[1] < bounds.start):
        return False
    texts = [(spread(name), value) for name, value in query.values().items()]
    return all(found is None or found[0] <= value <= found[1] for found, value in texts)


def _key(query: Query, prediction_id: bytes) -> int:
    number = int.from_bytes(prediction_id)
    return -number if query.newest_first else number


def id_of(query: Query, key: int) -> bytes:
    return (-key if query.newest_first else key).to_bytes(16)


def _least_key(walk: _Walk, block: _Block) -> int:
    """Of the rows of a block that the cursor leaves."""
    if walk.query.newest_first:
        return _key(walk.query, min(block.last, walk.bounds.last_id))
    return _key(walk.query, max(block.first, walk.bounds.first_id))


def _before(prediction_id: bytes) -> bytes:
    return (int.from_bytes(prediction_id) - 1).to_bytes(16)
