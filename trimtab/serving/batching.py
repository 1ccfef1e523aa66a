"""How requests become batches, and each batch is logged before it is answered.

No timer: what arrived in one turn of the event loop, or while the scorer was busy with the batch before, is the next
batch: one call of the scorer, one commit of the log, then all its answers. While one batch is committed the next is
scored.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from trimtab.errors import PredictionLogError, RequestError, ServiceUnavailableError
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.outcomes import Outcomes
from trimtab.predictions.schema import ID, TIME, log_schema, new_prediction_ids
from trimtab.serving.protocol import Rows
from trimtab.serving.routes import Route
from trimtab.serving.scorer import Scorer, ScorerRefusedError

MAX_BATCH_ROWS = 4096
_logger = logging.getLogger(__name__)

Answer = tuple[list[bytes], list[float]]
"""Prediction ids and scores of a request's rows."""

_Waiting = tuple[Rows, "asyncio.Future[Answer]"]


class LogWriter:
    """The log and the outcomes of one model, and the one thread that writes to the log: no event loop waits for it."""

    def __init__(self, folder: Path) -> None:
        self.log = PredictionLog(folder)
        self.outcomes = Outcomes(folder, self.log)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"log-{folder.name}")

    async def write(self, route: Route, schema: pa.Schema, batch: Sequence[Rows], scores: list[float]) -> list[bytes]:
        """Log a batch; durable on return. Returns the ids that its rows were given."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._write, route, schema, batch, scores)

    def close(self) -> None:
        """Wait for what is being written, and close the file."""
        self._thread.shutdown()
        self.log.close()
        self.outcomes.close()

    def _write(self, route: Route, schema: pa.Schema, batch: Sequence[Rows], scores: list[float]) -> list[bytes]:
        ids = new_prediction_ids(len(scores))
        self.log.append(_record_batch(route, schema, batch, ids, scores))
        return ids


class Lane:
    """The requests of one route. A route switch makes a new lane: no batch is ever on two routes.

    Parameters
    ----------
    route : Route
    writer : LogWriter
        Shared by the lanes of a model.
    max_queue_rows : int
        Rows that may be unanswered; beyond, requests are refused with 429.
    """

    def __init__(self, route: Route, writer: LogWriter, max_queue_rows: int) -> None:
        self.route = route
        self.scorer = Scorer(route)
        self._writer = writer
        self._max_queue_rows = max_queue_rows
        self._schema = log_schema((feature.name, feature.type) for feature in route.features)
        self._waiting: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unanswered_rows = 0
        self._scoring = False
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, rows: Rows) -> asyncio.Future[Answer]:
        """Queue a request; the future holds its ids and scores once they are logged.

        Raises
        ------
        RequestError
            429 if too many rows wait. The future raises it with 503 when the scorer or the log fails.
        """
        if self._unanswered_rows and self._unanswered_rows + rows.n > self._max_queue_rows:
            raise RequestError(
                429,
                f"{self._unanswered_rows} rows wait for {self.route.model}, at most {self._max_queue_rows}: try again",
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((rows, future))
        self._unanswered_rows += rows.n
        self._idle.clear()
        if not self._scoring:
            self._scoring = True
            # Not at once: what else arrives in this turn of the loop joins the batch.
            loop.call_soon(self._spawn, self._work)
        return future

    async def drain(self) -> None:
        """Return when every request that was submitted is answered."""
        await self._idle.wait()

    def close(self) -> None:
        """Close the connection to the scorer."""
        self.scorer.close()

    def _spawn(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        task = asyncio.get_running_loop().create_task(work(*arguments))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("a batch of %s failed", self.route.model, exc_info=error)

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = self._take()
                try:
                    await self._score(batch)
                except BaseException as error:
                    self._fail(batch, error)
                    raise
        finally:
            self._scoring = bool(self._waiting)
            if self._scoring:
                self._spawn(self._work)

    def _take(self) -> list[_Waiting]:
        batch = [self._waiting.popleft()]
        rows = batch[0][0].n
        while self._waiting and rows + self._waiting[0][0].n <= MAX_BATCH_ROWS:
            batch.append(self._waiting.popleft())
            rows += batch[-1][0].n
        return batch

    async def _score(self, batch: list[_Waiting]) -> None:
        requests = [rows for rows, _ in batch]
        try:
            scores = await self.scorer.infer(_join_columns(requests), sum(rows.n for rows in requests))
        except ScorerRefusedError as error:
            if len(batch) == 1:
                self._fail(batch, RequestError(503, str(error)))
            # One request that the scorer does not take must not fail the others.
            for alone in batch if len(batch) > 1 else ():
                await self._score([alone])
        except ServiceUnavailableError as error:
            self._fail(batch, RequestError(503, str(error)))
        else:
            self._spawn(self._log, batch, scores)

    async def _log(self, batch: list[_Waiting], scores: list[float]) -> None:
        try:
            ids = await self._writer.write(self.route, self._schema, [rows for rows, _ in batch], scores)
        except PredictionLogError as error:
            self._fail(batch, RequestError(503, f"the prediction was not logged and is therefore not given: {error}"))
            return
        except Exception as error:  # noqa: BLE001 (it reaches whoever sent the request, by the future)
            if len(batch) == 1:
                self._fail(batch, error)
            # One request that cannot be logged must not fail the others: of the batch nothing was kept.
            start = 0
            for alone in batch if len(batch) > 1 else ():
                end = start + alone[0].n
                await self._log([alone], scores[start:end])
                start = end
            return
        except BaseException as error:
            self._fail(batch, error)
            raise
        start = 0
        for rows, future in batch:
            end = start + rows.n
            if not future.done():
                future.set_result((ids[start:end], scores[start:end]))
            self._answered(rows)
            start = end

    def _fail(self, batch: list[_Waiting], error: BaseException) -> None:
        for rows, future in batch:
            if not future.done():
                future.set_exception(error)
                self._answered(rows)

    def _answered(self, rows: Rows) -> None:
        self._unanswered_rows -= rows.n
        if not self._unanswered_rows:
            self._idle.set()


def _record_batch(
    route: Route, schema: pa.Schema, batch: Sequence[Rows], ids: list[bytes], scores: list[float]
) -> pa.RecordBatch:
    n = len(ids)
    event_times = [moment for rows in batch for moment in rows.event_times]
    base = [
        pa.array(ids, ID),
        pa.array([rows.request_id or None for rows in batch for _ in range(rows.n)], pa.string()),
        pa.repeat(route.version, n),
        pa.repeat(route.release_id, n),
        pa.array(event_times, pa.int64()).view(TIME),
        pa.repeat(pa.scalar(time.time_ns() // 1000, pa.int64()), n).view(TIME),
        pa.array([rows.caller or None for rows in batch for _ in range(rows.n)], pa.string()),
    ]
    first = len(base)
    features = [pa.array(values, schema.field(first + i).type) for i, values in enumerate(_join_columns(batch))]
    return pa.RecordBatch.from_arrays([*base, *features, pa.array(scores, pa.float64())], schema=schema)


def _join_columns(requests: Sequence[Rows]) -> list[list[Any]]:
    """The columns of several requests, one after the other."""
    if len(requests) == 1:
        return requests[0].columns
    return [list(chain.from_iterable(parts)) for parts in zip(*(rows.columns for rows in requests), strict=True)]
