"""Counting sealed segments once, many at a time; what a window's profile is then added up from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import TaskRunner

from tasks.monitoring.measure import live_bins, reference_of
from tasks.monitoring.window import Window
from trimtab.decay.reference import Reference
from trimtab.predictions import PredictionLog
from trimtab.predictions.profiles import profile_segments, unprofiled
from trimtab.predictions.segments import SealedSpan
from trimtab.settings import Settings

CHUNK_SEGMENTS = 8
"""Segments that one task counts: enough to be worth a task, few enough to share the work evenly."""


def store_profiles(
    window: Window,
    start: datetime | None,
    end: datetime | None,
    runner: TaskRunner[Any],
    on_progress: Callable[[float], None] = lambda percent: None,
) -> int:
    """Count the segments with rows in [start, end) on the reference of the window's release, where that is not done.

    Parameters
    ----------
    window
        Names the model and the release.
    start, end
        Event time, timezone-aware; from the first row and to the last by default.
    runner
        Runs a task a chunk of segments; started here, and only if there is something to count.
    on_progress
        Called after each chunk with the percentage that is done.

    Returns
    -------
    int
        How many rows were counted now.

    Raises
    ------
    PredictionLogError
        If a segment is damaged or gone; what was counted stays, and the next call goes on.
    """
    settings, reference = Settings.from_env(), reference_of(window)
    log = PredictionLog(settings.predictions_dir / window.spec.name, settings)
    spans = unprofiled(log, live_bins(window, reference.profile), start, end)
    chunks = [spans[place : place + CHUNK_SEGMENTS] for place in range(0, len(spans), CHUNK_SEGMENTS)]
    if not chunks:
        return 0
    rows = 0
    with runner:
        # A folder rather than its bins, which are large: workers read it.
        given = {"window": window, "log": log.folder, "reference": reference.folder}
        futures = [runner.submit(profile_chunk, {**given, "spans": chunk}) for chunk in chunks]
        for done, future in enumerate(futures, 1):
            rows += future.result()
            on_progress(100 * done / len(futures))
    return rows


@task(task_run_name="profile segments of {window.spec.name}", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def profile_chunk(window: Window, log: Path, spans: Sequence[SealedSpan], reference: Path) -> int:
    """Count some segments, and keep their profiles in the log's folder; returns their rows. Idempotent."""
    return profile_segments(log, spans, live_bins(window, Reference(reference).profile))
