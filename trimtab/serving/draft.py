"""What a batch adds to the log, put together while the scorer has its rows."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Sequence
from itertools import chain

import numpy as np
import pyarrow as pa

from trimtab.decay.answers import answer_arrays
from trimtab.predictions.schema import ID, TIME, id_characters, new_packed_ids
from trimtab.predictions.spool import Ends
from trimtab.serving.block import Block
from trimtab.serving.protocol import Rows
from trimtab.serving.routes import Route

_REPEATS = 4096


class Draft:
    """The log's rows of a batch as far as they are known before it is scored.

    Parameters
    ----------
    route : Route
    schema : pa.Schema
        Of the log.
    requests : sequence of Rows

    Attributes
    ----------
    block : Block
        The features of these requests.
    n : int
    """

    def __init__(self, route: Route, schema: pa.Schema, requests: Sequence[Rows]) -> None:
        self.block = Block(route, requests)
        self.n = self.block.n
        self._route = route
        self._schema = schema
        self._requests = requests

    def prepare(self) -> None:
        """Put together what does not wait for the scores. What fails here is told when the rows are written."""
        with contextlib.suppress(Exception):
            _ = self.columns, self.id_characters

    @functools.cached_property
    def ids(self) -> bytes:
        """New ones, 16 bytes a row."""
        return new_packed_ids(self.n)

    @functools.cached_property
    def id_characters(self) -> bytes:
        """The ids as text."""
        return id_characters(self.ids)

    @functools.cached_property
    def event_times(self) -> np.ndarray:
        """Of each row, in microseconds since 1970: int64."""
        moments = [rows.event_times for rows in self._requests]
        return np.array(moments[0] if len(moments) == 1 else list(chain.from_iterable(moments)), np.int64)

    @functools.cached_property
    def columns(self) -> tuple[list[pa.Array], list[pa.Array]]:
        """Those before the time of logging, and those after it, up to the answer."""
        n, requests = self.n, self._requests
        before = [
            pa.Array.from_buffers(ID, n, [None, pa.py_buffer(self.ids)]),
            _texts([rows.request_id for rows in requests], requests, n),
            _repeated(self._route.version, n),
            _repeated(self._route.release_id, n),
            pa.Array.from_buffers(TIME, n, [None, pa.py_buffer(self.event_times)]),
        ]
        return before, [_texts([rows.caller for rows in requests], requests, n), *self.block.arrow_columns()]

    @property
    def ends(self) -> Ends:
        """Of the rows; ids ascend."""
        return Ends(self.ids[:16], self.ids[-16:], int(self.event_times.min()), int(self.event_times.max()))

    def rows(self, scores: np.ndarray) -> pa.RecordBatch:
        """The rows with their scores, logged now."""
        before, after = self.columns
        now = np.full(self.n, time.time_ns() // 1000, np.int64)
        columns = [
            *before,
            pa.Array.from_buffers(TIME, self.n, [None, pa.py_buffer(now)]),
            *after,
            *answer_arrays(self._route.classes, scores).values(),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


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
