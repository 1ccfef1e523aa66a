"""Listing predictions, a page at a time: however large the logs are, a page reads a bounded part of them.

Blocks of rows (row groups of segments, batches of the spool) are visited in the order of the ids that they may hold,
best first, until enough rows are certain to come before whatever was not visited. Blocks that cannot hold what is asked
for are passed over: by their ids and times in the spool's list, by the statistics of each row group (event time,
version, release, caller), by the index of request ids. What is left is read.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.errors import PredictionLogError
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.lookup import log_names
from trimtab.predictions.query import Query
from trimtab.predictions.request_index import RequestIndexes, hash_text
from trimtab.predictions.schema import id_text
from trimtab.predictions.segments import SealedSpan, open_segment
from trimtab.predictions.snapshot import Bounds, Snapshot
from trimtab.settings import Settings

MAX_EXAMINED = 2_000_000
"""About so many rows does a page examine at most, over all models; then it ends early, with a cursor to go on from."""

_PASSED_ROWS = 512
"""What it costs to find from an index or from statistics that there is nothing, in rows examined."""
_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the predictions that a query asks for.

    Parameters
    ----------
    predictions : list of tuple
        Model and record, as :meth:`PredictionLog.get` gives it, in the order asked for. May be fewer than the limit, or
        none, although more follow: then so much was examined that the rest is left to the next page.
    next_after : str, optional
        What to ask for ``after`` for the next page; None when nothing remains.
    """

    predictions: list[tuple[str, dict[str, Any]]]
    next_after: str | None


def list_predictions(
    predictions_dir: Path,
    query: Query,
    models: Collection[str] | None = None,
    settings: Settings | None = None,
    max_examined: int = MAX_EXAMINED,
) -> Page:
    """One page of the predictions that a query asks for, over all models or some.

    Each page sees the logs as they are at that moment: sealing between two pages loses and doubles nothing.

    Parameters
    ----------
    predictions_dir
        The folder of the logs, one folder a model. A model without predictions has an empty page.
    query
    models
        Only these, whatever the query says; all by default.
    settings
        How S3 is reached; by default as this process's environment says.
    max_examined
        See ``MAX_EXAMINED``.

    Raises
    ------
    PredictionLogError
        If a file is damaged or gone.
    """
    settings = settings or Settings.from_env()
    # Only names that are there: a model's name never leads out of the folder.
    logs = [
        PredictionLog(predictions_dir / name, settings)
        for name in log_names(predictions_dir)
        if query.model in (None, name) and (models is None or name in models)
    ]
    for _ in range(_RETRIES):
        # Retention may take a segment while it is read here; one that is gone otherwise stays so.
        with suppress(PredictionLogError):
            return _page(logs, query, max_examined)
    return _page(logs, query, max_examined)


def _page(logs: list[PredictionLog], query: Query, max_examined: int) -> Page:
    share = max_examined // max(len(logs), 1)
    found: list[_Match] = []
    settled = _INFINITE
    for log in logs:
        some, until = _visit(log, query, share, settled)
        found += some
        settled = min(settled, until)
    certain = sorted((match for match in found if match.key < settled), key=lambda match: match.key)
    page = certain[: query.limit]
    if len(page) == query.limit and (len(certain) > len(page) or settled < _INFINITE):
        cursor = _id(query, page[-1].key)
    elif settled < _INFINITE:
        cursor = _id(query, settled - 1)
    else:
        cursor = None
    return Page(_records(page), None if cursor is None else id_text(cursor))


_INFINITE = 2**128
"""A key beyond all. A key is the id as a number, negative where the newest come first: what comes first is least."""


@dataclass(frozen=True, slots=True)
class _Match:
    """A row that is asked for: where it comes in the order, and where it stands."""

    key: int
    model: str
    source: pa.Table | tuple[SealedSpan, int]
    row: int


@dataclass(slots=True)
class _Visit:
    """What a walk over one log has come to; ``cost`` is rows examined."""

    model: str
    query: Query
    bounds: Bounds
    snapshot: Snapshot
    indexes: RequestIndexes
    hashed: int | None
    matches: list[_Match] = field(default_factory=list)
    cost: int = 0


def _visit(log: PredictionLog, query: Query, budget: int, enough: int) -> tuple[list[_Match], int]:
    """The log's rows that are asked for and have keys below the second value: all of those, no others.

    Ends when that is ``enough``, there are ``query.limit`` of them, or rows beyond the budget were examined (but never
    where it began).
    """
    with log.snapshot() as snapshot:
        hashed = None if query.request_id is None else hash_text(query.request_id)
        visit = _Visit(log.folder.name, query, query.bounds(), snapshot, RequestIndexes(log.folder), hashed)
        return _walk(visit, budget, enough)


def _walk(visit: _Visit, budget: int, enough: int) -> tuple[list[_Match], int]:
    # The number keeps blocks of one key from being compared themselves.
    number = itertools.count()
    heap: list[tuple[int, int, _Block]] = []

    def add(block: _Block | None) -> None:
        if block is not None:
            heapq.heappush(heap, (_least_key(visit, block), next(number), block))

    for first, last, name in visit.snapshot.segments(visit.bounds):
        add(_Segment(first, last, name))
    add(_next_batch(visit, _batches(visit)))
    beginning = heap[0][0] if heap else 0
    while heap:
        until = heap[0][0]
        enough_found = len(visit.matches) >= visit.query.limit and visit.matches[visit.query.limit - 1].key < until
        if until >= enough or enough_found or (visit.cost >= budget and until > beginning):
            return visit.matches, until
        known = len(visit.matches)
        for block in heapq.heappop(heap)[2].open(visit):
            add(block)
        if len(visit.matches) > known:
            # Only the best can be on the page.
            visit.matches = sorted(visit.matches, key=lambda match: match.key)[: visit.query.limit + 1]
    return visit.matches, _INFINITE


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows with ids from ``first`` to ``last``, not yet looked at."""

    first: bytes
    last: bytes

    def open(self, visit: _Visit) -> Iterator[_Block | None]:
        """Look at it: note the rows that match, or say what it consists of."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Segment(_Block):
    name: str

    def open(self, visit: _Visit) -> Iterator[_Block | None]:
        groups = None if visit.hashed is None else self._holding(visit, visit.hashed)
        if groups == []:
            return
        span, manifest = visit.snapshot.segment(self.name)
        starts = manifest.starts()
        for group in range(len(starts)) if groups is None else groups:
            last = self.last if group + 1 == len(starts) else _before(starts[group + 1])
            if starts[group] <= visit.bounds.last_id and last >= visit.bounds.first_id:
                yield _RowGroup(starts[group], last, span, group)

    def _holding(self, visit: _Visit, hashed: int) -> list[int]:
        """The row groups in which the request id may stand."""
        visit.cost += _PASSED_ROWS
        groups = visit.indexes.row_groups(self.name, hashed)
        if groups is None:
            span, _ = visit.snapshot.segment(self.name)
            visit.cost += span.rows
            groups = visit.indexes.build(span, hashed)
        return groups


@dataclass(frozen=True, slots=True)
class _RowGroup(_Block):
    span: SealedSpan
    number: int

    def open(self, visit: _Visit) -> Iterator[_Block | None]:
        query = visit.query
        with open_segment(self.span) as file:
            if not _may_hold(file, self.number, query, visit.bounds):
                visit.cost += _PASSED_ROWS
                return
            times = [] if query.start is None and query.end is None else ["event_time"]
            rows = file.read_row_group(
                self.number, columns=["prediction_id", *times, *query.values()], use_threads=False
            )
        visit.cost += len(rows)
        _note(visit, rows, (self.span, self.number))
        yield from ()


@dataclass(frozen=True, slots=True)
class _Batch(_Block):
    sequence: int
    others: Iterator[tuple[bytes, bytes, int]]

    def open(self, visit: _Visit) -> Iterator[_Block | None]:
        rows = pa.Table.from_batches([visit.snapshot.batch(self.sequence)])
        visit.cost += len(rows)
        _note(visit, rows, rows)
        yield _next_batch(visit, self.others)


def _batches(visit: _Visit) -> Iterator[tuple[bytes, bytes, int]]:
    containing = (visit.query.request_id or visit.query.caller or "").encode()
    return visit.snapshot.batches(visit.bounds, visit.query.newest_first, containing)


def _next_batch(visit: _Visit, batches: Iterator[tuple[bytes, bytes, int]]) -> _Batch | None:
    """The spool's batches come in order: one at a time waits in the heap."""
    found = next(batches, None)
    return None if found is None else _Batch(*found, batches)


def _note(visit: _Visit, rows: pa.Table, source: pa.Table | tuple[SealedSpan, int]) -> None:
    """Note the rows that match, the best of them: more than a page's worth of one block are never needed."""
    places = visit.query.matches(rows)
    if isinstance(source, tuple):
        # A segment's rows are in the order of their ids: only an end of them can be on the page.
        many = visit.query.limit + 1
        places = places[-many:] if visit.query.newest_first else places[:many]
    if len(places) == 0:
        return
    ids = rows["prediction_id"].take(pa.array(places)).to_pylist()
    keyed = sorted((_key(visit.query, key), int(row)) for key, row in zip(ids, places, strict=True))
    visit.matches += [_Match(key, visit.model, source, row) for key, row in keyed[: visit.query.limit + 1]]


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


def _id(query: Query, key: int) -> bytes:
    return (-key if query.newest_first else key).to_bytes(16)


def _least_key(visit: _Visit, block: _Block) -> int:
    """Of the rows of a block that the cursor leaves."""
    if visit.query.newest_first:
        return _key(visit.query, min(block.last, visit.bounds.last_id))
    return _key(visit.query, max(block.first, visit.bounds.first_id))


def _before(prediction_id: bytes) -> bytes:
    return (int.from_bytes(prediction_id) - 1).to_bytes(16)


def _records(matches: list[_Match]) -> list[tuple[str, dict[str, Any]]]:
    """Model and record of each match; each row group is read once."""
    records: dict[int, tuple[str, dict[str, Any]]] = {}
    by_source: dict[Any, list[_Match]] = {}
    for match in matches:
        place = match.source if isinstance(match.source, tuple) else id(match.source)
        by_source.setdefault(place, []).append(match)
    for some in by_source.values():
        source = some[0].source
        if isinstance(source, tuple):
            span, group = source
            with open_segment(span) as file:
                rows = file.read_row_group(group, use_threads=False)
        else:
            rows = source
        # Of one row a slice costs less than to gather it from every column.
        taken = rows.slice(some[0].row, 1) if len(some) == 1 else rows.take(pa.array([match.row for match in some]))
        for match, record in zip(some, taken.to_pylist(), strict=True):
            records[match.key] = (match.model, {**record, "prediction_id": id_text(record["prediction_id"])})
    return [records[match.key] for match in matches]
