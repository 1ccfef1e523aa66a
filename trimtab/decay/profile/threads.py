"""Columns shared out among threads, each of which reads its own: numpy and Arrow work beside each other in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from trimtab.decay.profile.sources import Source, row_count

THREADED_ROWS = 50_000
"""From so many rows on a thread is worth its start."""

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
    with ThreadPoolExecutor(parts) as pool:
        found = list(pool.map(work, [columns[part::parts] for part in range(parts)]))
    return tuple(found[place % parts][place // parts] for place in range(len(columns)))


def _parts(source: Source, columns: int) -> int:
    # A DuckDB relation is of one connection, which one thread may use.
    can_share = isinstance(source, (pa.Table, Path, Sequence))
    return max(1, min(pa.cpu_count(), columns)) if can_share and row_count(source) >= THREADED_ROWS else 1
