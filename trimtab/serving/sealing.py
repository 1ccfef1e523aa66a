"""Sealing as the spool grows: what is not yet columnar stays small, however seldom `watch` comes.

Each minute, the log of every model that serves is looked at. Of one with enough unsealed rows a segment is sealed by a
process of its own, one at a time; after each it rests nineteen times as long as that took. So sealing takes a twentieth
of a core and the memory of a small segment at most; what it leaves is sealed when the load is less, or by `watch`. Only
where very many rows wait the rests become shorter, so that a log that is always under load is sealed too. The segments
wait to be acknowledged: `watch` states them in the ledger, as it does its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from trimtab.errors import PredictionLogError
from trimtab.predictions.backlog import BacklogReader
from trimtab.settings import Settings

SEAL_ROWS = 65_536
"""Rows of a segment: fewer would make more files than look-ups like, more would take more memory."""
INTERVAL_S = 60.0
_REST = 19
"""Under heavy load sealing would otherwise go on without a pause, and take what answers need."""
_PATIENT_ROWS = 256 * SEAL_ROWS
"""If more wait, the rests become shorter in proportion."""
_SHOWN = 500
_logger = logging.getLogger(__name__)


class Sealing:
    """Seals the logs of a gateway's models, until it is stopped. One event loop.

    Parameters
    ----------
    settings : Settings
    models : callable
        Those that serve now.
    rows : int
    interval_s : float
    """

    def __init__(
        self,
        settings: Settings,
        models: Callable[[], Iterable[str]],
        rows: int = SEAL_ROWS,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._settings = settings
        self._models = models
        self._rows = rows
        self._interval_s = interval_s
        self._backlogs: dict[Path, BacklogReader] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look at the logs from now on, first after an interval."""
        self._task = asyncio.get_running_loop().create_task(self._go_on())

    async def stop(self) -> None:
        """End, also a seal that is under way: it may be cut short anywhere, and the next goes on."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            for model in list(self._models()):
                folder = self._settings.predictions_dir / model
                try:
                    await self._look_at(folder)
                except (PredictionLogError, OSError) as error:
                    # Nothing is lost: its rows stay in the spool, and it is tried again.
                    _logger.error("the log is not sealed: %s", error, extra={"model": model})

    async def _look_at(self, folder: Path) -> None:
        backlog, loop = self._backlogs.setdefault(folder, BacklogReader(folder)), asyncio.get_running_loop()
        while (waiting := (await asyncio.to_thread(backlog.read)).rows) >= self._rows:
            began = loop.time()
            await self._seal(folder)
            await asyncio.sleep(rest_s(loop.time() - began, waiting))

    async def _seal(self, folder: Path) -> None:
        command = [sys.executable, "-m", "trimtab.predictions.sealer", str(folder), str(self._rows)]
        sealer = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **self._settings.as_env()}, stderr=asyncio.subprocess.PIPE
        )
        try:
            _, said = await sealer.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                sealer.kill()
            await sealer.wait()
            raise
        if sealer.returncode:
            words = said.decode(errors="replace").strip()[-_SHOWN:]
            raise PredictionLogError(f"its sealer ended with {sealer.returncode}: {words}")


def rest_s(took_s: float, waiting_rows: int) -> float:
    """Seconds to rest after a seal that took so long, where so many rows waited."""
    return _REST * took_s * min(1.0, _PATIENT_ROWS / waiting_rows)
