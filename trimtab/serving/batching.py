"""How requests become batches, and each batch is logged before it is answered.

No timer: what arrived in one turn of the event loop, or while the batch before was under way, is the next batch: one
call of the scorer, one commit of the log, then all its answers. Where several callers share a batch, those who were
just answered are awaited for as long as each turn of the loop brings one of them, or they would for ever make two
batches in turn, each at the full price. While a large batch is committed the next is scored;
small ones go one by one, for what a batch costs is then shared by more requests. There is a task a batch, and nothing
but a callback a request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from trimtab.errors import PredictionLogError, RequestError, ServiceUnavailableError
from trimtab.predictions.schema import ID_CHARACTERS, log_schema
from trimtab.serving.draft import Draft
from trimtab.serving.log_writer import LARGE_BATCH_ROWS, LogWriter
from trimtab.serving.protocol import Answers, RouteParser, Rows
from trimtab.serving.routes import ModelLimits, Route
from trimtab.serving.scorer import Scorer, ScorerRefusedError
from trimtab.serving.tracing import batch_headers

MAX_BATCH_ROWS = 4096
_logger = logging.getLogger(__name__)


class Caller(Protocol):
    """Who waits for a request's rows; exactly one of the two is called, once."""

    received_at: float
    """Seconds on the loop's clock."""

    def answer(self, ids: bytes, scores: np.ndarray) -> None:
        """Take what the rows were given: ids as `id_characters` writes them, and scores, float64 of shape (rows,), of
        several classes (rows, classes)."""
        ...

    def refuse(self, error: BaseException) -> None: ...


class Observer(Protocol):
    """Who counts."""

    def batch(
        self,
        lane: tuple[str, str],
        requests: int,
        rows: int,
        latencies_s: Sequence[float],
        scoring_s: float,
        logging_s: float,
    ) -> None: ...


class _Waiting:
    """A request that is not yet answered."""

    __slots__ = ("caller", "done", "rows")

    def __init__(self, rows: Rows, caller: Caller) -> None:
        self.rows = rows
        self.caller = caller
        self.done = False


class Lane:
    """The requests of one route. A route switch makes a new lane: no batch is ever on two routes.

    Parameters
    ----------
    route : Route
    writer : LogWriter
        Shared by the lanes of a model.
    limits : ModelLimits
        What its callers may cost. Requests beyond the rows that may be unanswered are refused with 429.
    observer : Observer
    """

    def __init__(self, route: Route, writer: LogWriter, limits: ModelLimits, observer: Observer) -> None:
        self.route = route
        self.limits = limits
        self.scorer = Scorer(route)
        self.parser = RouteParser(route, limits.max_rows)
        self.answers = Answers(route)
        self.unanswered_rows = 0
        self._writer = writer
        self._observer = observer
        self._schema = log_schema(((feature.name, feature.type) for feature in route.features), route.classes)
        self._waiting: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._scoring = False
        self._is_crowded = False
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, rows: Rows, caller: Caller) -> None:
        """Queue a request; its caller is answered once its rows are logged, or refused with 503.

        Raises
        ------
        RequestError
            429 if too many rows wait.
        """
        most = self.limits.max_queue_rows
        if self.unanswered_rows and self.unanswered_rows + rows.n > most:
            raise RequestError(
                429,
                f"{self.unanswered_rows} rows wait for {self.route.model}, at most {most}: try again",
            )
        self._waiting.append(_Waiting(rows, caller))
        self.unanswered_rows += rows.n
        self._idle.clear()
        if not self._scoring:
            self._scoring = True
            # A task begins in the next turn of the loop: what else arrives in this one joins the batch.
            self._spawn(self._work)

    async def drain(self) -> None:
        """Return when every request that was submitted is answered."""
        await self._idle.wait()

    def abandon(self) -> None:
        """Give up what is not answered: its callers are refused, if they are still there."""
        self._refuse(self._waiting, RequestError(503, "the gateway is shutting down"))
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()

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
                if self._is_crowded:
                    await self._gathered()
                batch = self._take()
                self._is_crowded = len(batch) > 1
                try:
                    await self._score(batch)
                except BaseException as error:
                    self._refuse(batch, error)
                    raise
        finally:
            self._scoring = bool(self._waiting)
            if self._scoring:
                self._spawn(self._work)

    async def _gathered(self) -> None:
        """Return when a turn of the loop brings no further request: callers who were just answered join at once."""
        seen = 0
        while seen < len(self._waiting) < MAX_BATCH_ROWS:
            seen = len(self._waiting)
            await asyncio.sleep(0)

    def _take(self) -> list[_Waiting]:
        batch = [self._waiting.popleft()]
        rows = batch[0].rows.n
        while self._waiting and rows + self._waiting[0].rows.n <= MAX_BATCH_ROWS:
            batch.append(self._waiting.popleft())
            rows += batch[-1].rows.n
        return batch

    async def _score(self, batch: list[_Waiting]) -> None:
        requests = [waiting.rows for waiting in batch]
        started = time.perf_counter()
        try:
            draft = self._drafted(requests)
            # In the turn after the one that sends the rows: while the scorer has them.
            asyncio.get_running_loop().call_soon(draft.prepare)
            scores = await self.scorer.infer(draft.block, batch_headers(rows.trace for rows in requests))
        except Exception as error:  # noqa: BLE001 (it reaches whoever sent the request)
            down = isinstance(error, ServiceUnavailableError) and not isinstance(error, ScorerRefusedError)
            if down or len(batch) == 1:
                told = RequestError(503, str(error)) if isinstance(error, ServiceUnavailableError) else error
                self._refuse(batch, told)
                return
            # One request that cannot be scored must not fail the others.
            for alone in batch:
                await self._score([alone])
            return
        scoring_s = time.perf_counter() - started
        if draft.n < LARGE_BATCH_ROWS:
            await self._log(batch, draft, scores, scoring_s)
        else:
            self._spawn(self._log, batch, draft, scores, scoring_s)

    async def _log(self, batch: list[_Waiting], draft: Draft, scores: np.ndarray, scoring_s: float) -> None:
        started = time.perf_counter()
        try:
            await self._writer.write(self.route, draft, scores)
        except PredictionLogError as error:
            self._refuse(batch, RequestError(503, f"the prediction was not logged and is therefore not given: {error}"))
        except Exception as error:  # noqa: BLE001 (it reaches whoever sent the request)
            if len(batch) == 1:
                self._refuse(batch, error)
            # One request that cannot be logged must not fail the others: of the batch nothing was kept.
            start = 0
            for alone in batch if len(batch) > 1 else ():
                end = start + alone.rows.n
                await self._log([alone], self._drafted([alone.rows]), scores[start:end], scoring_s)
                start = end
        except BaseException as error:
            self._refuse(batch, error)
            raise
        else:
            self._answer(batch, draft.id_characters, scores)
            self._observe(batch, draft.n, scoring_s, time.perf_counter() - started)

    def _drafted(self, requests: Sequence[Rows]) -> Draft:
        return Draft(self.route, self._schema, requests)

    def _answer(self, batch: list[_Waiting], ids: bytes, scores: np.ndarray) -> None:
        start = 0
        for waiting in batch:
            end = start + waiting.rows.n
            if self._ends(waiting):
                try:
                    waiting.caller.answer(ids[start * ID_CHARACTERS : end * ID_CHARACTERS], scores[start:end])
                except Exception as error:  # noqa: BLE001 (one that cannot be told must not keep the others waiting)
                    waiting.caller.refuse(error)
            start = end

    def _observe(self, batch: list[_Waiting], rows: int, scoring_s: float, logging_s: float) -> None:
        now = asyncio.get_running_loop().time()
        latencies_s = [now - waiting.caller.received_at for waiting in batch]
        lane = (self.route.model, self.route.version)
        self._observer.batch(lane, len(batch), rows, latencies_s, scoring_s, logging_s)

    def _refuse(self, batch: Iterable[_Waiting], error: BaseException) -> None:
        for waiting in batch:
            if self._ends(waiting):
                waiting.caller.refuse(error)

    def _ends(self, waiting: _Waiting) -> bool:
        """Count a request as answered; False if it was before."""
        if waiting.done:
            return False
        waiting.done = True
        self.unanswered_rows -= waiting.rows.n
        if not self.unanswered_rows:
            self._idle.set()
        return True
