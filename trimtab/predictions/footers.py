"""Footers of segments, kept in memory: a segment never changes, so its footer is read once a process.

A look-up in S3 is one request then rather than three.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import pyarrow.parquet as pq

_LIMIT_BYTES = 16 * 1024 * 1024


class Footers:
    """The footers that were used last, as many as fit. Safe for threads.

    Parameters
    ----------
    limit_bytes : int
        Of what the footers take in their files; parsed they take about twice that.
    """

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._kept: OrderedDict[str, pq.FileMetaData] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str) -> pq.FileMetaData | None:
        """The footer of the segment of that digest, if it is kept."""
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
            return self._kept.get(digest)

    def put(self, digest: str, footer: pq.FileMetaData) -> None:
        """Keep a footer; those that were not used for longest make room."""
        with self._lock:
            if digest in self._kept:
                return
            self._kept[digest] = footer
            self._size_bytes += footer.serialized_size
            while self._size_bytes > self._limit_bytes and len(self._kept) > 1:
                self._size_bytes -= self._kept.popitem(last=False)[1].serialized_size


footers = Footers()
"""Those of this process, whatever log they are of: a digest names its segment."""
