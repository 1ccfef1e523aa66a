"""Where the profiles of sealed segments are kept: ``<log>/profiles/<digest of the bins>/<segment>.arrow``.

They are made from the segments and from nothing else: one that is missing or damaged is made again, wherever the
segment lives. As they are found by what they were counted on (the segment by its name and digest, the reference's bins
by theirs), none can be out of date.

Beside them a day's sum, ``days/<day>-<segments>.arrow``, spares a window the reading of its hours. It is found by all
the segments with rows of that day: with one more, or one less, it is made again.

Format 1: an Arrow IPC file of one batch, a row a piece, then its CRC-32 in 4 bytes, little-endian.
"""

from __future__ import annotations

import hashlib
import shutil
import zlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pyarrow as pa

from trimtab.decay.profile import Bins, bins_digest
from trimtab.decay.profile.stored import FORMAT_VERSION as PROFILE_FORMAT
from trimtab.predictions.segments import SealedSpan

FORMAT_VERSION = 1
BINS_KEPT = 8
"""References whose profiles are kept, by last use: what serves, what served before, what may serve next."""

_CHECKSUM_BYTES = 4
# An empty file that is as old as the last use: what is removed beside it changes the time of the folder.
_USED = "used"
_DAYS = "days"
_DAY_FILES = f"*/{_DAYS}/[0-9]*.arrow"
_SCHEMA = pa.schema({"start": pa.int64(), "end": pa.int64(), "release_id": pa.string(), "body": pa.binary()})


class Piece(NamedTuple):
    """The profile of a segment's rows with an event time (microseconds) in [start, end).

    Of the features of all of them where ``release_id`` is None, else of the scores of that release. ``body`` is what
    :func:`trimtab.decay.profile.to_bytes` makes, as bytes or an Arrow buffer.
    """

    start: int
    end: int
    release_id: str | None
    body: Any


class ProfileFiles:
    """The stored profiles of one log's segments on a reference's bins. Safe for threads and for many processes: a file
    appears whole or not at all.

    Parameters
    ----------
    folder : Path
        The log's folder.
    bins : sequence of Bins
    """

    def __init__(self, folder: Path, bins: Sequence[Bins]) -> None:
        self._digest = bins_digest(bins)
        self._folder = _root(folder) / self._digest

    def has(self, span: SealedSpan) -> bool:
        """Whether a segment's profiles are there; they may be damaged."""
        return self._path(span).exists()

    def read(self, span: SealedSpan) -> list[Piece] | None:
        """The pieces of a segment; None if they are to be made (again)."""
        return self._read(self._path(span), span.digest)

    def keep(self, span: SealedSpan, pieces: Sequence[Piece]) -> None:
        """Keep a segment's pieces, if the folder can be written: who may read a log need not be allowed to write into
        it, and a disk may be full; then they are made each time."""
        self._keep(self._path(span), span.digest, pieces)

    def read_day(self, day: date, spans: Sequence[SealedSpan]) -> list[Piece] | None:
        """The sum of a day (UTC), of which these are all the segments; None if it is to be made (again)."""
        return self._read(self._day_path(day, spans), _digest(spans))

    def keep_day(self, day: date, spans: Sequence[SealedSpan], pieces: Sequence[Piece]) -> None:
        """Keep a day's sum in the place of any older one, if the folder can be written."""
        path = self._day_path(day, spans)
        self._keep(path, _digest(spans), pieces)
        with suppress(OSError):
            for other in path.parent.glob(f"{day.isoformat()}-*.arrow"):
                if other != path:
                    other.unlink(missing_ok=True)

    def note_use(self) -> None:
        """Let these profiles be the last to go (:func:`sweep`)."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / _USED).touch()

    def _read(self, path: Path, digest: str) -> list[Piece] | None:
        try:
            content = pa.py_buffer(path.read_bytes())
        except OSError:
            return None
        packed = content.slice(0, max(0, content.size - _CHECKSUM_BYTES))
        if content.slice(packed.size).to_pybytes() != _checksum(packed):
            return None
        with pa.ipc.open_file(pa.BufferReader(packed)) as reader:
            if reader.schema.metadata != self._about(digest):
                return None
            batch = reader.get_batch(0)
        start, end, release_id = (batch.column(place).to_pylist() for place in range(3))
        bodies = (value.as_buffer() for value in batch.column(3))
        return [Piece(*each) for each in zip(start, end, release_id, bodies, strict=True)]

    def _keep(self, path: Path, digest: str, pieces: Sequence[Piece]) -> None:
        schema = _SCHEMA.with_metadata(self._about(digest))
        columns = zip(schema.types, zip(*pieces, strict=True), strict=True)
        batch = pa.record_batch([pa.array(values, kind) for kind, values in columns], schema=schema)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, schema) as writer:
            writer.write_batch(batch)
        packed = sink.getvalue()
        aside = path.with_name(f".{uuid4().hex}.arrow")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                # Not brought to the disk at once: what a loss of power damages, the checksum tells.
                aside.write_bytes(b"".join([packed, _checksum(packed)]))
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)

    def _path(self, span: SealedSpan) -> Path:
        return self._folder / _file_name(span)

    def _day_path(self, day: date, spans: Sequence[SealedSpan]) -> Path:
        return self._folder / _DAYS / _day_name(day, spans)

    def _about(self, digest: str) -> dict[bytes, bytes]:
        stated = (FORMAT_VERSION, PROFILE_FORMAT, digest, self._digest)
        return {
            name: str(value).encode()
            for name, value in zip((b"format_version", b"profile_format", b"segment", b"bins"), stated, strict=True)
        }


def forget(folder: Path, span: SealedSpan) -> None:
    """Remove all that is kept of a segment in that log's folder, on whatever bins."""
    for path in _root(folder).glob(f"*/{_file_name(span)}"):
        path.unlink(missing_ok=True)
    for path in _root(folder).glob(_DAY_FILES):
        if _touches(span, _day_of(path)):
            path.unlink(missing_ok=True)


def sweep(folder: Path, spans: Sequence[SealedSpan]) -> None:
    """Remove what is of none of these segments, the days that are not of all of theirs, what was cut short, and the
    profiles on bins that were not used for longest (`BINS_KEPT` stay)."""
    wanted = {_file_name(span) for span in spans}
    by_use = sorted(_root(folder).glob(f"*/{_USED}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for unused in by_use[BINS_KEPT:]:
        shutil.rmtree(unused.parent, ignore_errors=True)
    for path in _root(folder).glob("*/*.arrow"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)
    for path in _root(folder).glob(f"*/{_DAYS}/.*"):
        path.unlink(missing_ok=True)
    paths = list(_root(folder).glob(_DAY_FILES))
    names = {day: _day_name(day, [span for span in spans if _touches(span, day)]) for day in map(_day_of, paths)}
    for path in paths:
        if path.name != names[_day_of(path)]:
            path.unlink(missing_ok=True)


def _root(folder: Path) -> Path:
    return folder / "profiles"


def _file_name(span: SealedSpan) -> str:
    return f"{span.name.removesuffix('.parquet')}.arrow"


def _touches(span: SealedSpan, day: date) -> bool:
    return span.min_event_time.date() <= day <= span.max_event_time.date()


def _digest(spans: Sequence[SealedSpan]) -> str:
    """SHA-256 of which segments these are, in hex."""
    return hashlib.sha256("\n".join(sorted(f"{span.name} {span.digest}" for span in spans)).encode()).hexdigest()


def _day_name(day: date, spans: Sequence[SealedSpan]) -> str:
    return f"{day.isoformat()}-{_digest(spans)[:16]}.arrow"


def _day_of(path: Path) -> date:
    return date.fromisoformat(path.name[:10])


def _checksum(packed: Any) -> bytes:
    return zlib.crc32(packed).to_bytes(_CHECKSUM_BYTES, "little")
