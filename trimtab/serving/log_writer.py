"""How a batch gets into the log of its model."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from trimtab.errors import LogBusyError, PredictionLogError
from trimtab.predictions.gaps import Gaps
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.outcomes import Outcomes
from trimtab.serving.draft import Draft
from trimtab.serving.routes import Route

LARGE_BATCH_ROWS = 256
"""A batch of so many rows is always written by the thread."""
_QUICK_COMMIT_S = 0.0015
_WEIGHT_OF_LAST = 0.2


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

    async def write(self, route: Route, draft: Draft, scores: np.ndarray) -> None:
        """Log a batch; durable on return.

        Raises
        ------
        PredictionLogError
            If the log refuses, unless the route's ``log_policy`` is ``available``: the gap is counted then.
        """
        if draft.n < LARGE_BATCH_ROWS and self._commit_s < _QUICK_COMMIT_S and not self._in_thread:
            with contextlib.suppress(LogBusyError):
                self._write(route, draft, scores, wait=False)
                return
        loop = asyncio.get_running_loop()
        self._in_thread += 1
        try:
            await loop.run_in_executor(self._thread, self._write, route, draft, scores)
        finally:
            self._in_thread -= 1

    def close(self) -> None:
        """Wait for what is being written, and close the file."""
        self._thread.shutdown()
        self.gaps.close()
        self.log.close()
        self.outcomes.close()

    def _write(self, route: Route, draft: Draft, scores: np.ndarray, wait: bool = True) -> None:
        rows = draft.rows(scores)
        started = time.perf_counter()
        try:
            self.log.append(rows, wait, draft.ends)
        except PredictionLogError as error:
            if route.log_policy != "available" or (isinstance(error, LogBusyError) and not wait):
                raise
            keys = [draft.ids[start : start + 16] for start in range(0, len(draft.ids), 16)]
            self.gaps.count(keys, draft.event_times.tolist(), route.version, route.release_id, str(error))
        else:
            if self.gaps.pending:
                self.gaps.flush()
        finally:
            self._commit_s += (time.perf_counter() - started - self._commit_s) * _WEIGHT_OF_LAST
