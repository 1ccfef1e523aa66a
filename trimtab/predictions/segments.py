"""Sealed spans of the log: Parquet files ordered by prediction id, with a manifest for look-ups.

Row groups hold 4,096 uncompressed rows: small enough that one prediction is found in a millisecond or two, large enough
for scans of tens of millions of rows a second. The manifest is the first id of each row group.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trimtab.errors import PredictionLogError
from trimtab.predictions.footers import footers
from trimtab.predictions.homes import SegmentHome
from trimtab.predictions.homes_folder import file_digest, sync
from trimtab.predictions.schema import from_microseconds, id_text

ROW_GROUP_ROWS = 4096
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class SealedSpan:
    """One sealed segment: what the ledger must know of it (records.Segment), where it lives and where its times lie.

    ``min_event_time`` and ``max_event_time`` are inclusive. ``digest`` is the SHA-256 of the file, in hex.
    """

    home: SegmentHome = field(compare=False, repr=False)
    name: str
    digest: str
    rows: int
    size_bytes: int
    first_id: str
    last_id: str
    min_event_time: datetime
    max_event_time: datetime

    @property
    def uri(self) -> str:
        """The file's address."""
        return self.home.uri(self.name)

    @property
    def path(self) -> Path:
        """Where the file is, for one that is in a folder.

        Raises
        ------
        PredictionLogError
            If it is elsewhere.
        """
        if self.home.is_remote:
            raise PredictionLogError(f"segment {self.uri} is not in a folder; open it with open_segment")
        return Path(unquote(urlsplit(self.uri).path))


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where each row group of a segment begins, as the concatenated first ids."""

    first_ids: bytes

    def starts(self) -> list[bytes]:
        """The first id of each row group."""
        return [self.first_ids[i : i + _ID_BYTES] for i in range(0, len(self.first_ids), _ID_BYTES)]

    def row_groups(self, ids: Sequence[bytes]) -> list[int]:
        """The row groups in which any of these ids could stand."""
        starts = self.starts()
        found = {bisect.bisect_right(starts, prediction_id) - 1 for prediction_id in ids}
        return sorted(found - {-1})


def write_segment(
    home: SegmentHome, aside: Path, rows: pa.Table, intend: Callable[[str], None]
) -> tuple[SealedSpan, Manifest]:
    """Write rows as one durable segment. Written again after it was cut short, the same rows are the same segment.

    Parameters
    ----------
    home
        Where it is to live.
    aside
        A file to write to before it goes there; replaced, and gone afterwards.
    rows
        At least one row, under the log's schema.
    intend
        Called with the segment's name before it is put there.

    Raises
    ------
    PredictionLogError
        If the home refuses.
    OSError
        If the disk is full or refuses.
    """
    ordered = rows.take(pc.sort_indices(rows["prediction_id"].combine_chunks()))
    ids = ordered["prediction_id"]
    times = pc.min_max(pc.cast(ordered["event_time"], pa.int64()))
    first, last = ids[0].as_py(), ids[-1].as_py()
    try:
        pq.write_table(
            ordered, aside, row_group_size=ROW_GROUP_ROWS, compression="none", use_dictionary=False, store_schema=True
        )
        sync(aside)
        digest, size_bytes = file_digest(aside), aside.stat().st_size
        # The digest in the name: two segments of the same ids never contend for it.
        name = f"{first.hex()}-{last.hex()}-{digest[:16]}.parquet"
        intend(name)
        home.put(name, aside, digest)
    except Exception:
        # It would keep from the log, until the next seal, what may be the last of a full disk.
        aside.unlink(missing_ok=True)
        raise
    aside.unlink(missing_ok=True)
    span = SealedSpan(
        home=home,
        name=name,
        digest=digest,
        rows=len(ordered),
        size_bytes=size_bytes,
        first_id=id_text(first),
        last_id=id_text(last),
        min_event_time=from_microseconds(times["min"].as_py()),
        max_event_time=from_microseconds(times["max"].as_py()),
    )
    return span, Manifest(b"".join(ids[i].as_py() for i in range(0, len(ids), ROW_GROUP_ROWS)))


@contextmanager
def open_segment(span: SealedSpan) -> Iterator[pq.ParquetFile]:
    """A segment open for reading; its footer is read once a process, then kept.

    Raises
    ------
    PredictionLogError
        If the file is gone or is not what was sealed, also while it is read in the block; the message names it.
    """
    with span.home.open(span.name, span.size_bytes) as source:
        try:
            known = footers.get(span.digest)
            file = pq.ParquetFile(source, metadata=known, pre_buffer=span.home.is_remote)
            if known is None:
                footers.put(span.digest, file.metadata)
            yield file
        except (pa.ArrowException, OSError) as error:
            raise PredictionLogError(f"segment {span.uri} cannot be read ({error}); put it back from a copy") from error


def read_ids(
    span: SealedSpan, manifest: Manifest, ids: Sequence[bytes], columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of a segment's row groups in which any of these ids could stand."""
    with open_segment(span) as file:
        return file.read_row_groups(manifest.row_groups(ids), columns=columns)


def read_row(span: SealedSpan, manifest: Manifest, prediction_id: bytes) -> pa.Table:
    """The row of that id, in a table of its own; an empty one if the segment does not hold it."""
    groups = manifest.row_groups([prediction_id])
    with open_segment(span) as file:
        if span.home.is_remote:
            # One request rather than two.
            rows = file.read_row_groups(groups)
            ids = rows["prediction_id"]
        else:
            # Most logs that are asked do not hold it: their other columns are not read.
            ids = file.read_row_groups(groups, columns=["prediction_id"], use_threads=False)["prediction_id"]
            rows = None
        place = pc.index(ids, pa.scalar(prediction_id, ids.type)).as_py()
        if rows is None:
            rows = file.read_row_groups(groups if place >= 0 else [], use_threads=False)
    return rows.slice(max(place, 0), int(place >= 0))


def in_window(table: pa.Table, start: int, end: int, release_id: str | None) -> pa.ChunkedArray:
    """Which rows have an event time (microseconds) in [start, end) and, if given, are of that release."""
    times = pc.cast(table["event_time"], pa.int64())
    mask = pc.and_(pc.greater_equal(times, start), pc.less(times, end))
    return mask if release_id is None else pc.and_(mask, pc.equal(table["release_id"], release_id))
