"""How a batch gets into the log of its model."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from trimtab.decay.answers import answer_arrays
from trimtab.errors import LogBusyError, PredictionLogError
from trimtab.predictions.gaps import Gaps
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.outcomes import Outcomes
from trimtab.predictions.schema import ID, TIME, new_packed_ids
from trimtab.serving.block import Block
from trimtab.serving.protocol import Rows
from trimtab.serving.routes import Route

LARGE_BATCH_ROWS = 256
"""A batch of so many rows is always written by the thread."""
_QUICK_COMMIT_S = 0.0015
_WEIGHT_OF_LAST = 0.2
_REPEATS = 4096


class LogWriter:
    """The log and the outcomes of one model, and the one thread that writes to the log.

    A small batch is written without the thread while commits are quick: to hand it over and back costs more than that.
    As soon as the disk is slow no event loop waits for it, and for others who write to the log none ever does.
    """

    def __init__(self, folder: Path) -> None:
        self.log = PredictionLog(folder)
        self.gaps = Gaps(folder)
        self.outcomes = Outcomes(folder, self.log)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"log-{folder.name}")
        self._in_thread = 0
        self._commit_s = _QUICK_COMMIT_S

    async def write(
        self, route: Route, schema: pa.Schema, requests: Sequence[Rows], block: Block, scores: np.ndarray
    ) -> bytes:
        """Log a batch; durable on return. Returns the ids that its rows were given, 16 bytes each.

        Raises
        ------
        PredictionLogError
            If the log refuses, unless the route's ``log_policy`` is ``available``: the gap is counted then.
        """
        if block.n < LARGE_BATCH_ROWS and self._commit_s < _QUICK_COMMIT_S and not self._in_thread:
            with contextlib.suppress(LogBusyError):
                return self._write(route, schema, requests, block, scores, wait=False)
        loop = asyncio.get_running_loop()
        self._in_thread += 1
        try:
            return await loop.run_in_executor(self._thread, self._write, route, schema, requests, block, scores)
        finally:
            self._in_thread -= 1

    def close(self) -> None:
        """Wait for what is being written, and close the file."""
        self._thread.shutdown()
        self.gaps.close()
        self.log.close()
        self.outcomes.close()

    def _write(
        self,
        route: Route,
        schema: pa.Schema,
        requests: Sequence[Rows],
        block: Block,
        scores: np.ndarray,
        wait: bool = True,
    ) -> bytes:
        ids = new_packed_ids(block.n)
        event_times = [moment for rows in requests for moment in rows.event_times]
        rows = _record_batch(route, schema, requests, block, ids, event_times, scores)
        started = time.perf_counter()
        try:
            self.log.append(rows, wait)
        except PredictionLogError as error:
            if route.log_policy != "available" or (isinstance(error, LogBusyError) and not wait):
                raise
            keys = [ids[start : start + 16] for start in range(0, len(ids), 16)]
            self.gaps.count(keys, event_times, route.version, route.release_id, str(error))
        else:
            if self.gaps.pending:
                self.gaps.flush()
        finally:
            self._commit_s += (time.perf_counter() - started - self._commit_s) * _WEIGHT_OF_LAST
        return ids


def _record_batch(
    route: Route,
    schema: pa.Schema,
    requests: Sequence[Rows],
    block: Block,
    ids: bytes,
    event_times: list[int],
    scores: np.ndarray,
) -> pa.RecordBatch:
    n = block.n
    times = pa.py_buffer(np.array(event_times, np.int64))
    base = [
        pa.Array.from_buffers(ID, n, [None, pa.py_buffer(ids)]),
        _texts([rows.request_id for rows in requests], requests, n),
        _repeated(route.version, n),
        _repeated(route.release_id, n),
        pa.Array.from_buffers(TIME, n, [None, times]),
        pa.repeat(pa.scalar(time.time_ns() // 1000, pa.int64()), n).view(TIME),
        _texts([rows.caller for rows in requests], requests, n),
    ]
    said = answer_arrays(route.classes, scores).values()
    return pa.RecordBatch.from_arrays([*base, *block.arrow_columns(), *said], schema=schema)


@functools.lru_cache(maxsize=64)
def _most(text: str) -> pa.Array:
    return pa.repeat(text, _REPEATS)


def _repeated(text: str, n: int) -> pa.Array:
    return _most(text).slice(0, n) if n <= _REPEATS else pa.repeat(text, n)


def _texts(texts: list[str], requests: Sequence[Rows], n: int) -> pa.Array:
    """A text of each request for each of its rows; null where it is empty."""
    if not any(texts):
        return pa.nulls(n, pa.string())
    if len(texts) == 1:
        return pa.repeat(texts[0], n)
    if len(texts) != n:
        texts = [text for text, rows in zip(texts, requests, strict=True) for _ in range(rows.n)]
    return pa.array([text or None for text in texts], pa.string())
