"""The prediction log of one model: every row that was answered, durable before the answer went out.

New rows are in the spool (``spool.py``), older ones in sealed segments (``segments.py``); reading sees one table.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trimtab.answers import classes_of
from trimtab.errors import PredictionLogError, PrunedPredictionError, UnknownPredictionError
from trimtab.predictions.request_index import RequestIndexes
from trimtab.predictions.scan import scan_parts, select_columns
from trimtab.predictions.schema import (
    ID,
    conform,
    id_bytes,
    id_text,
    merge_schemas,
    microseconds,
)
from trimtab.predictions.sealing import alone, seal_oldest, seal_spool, tables_of
from trimtab.predictions.segments import (
    SealedSpan,
    read_ids,
    read_row,
)
from trimtab.predictions.snapshot import Bounds, Snapshot
from trimtab.predictions.spool import Ends, Spool, View
from trimtab.predictions.tombstones import Tombstones
from trimtab.settings import Settings

SEGMENT_ROWS = 262_144
"""A segment holds about this many rows at most."""


class PredictionLog:
    """The log in one folder. Safe for threads, and for one writer beside sealers and readers in other processes.

    Parameters
    ----------
    folder : Path
        ``<predictions_dir>/<model>``; made by the first append.
    settings : Settings, optional
        Where segments go (``segments_url``) and how S3 is reached; by default as this process's environment says.
    """

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.folder = folder
        self._spool = Spool(folder, settings)

    def append(self, rows: pa.RecordBatch, wait: bool = True, ends: Ends | None = None) -> None:
        """Make rows durable; they are when this returns. Blocks for one write to disk.

        Parameters
        ----------
        rows
            Under :func:`trimtab.predictions.schema.log_schema`; ids must be new.
        wait
            Whether to wait for others who write to the log, up to half a minute.
        ends
            Of the rows, by whoever knows them already; looked for if not given.

        Raises
        ------
        LogBusyError
            If others write for that long; without ``wait`` at once, and also if the file is not yet open.
        PredictionLogError
            If a column is missing or the disk refuses; then none of the rows is kept.
        """
        self._spool.append(rows, wait, ends)

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """What the log holds at this moment, while the context lasts; it does not move while others append or seal."""
        return self._spool.snapshot()

    def read(
        self,
        start: datetime,
        end: datetime,
        columns: Sequence[str] | None = None,
        release_id: str | None = None,
    ) -> pa.Table:
        """Rows with ``event_time`` in [start, end), each once, ordered by id.

        Parameters
        ----------
        start, end
            Timezone-aware.
        columns
            Which columns, in this order; all by default. A feature that older or newer rows lack is null there.
        release_id
            Only rows that this release answered.

        Raises
        ------
        PredictionLogError
            If a file is damaged or gone, or no row ever had such a column.
        """
        bounds = Bounds(start=microseconds(start), end=microseconds(end))
        wanted = None if columns is None else list(dict.fromkeys([*columns, "prediction_id"]))
        with self.snapshot() as snapshot:
            found = list(scan_parts(snapshot, bounds, wanted, release_id))
        table = _ordered(self._as_one(found, wanted))
        return table if columns is None else table.select(list(columns))

    def count(self, start: datetime, end: datetime) -> int:
        """How many rows have an ``event_time`` in [start, end).

        Raises
        ------
        PredictionLogError
            If a file is damaged or gone.
        """
        bounds = Bounds(start=microseconds(start), end=microseconds(end))
        with self.snapshot() as snapshot:
            return sum(part.num_rows for part in scan_parts(snapshot, bounds, ["event_time"]))

    def get(self, prediction_id: str) -> dict[str, Any]:
        """One prediction: its columns by name, the id as text, times as UTC datetimes.

        Raises
        ------
        UnknownPredictionError
            If it is not on record; ``PrunedPredictionError`` if its time was up.
        """
        key = id_bytes(prediction_id)
        view = self._spool.view_ids([key])
        parts = (read_row(span, manifest, key) for span, manifest in view.segments)
        for rows in itertools.chain((pa.Table.from_batches([batch]) for batch in view.batches), parts):
            if (place := pc.index(rows["prediction_id"], pa.scalar(key, ID)).as_py()) >= 0:
                record: dict[str, Any] = rows.slice(place, 1).to_pylist()[0]
                return {**record, "prediction_id": id_text(key)}
        raise self.absence(key)

    def absence(self, prediction_id: bytes) -> UnknownPredictionError:
        """The error that says why a prediction that was not found is not there."""
        named = id_text(prediction_id)
        if (stone := self._spool.tombstones.over(prediction_id) if self._spool.exists else None) is None:
            return UnknownPredictionError(f"no prediction {named!r} is on record in {self.folder}")
        return PrunedPredictionError(
            f"prediction {named!r} was deleted on {stone.pruned_at:%Y-%m-%d} under the retention of "
            f"{stone.retention_days} days, if it was ever made: its id lies among those of segment {stone.span.name} "
            f"({stone.span.rows} predictions), which is gone; the ledger says so under {stone.pruning_id}"
        )

    def missing(self, ids: Sequence[bytes]) -> list[bytes]:
        """Those of the ids that are not on record."""
        asked = pa.array(ids, ID)
        unknown: list[bytes] = asked.filter(pc.invert(self.known(asked))).to_pylist()
        return unknown

    def known(self, ids: pa.Array) -> pa.Array:
        """Whether each of the ids (fixed-size binary, 16 bytes) is on record, as booleans."""
        ascending = pc.unique(ids.take(pc.sort_indices(ids))).to_pylist()
        parts = [rows["prediction_id"] for rows in self._holding(ascending, ["prediction_id"])] if ascending else []
        chunks = [chunk.cast(ID) for part in parts for chunk in part.chunks]
        return pc.is_in(ids, value_set=pa.concat_arrays(chunks) if chunks else pa.array([], ID))

    def seal(self) -> list[SealedSpan]:
        """Move what is in the spool into segments, while appends and reads go on. May be cut short and repeated.

        Returns
        -------
        list of SealedSpan
            Every segment that was not yet acknowledged, oldest first: those of this call, and those of an earlier one
            whose caller did not come to record them. Record each in the ledger, then :meth:`acknowledge` them.

        Raises
        ------
        PredictionLogError
            If the disk refuses; all rows stay readable.
        """
        if not self._spool.exists:
            return []
        with self.alone():
            seal_spool(self._spool, self.folder, SEGMENT_ROWS, self.missing)
            RequestIndexes(self.folder).catch_up(self._spool.spans())
        return self._spool.spans(unacknowledged_only=True)

    def seal_oldest(self, rows: int) -> bool:
        """Move the oldest rows of the spool, about so many, into one segment; as :meth:`seal`, which names it later.

        Returns
        -------
        bool
            False, and nothing was done, if there are fewer.

        Raises
        ------
        PredictionLogError
            If the disk refuses; all rows stay readable.
        """
        if not self._spool.exists:
            return False
        with self.alone():
            done = seal_oldest(self._spool, self.folder, rows, self.missing)
            RequestIndexes(self.folder).catch_up(self._spool.spans())
        return done

    def acknowledge(self, spans: Iterable[SealedSpan]) -> None:
        """Note that these segments are in the ledger: :meth:`seal` names them no more."""
        self._spool.acknowledge([span.name for span in spans])

    def spans(self) -> list[SealedSpan]:
        """Every sealed segment, oldest first."""
        return self._spool.spans()

    def verify(self) -> int:
        """Check every sealed segment against its digest; returns how many there are.

        Raises
        ------
        PredictionLogError
            At the first that is gone or was altered, naming it.
        """
        spans = self.spans()
        for span in spans:
            if (found := span.home.digest(span.name)) != span.digest:
                raise PredictionLogError(
                    f"segment {span.uri} was altered: its digest is {found}, sealed was {span.digest}"
                )
        return len(spans)

    def close(self) -> None:
        """Close the file that appends go to."""
        self._spool.close()

    def _holding(self, ids: Sequence[bytes], columns: list[str] | None) -> Iterator[pa.Table]:
        """Rows among which any of these ids (ascending) stands, if it is on record."""
        view: View = self._spool.view_ids(ids)
        for rows in tables_of(view.batches):
            yield rows if columns is None else rows.select(columns)
        for span, manifest in view.segments:
            first, last = id_bytes(span.first_id), id_bytes(span.last_id)
            if mine := ids[bisect.bisect_left(ids, first) : bisect.bisect_right(ids, last)]:
                yield read_ids(span, manifest, mine, columns)

    def _as_one(self, parts: list[pa.Table], columns: list[str] | None) -> pa.Table:
        """Parts of several schemas as one table with these columns (all: None)."""
        schema = merge_schemas([part.schema for part in parts])
        if not parts or columns is not None:
            known = merge_schemas(self._spool.schemas())
            schema = known if columns is None else select_columns(schema, known, columns, self.folder)
        return pa.concat_tables([conform(part, schema) for part in parts]) if parts else schema.empty_table()

    def classes(self) -> tuple[str, ...]:
        """The classes that predictions were made among, in the order of their places; empty for one score or none.

        It is the order of the log's own columns: outcomes are kept by the place of their class.
        """
        return tuple(dict.fromkeys(name for schema in self._spool.schemas() for name in classes_of(schema.names)))

    @property
    def exists(self) -> bool:
        """Whether anything was ever appended."""
        return self._spool.exists

    @property
    def tombstones(self) -> Tombstones:
        """What was deleted under the model's retention; the log must have been written to."""
        return self._spool.tombstones

    def alone(self) -> AbstractContextManager[None]:
        """One process at a time seals or deletes; the lock goes with its process. The folder must exist."""
        return alone(self.folder)


def _ordered(table: pa.Table) -> pa.Table:
    ids = table["prediction_id"].combine_chunks()
    return table.take(pc.sort_indices(ids)) if len(table) > 1 else table
