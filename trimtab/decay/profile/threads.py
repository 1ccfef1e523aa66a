"""Columns shared out among threads, each of which reads and counts its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from trimtab.decay.profile.sources import Source, row_count

THREADED_ROWS = 50_000
"""From so many rows on a thread is worth its start."""

PARTS_A_THREAD = 8
"""Of one file's columns: so many that no thread is long alone at the end."""
Column = TypeVar("Column")
Found = TypeVar("Found")


def by_columns(
    source: Source, columns: Sequence[Column], work: Callable[[Sequence[Column]], Sequence[Found]]
) -> tuple[Found, ...]:
    """What the work finds for each column, in their order.

    Parameters
    ----------
    source
        What the work reads.
    columns
        What it is asked for.
    work
        Gives what it finds for each of some columns, in their order; called in as many threads as Arrow has
        (``pyarrow.cpu_count``), if the rows are many. What it raises is raised.
    """
    parts = _parts(source, len(columns))
    if parts == 1:
        return tuple(work(columns))
    with ThreadPoolExecutor(min(parts, pa.cpu_count())) as pool:
        found = list(pool.map(work, [columns[part::parts] for part in range(parts)]))
    return tuple(found[place % parts][place // parts] for place in range(len(columns)))


def _parts(source: Source, columns: int) -> int:
    # A DuckDB relation is of one connection, which one thread may use.
    can_share = isinstance(source, (pa.Table, Path, Sequence))
    if not can_share or row_count(source) < THREADED_ROWS:
        return 1
    # Each part opens its files, of which there may be many.
    threads = int(pa.cpu_count())
    return max(1, min(columns, threads * PARTS_A_THREAD if isinstance(source, Path) else threads))
