"""Scans: a window of the log as one table, at the speed of its columns, in bounded memory.

Rows come from sealed segments and from the spool alike, each once, as they stood at one moment. Segments and row groups
whose times lie outside are not read, nor are columns that were not asked for. At most one segment, or ``_SPOOL_ROWS``
rows of the spool, are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.answers import classes_of
from trimtab.errors import PredictionLogError
from trimtab.predictions.schema import BASE_FIELDS, conform, from_microseconds, merge_schemas, microseconds
from trimtab.predictions.segments import SealedSpan, in_window, open_segment
from trimtab.predictions.snapshot import Bounds, Snapshot

if TYPE_CHECKING:
    import duckdb

    from trimtab.predictions.log import PredictionLog

# More at a time are slower: their memory is then new each time.
_SPOOL_ROWS = 16_384
_BATCH_ROWS = 131_072


@contextmanager
def open_scan(
    log: PredictionLog,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None = None,
    release_id: str | None = None,
) -> Iterator[pa.RecordBatchReader]:
    """Rows with ``event_time`` in [start, end), each once, as a stream of record batches.

    The stream ends with the context: what it gives belongs to the moment at which it was opened. Meanwhile appends and
    seals go on, but the spool's file does not shrink.

    Parameters
    ----------
    log
    start, end
        Timezone-aware.
    columns
        Which columns, in this order; all by default. A feature that older or newer rows lack is null there; one that
        changed its type is read as :func:`trimtab.predictions.schema.merge_schemas` says.
    release_id
        Only rows that this release answered.

    Returns
    -------
    pyarrow.RecordBatchReader
        Rows of a segment in the order of their ids, one segment after the other, then those of the spool.

    Raises
    ------
    PredictionLogError
        If a file is damaged or gone (also while the stream is read), or no row ever had such a column.
    """
    bounds = Bounds(start=microseconds(start), end=microseconds(end))
    with log.snapshot() as snapshot:
        spans = snapshot.spans(bounds)
        schema = _schema_of(snapshot, spans, bounds, columns, log.folder)
        batches = (
            batch
            for part in _parts(snapshot, spans, bounds, schema.names, release_id)
            for batch in conform(part, schema).to_batches(_BATCH_ROWS)
        )
        yield pa.RecordBatchReader.from_batches(schema, batches)


def scan_parts(
    snapshot: Snapshot, bounds: Bounds, columns: Sequence[str] | None = None, release_id: str | None = None
) -> Iterator[pa.Table]:
    """The rows of a scan as they are kept: each part under its own schema, without the columns that it lacks."""
    return _parts(snapshot, snapshot.spans(bounds), bounds, columns, release_id)


def register(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    log: PredictionLog,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None = None,
    release_id: str | None = None,
) -> None:
    """Make a scan a table of a DuckDB connection, under that name; it replaces one that was registered before.

    Segments in a folder are read by DuckDB itself, whenever the table is queried, and only as far as the query needs.
    The rows of the spool, and of a window of which a segment is elsewhere (S3), are copied into a temporary table when
    this is called; DuckDB moves what does not fit into memory to its disk.

    Parameters
    ----------
    connection
    name
        An SQL name, unquoted.
    log, start, end, columns, release_id
        As for :func:`open_scan`.

    Raises
    ------
    PredictionLogError
        As :func:`open_scan`.
    """
    bounds = Bounds(start=microseconds(start), end=microseconds(end))
    with log.snapshot() as snapshot:
        spans = snapshot.spans(bounds)
        schema = _schema_of(snapshot, spans, bounds, columns, log.folder)
        if any(span.home.is_remote for span in spans):
            local, copied = [], _parts(snapshot, spans, bounds, schema.names, release_id)
        else:
            local, copied = spans, _parts(snapshot, [], bounds, schema.names, release_id)
        stream = (batch for part in copied for batch in conform(part, schema).to_batches())
        rows = _quoted(f"{name} rows")
        connection.register("trimtab scan", pa.RecordBatchReader.from_batches(schema, stream))
        try:
            connection.execute(f'CREATE OR REPLACE TEMP TABLE {rows} AS SELECT * FROM "trimtab scan"')  # noqa: S608
        finally:
            connection.unregister("trimtab scan")
    selects = [_select_segments(some, found, schema, bounds, release_id) for found, some in _by_schema(local)]
    selects.append(f"SELECT {', '.join(map(_quoted, schema.names))} FROM {rows}")  # noqa: S608
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {_quoted(name)} AS {' UNION ALL '.join(selects)}")


def select_columns(schema: pa.Schema, known: pa.Schema, columns: Sequence[str], folder: Path) -> pa.Schema:
    """The columns' types: as in the rows at hand, else as the log ever knew them.

    A score of several classes that no row has is one that no release gave yet: its class was added since.

    Raises
    ------
    PredictionLogError
        If no row ever had such a column.
    """
    fields = []
    for name in columns:
        source = schema if name in schema.names else known
        if name not in source.names:
            if classes_of([name]) and classes_of(known.names):
                fields.append(pa.field(name, pa.float64()))
                continue
            if len(known) > len(BASE_FIELDS) + 1:
                raise PredictionLogError(f"no row in {folder} ever had a column {name!r}; there are {known.names}")
            fields.append(pa.field(name, pa.null()))
        else:
            fields.append(source.field(name))
    return pa.schema(fields)


def _parts(
    snapshot: Snapshot, spans: list[SealedSpan], bounds: Bounds, columns: Sequence[str] | None, release_id: str | None
) -> Iterator[pa.Table]:
    for span in spans:
        part = segment_rows(span, bounds, columns, release_id)
        if len(part):
            yield part
    yield from spool_rows(snapshot, bounds, columns, release_id)


def spool_rows(
    snapshot: Snapshot, bounds: Bounds, columns: Sequence[str] | None = None, release_id: str | None = None
) -> Iterator[pa.Table]:
    """The rows of a scan that are not yet sealed, as :func:`scan_parts` gives them."""
    needed = None if columns is None else [*columns, "event_time", "release_id"]
    for rows in snapshot.stream(bounds, needed, _SPOOL_ROWS):
        rows = rows.combine_chunks()
        found = rows.filter(in_window(rows, bounds.start, bounds.end, release_id))
        if len(found):
            yield found if columns is None else found.select([name for name in columns if name in found.column_names])


def segment_rows(
    span: SealedSpan, bounds: Bounds, columns: Sequence[str] | None = None, release_id: str | None = None
) -> pa.Table:
    """The rows of a scan that one segment holds, as :func:`scan_parts` gives them."""
    with open_segment(span) as file:
        names = file.schema_arrow.names
        wanted = names if columns is None else [name for name in columns if name in names]
        first, last = microseconds(span.min_event_time), microseconds(span.max_event_time)
        is_within = bounds.start <= first and last < bounds.end and release_id is None
        needed = wanted if is_within else list(dict.fromkeys([*wanted, "event_time", "release_id"]))
        position = names.index("event_time")
        groups = [
            group for group in range(file.num_row_groups) if is_within or _overlaps(file, group, position, bounds)
        ]
        rows = file.read_row_groups(groups, columns=needed)
    if is_within:
        return rows.select(wanted)
    return rows.filter(in_window(rows, bounds.start, bounds.end, release_id)).select(wanted)


def _overlaps(file: pq.ParquetFile, group: int, position: int, bounds: Bounds) -> bool:
    statistics = file.metadata.row_group(group).column(position).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min_raw < bounds.end and statistics.max_raw >= bounds.start)


def _schema_of(
    snapshot: Snapshot, spans: list[SealedSpan], bounds: Bounds, columns: Sequence[str] | None, folder: Path
) -> pa.Schema:
    """The columns of a scan, from what is in its window; for columns that have always been what they are, at once."""
    known = snapshot.schemas()
    types = [{schema.field(name).type for schema in known if name in schema.names} for name in columns or ()]
    if columns is not None and all(len(those) == 1 for those in types):
        return select_columns(merge_schemas(known), merge_schemas(known), columns, folder)
    found = merge_schemas([*(_footer_schema(span) for span in spans), *snapshot.schemas(bounds)])
    return found if columns is None else select_columns(found, merge_schemas(known), columns, folder)


def _footer_schema(span: SealedSpan) -> pa.Schema:
    with open_segment(span) as file:
        return file.schema_arrow.remove_metadata()


def _by_schema(spans: list[SealedSpan]) -> list[tuple[pa.Schema, list[SealedSpan]]]:
    groups: list[tuple[pa.Schema, list[SealedSpan]]] = []
    for span in spans:
        schema = _footer_schema(span)
        for known, some in groups:
            if known.equals(schema):
                some.append(span)
                break
        else:
            groups.append((schema, [span]))
    return groups


_SQL_TYPES = {pa.float64(): "DOUBLE", pa.int64(): "BIGINT", pa.string(): "VARCHAR", pa.bool_(): "BOOLEAN"}


def _select_segments(
    spans: list[SealedSpan], found: pa.Schema, wanted: pa.Schema, bounds: Bounds, release_id: str | None
) -> str:
    """SQL for the rows of segments of one schema, under another."""
    columns = []
    for field in wanted:
        name = _quoted(field.name)
        if field.name in found.names and found.field(field.name).type == field.type:
            columns.append(name)
        else:
            value = name if field.name in found.names else "NULL"
            columns.append(f"CAST({value} AS {_SQL_TYPES.get(field.type, 'VARCHAR')}) AS {name}")
    files = ", ".join(_literal(str(span.path)) for span in spans)
    times = [f"TIMESTAMPTZ {_literal(from_microseconds(edge).isoformat())}" for edge in (bounds.start, bounds.end)]
    only = "" if release_id is None else f" AND release_id = {_literal(release_id)}"
    return (
        f"SELECT {', '.join(columns)} FROM read_parquet([{files}]) "  # noqa: S608
        f"WHERE event_time >= {times[0]} AND event_time < {times[1]}{only}"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
