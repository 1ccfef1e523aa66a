"""The compact form in which hours are kept: an Arrow IPC file, a row a column, without the bins.

Bins are the reference's, stored once with the model; a stored profile names them by digest. Lists are compressed by
LZ4, which is read several times faster than Zstandard and is about a quarter larger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from trimtab.decay.profile.values import Bins, ColumnProfile, Profile, first_others
from trimtab.errors import TrimtabError

FORMAT_VERSION = 2
_SCHEMA = pa.schema(
    {
        "counts": pa.list_(pa.int32()),
        "sums": pa.list_(pa.float64()),
        "ties": pa.list_(pa.int32()),
        "rows": pa.int64(),
        "nulls": pa.int64(),
        "infinities": pa.int64(),
        "minimum": pa.float64(),
        "maximum": pa.float64(),
        "total": pa.float64(),
        "squares": pa.float64(),
        "others": pa.string(),
    }
)
_FLOATS = ("sums", "total", "squares")
_ADDED = ("counts", "sums", "ties", "rows", "nulls", "infinities", "total", "squares")


def bins_digest(bins: Sequence[Bins]) -> str:
    """SHA-256 of the bins, in hex."""
    parts = [one.model_dump_json() for one in bins]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def to_bytes(found: Profile) -> bytes:
    """The compact form of a profile of format 2.

    Raises
    ------
    TrimtabError
        If a numeric column has no sums, as in format 1.
    """
    for one in found.columns:
        if one.bins.numeric and not one.sums:
            raise TrimtabError(f"the profile of {one.bins.column!r} has no sums: only format 2 is stored compactly")
    rows = [one.model_dump(exclude={"bins"}) for one in found.columns]
    columns = {
        name: [json.dumps(row[name]) if name == "others" else row[name] for row in rows] for name in _SCHEMA.names
    }
    about = {"format_version": str(FORMAT_VERSION), "bins": bins_digest(found.bins())}
    table = pa.table(columns, schema=_SCHEMA.with_metadata(about))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_bytes(data: bytes, bins: Sequence[Bins]) -> Profile:
    """The profile that was stored, on the bins of its reference."""
    return merge_stored([data], bins)


def merge_stored(stored: Iterable[bytes], bins: Sequence[Bins]) -> Profile:
    """The profile of all these stored ones together; of no rows if there are none.

    Raises
    ------
    TrimtabError
        If one is of other bins, or of a format that is not known.
    """
    digest = bins_digest(bins)
    lengths = {
        "counts": [one.size for one in bins],
        "sums": [one.size * one.numeric for one in bins],
        "ties": [one.size * one.discrete for one in bins],
    }
    added = {
        name: np.zeros(sum(lengths.get(name, [1] * len(bins))), np.float64 if name in _FLOATS else np.int64)
        for name in _ADDED
    }
    low, high = np.full(len(bins), np.inf), np.full(len(bins), -np.inf)
    others: list[dict[str, int]] = [{} for _ in bins]
    for data in stored:
        table = _opened(data, digest)
        for name, values in added.items():
            part = table.column(name)
            with np.errstate(over="ignore", invalid="ignore"):
                values += (part.flatten() if name in lengths else part).to_numpy(zero_copy_only=False)
        low = np.fmin(low, table.column("minimum").to_numpy(zero_copy_only=False))
        high = np.fmax(high, table.column("maximum").to_numpy(zero_copy_only=False))
        for position, text in enumerate(table.column("others").to_pylist()):
            if text != "{}":
                others[position] = first_others([others[position], json.loads(text)])
    return Profile(columns=tuple(_columns(bins, lengths, added, low, high, others)))


def _opened(data: bytes, digest: str) -> pa.RecordBatch:
    with pa.ipc.open_file(pa.BufferReader(data), options=pa.ipc.IpcReadOptions(use_threads=False)) as reader:
        about = {key.decode(): value.decode() for key, value in (reader.schema.metadata or {}).items()}
        if about.get("format_version") != str(FORMAT_VERSION):
            raise TrimtabError(f"a stored profile has format {about.get('format_version')}; {FORMAT_VERSION} is known")
        if about.get("bins") != digest:
            raise TrimtabError(
                f"a stored profile was counted on bins {about.get('bins', '')[:12]}, the reference's are "
                f"{digest[:12]}: only profiles on the same reference's bins can be merged"
            )
        return reader.get_batch(0)


def _columns(
    bins: Sequence[Bins],
    lengths: dict[str, list[int]],
    added: dict[str, np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    others: list[dict[str, int]],
) -> Iterable[ColumnProfile]:
    lists = {name: np.split(added[name], np.cumsum(sizes)[:-1]) for name, sizes in lengths.items()}
    for position, one in enumerate(bins):
        yield ColumnProfile(
            bins=one,
            **{name: tuple(values[position].tolist()) for name, values in lists.items()},
            **{name: added[name][position].item() for name in _ADDED if name not in lists},
            minimum=float(low[position]) if np.isfinite(low[position]) else None,
            maximum=float(high[position]) if np.isfinite(high[position]) else None,
            others=others[position],
        )
