"""Listing predictions, a page at a time: however large the logs are, a page reads a bounded part of them.

Each log is walked by itself (visiting.py); the page is made of what is certain over all of them.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from trimtab.errors import PredictionLogError
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.lookup import log_names
from trimtab.predictions.query import Query
from trimtab.predictions.schema import id_text
from trimtab.predictions.segments import open_segment
from trimtab.predictions.visiting import BEYOND, Match, id_of, visit
from trimtab.settings import Settings

MAX_EXAMINED = 2_000_000
"""About so many rows does a page examine at most, over all models; then it ends early, with a cursor to go on from."""

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
    found: list[Match] = []
    settled = BEYOND
    for log in logs:
        some, until = visit(log, query, share, settled)
        found += some
        settled = min(settled, until)
    certain = sorted((match for match in found if match.key < settled), key=lambda match: match.key)
    page = certain[: query.limit]
    if len(page) == query.limit and (len(certain) > len(page) or settled < BEYOND):
        cursor = id_of(query, page[-1].key)
    elif settled < BEYOND:
        cursor = id_of(query, settled - 1)
    else:
        cursor = None
    return Page(_records(page), None if cursor is None else id_text(cursor))


def _records(matches: list[Match]) -> list[tuple[str, dict[str, Any]]]:
    """Model and record of each match; each row group is read once."""
    records: dict[int, tuple[str, dict[str, Any]]] = {}
    by_source: dict[Any, list[Match]] = {}
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
