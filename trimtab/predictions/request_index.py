"""Where each request id of a segment stands: a small file in ``<log>/requests``, searched without reading the segment.

An entry is the 64-bit hash of a request id and the number of the row at which a run of it begins; runs end at the
borders of row groups, so that every row group that holds the request has an entry of its own. Hashes only lead to row
groups: whoever reads those compares the request ids themselves. The files are made from the segments and from nothing
else: one that is missing or damaged is made again by the next seal or look-up, wherever the segment lives.

Format 1, little-endian: a header of 64 bytes (``_HEADER``), then the hashes in ascending order (uint64), then their
rows (uint32). The hash is MurmurHash64A with seed 0 of the UTF-8 text. Rows without a request id have no entry.
"""

from __future__ import annotations

import math
import os
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trimtab.errors import PredictionLogError
from trimtab.predictions.homes_folder import sync
from trimtab.predictions.segments import SealedSpan, open_segment

FORMAT_VERSION = 1
_HEADER = struct.Struct("<8sIIQ32sI4x")
"""Magic, version, rows a row group, entries, SHA-256 of the segment, CRC-32 of all that follows the header."""
_MAGIC = b"trim-req"
_HASH_BYTES, _ROW_BYTES = 8, 4
_HASH_TYPE = np.dtype("<u8")
_FACTOR, _SHIFT = np.uint64(0xC6A4A7935BD1E995), np.uint64(47)
# Hashes are even: the place of one among n is known to within a few times the square root of n.
_SPREAD = 3

Hashes = npt.NDArray[np.uint64]
Read = Callable[[int, int], bytes]
"""Bytes of a file: (offset, length) -> bytes, fewer only at its end."""


def hash_texts(texts: pa.StringArray) -> Hashes:
    """MurmurHash64A of each text's UTF-8 bytes; that of a null has no meaning.

    Parameters
    ----------
    texts : pyarrow.StringArray, shape (n,)

    Returns
    -------
    ndarray of uint64, shape (n,)
    """
    if len(texts) == 0:
        return np.empty(0, np.uint64)
    _, offsets_buffer, data = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    starts, lengths = offsets[:-1], np.diff(offsets)
    # Eight zeros more, so that the last word of the last text can be read whole.
    padded = (data.to_pybytes() if data is not None else b"") + bytes(8)
    words: Hashes = np.ndarray((len(padded) - 7,), np.dtype("<u8"), padded, strides=(1,))
    state = lengths.astype(np.uint64) * _FACTOR
    whole = lengths >> 3
    places = np.arange(len(texts))
    for k in range(int(whole.max())):
        places = places[whole[places] > k]
        word = words[starts[places] + 8 * k] * _FACTOR
        word ^= word >> _SHIFT
        state[places] = (state[places] ^ word * _FACTOR) * _FACTOR
    places = np.flatnonzero(lengths & 7)
    spare = np.uint64(64) - (lengths[places].astype(np.uint64) & np.uint64(7)) * np.uint64(8)
    rest = words[starts[places] + 8 * whole[places]] << spare >> spare
    state[places] = (state[places] ^ rest) * _FACTOR
    state ^= state >> _SHIFT
    state *= _FACTOR
    state ^= state >> _SHIFT
    return state


def hash_text(text: str) -> int:
    """The hash of one text."""
    return int(hash_texts(pa.array([text], pa.string()))[0])


def build_index(request_ids: pa.ChunkedArray, row_group_rows: int, segment_digest: str) -> bytes:
    """The index of a segment, as the bytes of its file. The same segment gives the same bytes.

    Parameters
    ----------
    request_ids
        The segment's column, in the order of its rows.
    row_group_rows
        Rows in each row group but the last.
    segment_digest
        SHA-256 of the segment, in hex.
    """
    texts = pa.concat_arrays(request_ids.chunks) if request_ids.num_chunks else pa.array([], pa.string())
    hashes = hash_texts(texts)
    begins = np.ones(len(hashes), bool)
    begins[1:] = hashes[1:] != hashes[:-1]
    begins[::row_group_rows] = True
    if texts.null_count:
        present = texts.is_valid().to_numpy(zero_copy_only=False)
        begins[1:] |= ~present[:-1]
        begins &= present
    rows = np.flatnonzero(begins)
    order = np.argsort(hashes[rows], kind="stable")
    body = hashes[rows][order].astype("<u8").tobytes() + rows[order].astype("<u4").tobytes()
    digest = bytes.fromhex(segment_digest)
    return _HEADER.pack(_MAGIC, FORMAT_VERSION, row_group_rows, len(rows), digest, zlib.crc32(body)) + body


class RequestIndexes:
    """The indexes of one log's segments. Safe for threads and for many processes: a file appears whole or not at all.

    Parameters
    ----------
    folder : Path
        The log's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "requests"
        # A look-up asks hundreds of segments: joining texts costs a tenth of what joining paths does.
        self._prefix = f"{self.folder}{os.sep}"

    def row_groups(self, name: str, hashed: int) -> list[int] | None:
        """The row groups of a segment in which a request id with this hash stands; None if its index must be built."""
        try:
            handle = os.open(f"{self._prefix}{name.removesuffix('.parquet')}.index", os.O_RDONLY)
        except OSError:
            return None
        try:
            return _search(lambda offset, length: os.pread(handle, length, offset), os.fstat(handle).st_size, hashed)
        finally:
            os.close(handle)

    def build(self, span: SealedSpan, hashed: int = 0) -> list[int]:
        """Build a segment's index, keep it if the folder can be written, and search it as :meth:`row_groups` does.

        Raises
        ------
        PredictionLogError
            If the segment cannot be read.
        """
        with open_segment(span) as file:
            column = file.read(columns=["request_id"])["request_id"]
            content = build_index(column, file.metadata.row_group(0).num_rows, span.digest)
        # Who may read a log need not be allowed to write into it, and a disk may be full: then it is built each time.
        with suppress(OSError):
            self._keep(span.name, content)
        return _search(lambda offset, length: content[offset : offset + length], len(content), hashed) or []

    def catch_up(self, spans: Sequence[SealedSpan], at_most: int = 100) -> None:
        """Build what is missing, the newest first, as many as a seal may stay for; remove what is of no segment.

        A segment that cannot be read stays without one, and is named by whoever looks for something in it.
        """
        wanted = {self._path(span.name).name for span in spans}
        for path in self.folder.glob("*"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)
        missing = [span for span in reversed(spans) if not self._path(span.name).exists()]
        for span in missing[:at_most]:
            with suppress(PredictionLogError):
                self.build(span)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.removesuffix('.parquet')}.index"

    def _keep(self, name: str, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.folder / f".{name}.{os.getpid()}-{threading.get_ident()}"
        try:
            aside.write_bytes(content)
            sync(aside)
            aside.replace(self._path(name))
        finally:
            aside.unlink(missing_ok=True)


def _search(read: Read, size_bytes: int, hashed: int) -> list[int] | None:
    """The row groups that an index leads to, ascending; None if it is damaged or of another format."""
    header = read(0, _HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, version, group_rows, count, _, _ = _HEADER.unpack(header)
    if (magic, version) != (_MAGIC, FORMAT_VERSION) or size_bytes != _HEADER.size + count * (_HASH_BYTES + _ROW_BYTES):
        return None
    first, last = _place(read, count, hashed)
    if first == last:
        return []
    at = _HEADER.size + count * _HASH_BYTES + first * _ROW_BYTES
    rows = np.frombuffer(read(at, (last - first) * _ROW_BYTES), "<u4")
    return sorted({row // group_rows for row in rows.tolist()})


def _place(read: Read, count: int, hashed: int) -> tuple[int, int]:
    """The entries [first, last) that have this hash."""
    guess = hashed * count >> 64
    reach = _SPREAD * (math.isqrt(count) + 8)
    wanted = np.uint64(hashed)
    while True:
        low, high = max(guess - reach, 0), min(guess + reach, count)
        part = np.frombuffer(read(_HEADER.size + low * _HASH_BYTES, (high - low) * _HASH_BYTES), _HASH_TYPE)
        first = last = int(part.searchsorted(wanted))
        while last < len(part) and part[last] == wanted:
            last += 1
        # What lies at a border may go on beyond it.
        if (first > 0 or low == 0) and (last < len(part) or high == count):
            return low + first, low + last
        reach *= 4
