"""Sealed spans of the log: Parquet files ordered by prediction id, with a manifest for look-ups.

Row groups hold 4,096 uncompressed rows: small enough that one prediction is found in a millisecond or two, large enough
for scans of tens of millions of rows a second. The manifest is the first id of each row group.
"""

from __future__ import annotations

import bisect
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trimtab.errors import PredictionLogError
from trimtab.predictions.schema import from_microseconds, id_text

ROW_GROUP_ROWS = 4096
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class SealedSpan:
    """One sealed segment: what the ledger must know of it (records.Segment), and where its times lie.

    ``min_event_time`` and ``max_event_time`` are inclusive. ``digest`` is the SHA-256 of the file, in hex.
    """

    path: Path
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
        return self.path.absolute().as_uri()


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where each row group of a segment begins, as the concatenated first ids."""

    first_ids: bytes

    def row_groups(self, ids: Sequence[bytes]) -> list[int]:
        """The row groups in which any of these ids could stand."""
        starts = [self.first_ids[i : i + _ID_BYTES] for i in range(0, len(self.first_ids), _ID_BYTES)]
        found = {bisect.bisect_right(starts, prediction_id) - 1 for prediction_id in ids}
        return sorted(found - {-1})


def write_segment(folder: Path, rows: pa.Table) -> tuple[SealedSpan, Manifest]:
    """Write rows as one durable segment; a file of that name from a seal that was cut short is replaced.

    Parameters
    ----------
    folder
        The folder of segments; made if missing.
    rows
        At least one row, under the log's schema.

    Raises
    ------
    OSError
        If the disk is full or refuses.
    """
    ordered = rows.take(pc.sort_indices(rows["prediction_id"].combine_chunks()))
    ids = ordered["prediction_id"]
    times = pc.min_max(pc.cast(ordered["event_time"], pa.int64()))
    first, last = ids[0].as_py(), ids[-1].as_py()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{first.hex()}-{last.hex()}.parquet"
    aside = path.with_suffix(".part")
    pq.write_table(
        ordered, aside, row_group_size=ROW_GROUP_ROWS, compression="none", use_dictionary=False, store_schema=True
    )
    _sync(aside)
    aside.replace(path)
    _sync(folder)
    manifest = Manifest(b"".join(ids[i].as_py() for i in range(0, len(ids), ROW_GROUP_ROWS)))
    span = SealedSpan(
        path=path,
        digest=file_digest(path),
        rows=len(ordered),
        size_bytes=path.stat().st_size,
        first_id=id_text(first),
        last_id=id_text(last),
        min_event_time=from_microseconds(times["min"].as_py()),
        max_event_time=from_microseconds(times["max"].as_py()),
    )
    return span, manifest


def open_segment(path: Path) -> pq.ParquetFile:
    """Open a segment for reading.

    Raises
    ------
    PredictionLogError
        If the file is gone or is not what was sealed; the message names it.
    """
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise PredictionLogError(
            f"segment {path} is gone; put it back from a copy: its digest is in the ledger"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise PredictionLogError(f"segment {path} cannot be read ({error}); put it back from a copy") from error


def read_segment(path: Path, start: int, end: int, columns: Sequence[str] | None, release_id: str | None) -> pa.Table:
    """Rows of a segment with event time (microseconds) in [start, end), in the order of their ids.

    Row groups whose times lie outside are not read. ``columns`` that the segment lacks are left out.

    Raises
    ------
    PredictionLogError
        If the file is gone or damaged.
    """
    with open_segment(path) as file:
        names = file.schema_arrow.names
        wanted = names if columns is None else [name for name in columns if name in names]
        needed = list(dict.fromkeys([*wanted, "event_time", "release_id"]))
        position = names.index("event_time")
        groups = [group for group in range(file.num_row_groups) if _overlaps(file, group, position, start, end)]
        try:
            table = file.read_row_groups(groups, columns=needed)
        except (pa.ArrowException, OSError) as error:
            raise PredictionLogError(f"segment {path} cannot be read ({error}); put it back from a copy") from error
    return table.filter(in_window(table, start, end, release_id)).select(wanted)


def read_ids(path: Path, manifest: Manifest, ids: Sequence[bytes], columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a segment's row groups in which any of these ids could stand."""
    with open_segment(path) as file:
        try:
            return file.read_row_groups(manifest.row_groups(ids), columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise PredictionLogError(f"segment {path} cannot be read ({error}); put it back from a copy") from error


def in_window(table: pa.Table, start: int, end: int, release_id: str | None) -> pa.ChunkedArray:
    """Which rows have an event time (microseconds) in [start, end) and, if given, are of that release."""
    times = pc.cast(table["event_time"], pa.int64())
    mask = pc.and_(pc.greater_equal(times, start), pc.less(times, end))
    return mask if release_id is None else pc.and_(mask, pc.equal(table["release_id"], release_id))


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _overlaps(file: pq.ParquetFile, group: int, position: int, start: int, end: int) -> bool:
    statistics = file.metadata.row_group(group).column(position).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min_raw < end and statistics.max_raw >= start)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
