"""Sealing: batches of the spool become segments, in steps that may be cut short anywhere and repeated.

The spool is told of a segment before it is put into its home (``intend``), and again when it is there
(``commit_segment``): from then on the segment stands for its batches, which are deleted at leisure. A file that was not
committed counts for nothing; the next seal withdraws the intention and takes the file away, in this order, so that its
sealer, were it alive still, cannot commit what is about to go.
"""

from __future__ import annotations

import fcntl
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.errors import PredictionLogError
from trimtab.predictions.homes import SegmentHome
from trimtab.predictions.schema import conform, merge_schemas
from trimtab.predictions.segments import write_segment
from trimtab.predictions.spool import Spool

Missing = Callable[[Sequence[bytes]], list[bytes]]
"""Those of the ids that are not on record."""


def seal_spool(spool: Spool, folder: Path, max_rows: int, missing: Missing) -> None:
    """Move what is in the spool now into segments of about so many rows. The caller holds the lock (:func:`alone`).

    Raises
    ------
    PredictionLogError
        If a home refuses, or holds predictions that the spool does not know.
    """
    _prepare(spool, missing)
    # What comes in meanwhile is left to the next call: to chase it could take for ever.
    last = spool.last_sequence()
    while _seal_next(spool, folder, last, 1, max_rows):
        pass


def seal_oldest(spool: Spool, folder: Path, rows: int, missing: Missing) -> bool:
    """Move the oldest rows, about so many, into one segment; False if there are fewer. As :func:`seal_spool` else."""
    _prepare(spool, missing)
    return _seal_next(spool, folder, spool.last_sequence(), rows, rows)


def _prepare(spool: Spool, missing: Missing) -> None:
    spool.drop_sealed()
    _remove_leftovers(spool, missing)


def _seal_next(spool: Spool, folder: Path, last: int, min_rows: int, max_rows: int) -> bool:
    """Make one segment of the oldest batches up to that sequence; False if they have fewer rows than the fewest."""
    sequences, batches = spool.unsealed(last, max_rows)
    if sum(batch.num_rows for batch in batches) < min_rows:
        return False
    parts = tables_of(batches)
    schema = merge_schemas([part.schema for part in parts])
    rows = pa.concat_tables([conform(part, schema) for part in parts])
    written = write_segment(spool.home, folder / "segment.part", rows, spool.intend)
    spool.commit_segment(sequences.start, sequences.stop - 1, *written)
    spool.drop_sealed()
    return True


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time seals or deletes; the lock goes with its process. The folder must exist.

    Raises
    ------
    PredictionLogError
        In place of what the disk or Arrow raise in the block.
    """
    try:
        with (folder / "seal.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except (pa.ArrowException, OSError) as error:
        raise PredictionLogError(f"{folder} cannot be sealed or pruned: {error}; no row is lost, repeat it") from error


def tables_of(batches: Sequence[pa.RecordBatch]) -> list[pa.Table]:
    """Batches as tables, one a run of the same schema: many small batches cost little then."""
    runs = itertools.groupby(batches, key=lambda batch: batch.schema)
    return [pa.Table.from_batches(list(run), schema).combine_chunks() for schema, run in runs]


def _remove_leftovers(spool: Spool, missing: Missing) -> None:
    """Remove what a seal left that was cut short before it counted; its rows are still in the spool."""
    spans, pruned = spool.spans(), spool.tombstones.names()
    # A seal that was cut short may have been for another home than that of today.
    for home in {spool.home, *(span.home for span in spans)}:
        known = {span.name for span in spans if span.home == home} | pruned
        for name in home.names():
            if name not in known:
                _remove_leftover(spool, home, name, missing)


def _remove_leftover(spool: Spool, home: SegmentHome, name: str, missing: Missing) -> None:
    with home.open(name) as source:
        ids = pq.read_table(source, columns=["prediction_id"])["prediction_id"].to_pylist()
    if missing(ids):
        raise PredictionLogError(
            f"{home.uri(name)} holds predictions that {spool.path} does not know: was that file put back "
            "from an older copy? Put back the newest one"
        )
    if spool.withdraw(name):
        home.delete(name)
