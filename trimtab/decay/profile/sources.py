"""Where rows come from: batches of columns, as numbers and as coded texts, whatever holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trimtab.decay.profile.values import ColumnType
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    import duckdb

Source: TypeAlias = "pa.Table | Path | Sequence[Path] | duckdb.DuckDBPyRelation"
BATCH_ROWS = 32_768
"""Few enough that what is read is still in the caches when it is counted, and its memory used again for the next."""
COLUMN_ROWS = 262_144
"""The same, where it is one column alone."""
BUFFER_BYTES = 262_144
"""Of a Parquet file, how much of a column is asked of the disk at once; else it would be the whole of a row group."""
RUN_ROWS = 131_072
"""Of a Parquet file, how many rows are asked for at once; whole row groups at least."""

Batch = tuple[Any, ...]


def row_count(source: Source) -> int:
    """Number of rows; Parquet files know it without being read."""
    if isinstance(source, pa.Table):
        return int(source.num_rows)
    if isinstance(source, Path):
        return int(pq.read_metadata(source).num_rows)
    if isinstance(source, Sequence):
        return sum(row_count(path) for path in source)
    (count,) = source.aggregate("count(*)").fetchall()[0]
    return int(count)


def batches(source: Source, columns: Mapping[str, ColumnType]) -> Iterator[Batch]:
    """The columns, in this order, some rows at a time.

    Returns
    -------
    iterator of tuple
        For each column a float64 array of shape (rows,) where NaN stands for null, if its type is numeric, else an
        Arrow dictionary array of texts.

    Raises
    ------
    TrimtabError
        If a column is not in the source, or does not hold what its type says.
    """
    for batch in _record_batches(source, columns):
        yield tuple(_converted(batch[name], name, kind) for name, kind in columns.items())


def column_batches(source: Source, columns: Mapping[str, ColumnType]) -> Iterator[tuple[int, Any]]:
    """The same, a column at a time: its place among the columns, and some of its values.

    Of a Parquet file all of a column comes before the next one, so that the caches hold what it is counted with.

    Raises
    ------
    TrimtabError
        If a column is not in the source, or does not hold what its type says.
    """
    if isinstance(source, Path):
        with _opened(source, columns) as file:
            for place, (name, kind) in enumerate(columns.items()):
                for batch in _file_batches(file, [name], COLUMN_ROWS):
                    yield place, _converted(batch[name], name, kind)
    elif isinstance(source, Sequence):
        for path in source:
            yield from column_batches(path, columns)
    else:
        for values in batches(source, columns):
            yield from enumerate(values)


def _record_batches(source: Source, columns: Mapping[str, ColumnType]) -> Iterator[Any]:
    if isinstance(source, pa.Table):
        _require(columns, source.column_names)
        yield from source.select(list(columns)).to_batches(BATCH_ROWS)
    elif isinstance(source, Path):
        with _opened(source, columns) as file:
            yield from _file_batches(file, list(columns), BATCH_ROWS)
    elif isinstance(source, Sequence):
        for path in source:
            yield from _record_batches(path, columns)
    else:
        _require(columns, source.columns)
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
        yield from source.project(quoted).to_arrow_reader(BATCH_ROWS)


@contextmanager
def _opened(path: Path, columns: Mapping[str, ColumnType]) -> Iterator[Any]:
    # Texts come with their codes from the file: they are hashed once a row group, not once a row.
    texts = [name for name, kind in columns.items() if kind == "category"]
    with pq.ParquetFile(path, read_dictionary=texts, buffer_size=BUFFER_BYTES) as file:
        _require(columns, file.schema_arrow.names)
        yield file


def _file_batches(file: Any, names: list[str], rows: int) -> Iterator[Any]:
    # What was read of all the row groups asked for stays in memory until the last is done.
    for groups in _runs(file.metadata):
        yield from file.iter_batches(rows, row_groups=groups, columns=names, use_threads=False)


def _runs(metadata: Any) -> Iterator[list[int]]:
    """Row groups that follow each other, of some `RUN_ROWS` rows together."""
    run: list[int] = []
    rows = 0
    for group in range(metadata.num_row_groups):
        run.append(group)
        rows += metadata.row_group(group).num_rows
        if rows >= RUN_ROWS:
            yield run
            run, rows = [], 0
    if run:
        yield run


def _require(columns: Mapping[str, ColumnType], found: Sequence[str]) -> None:
    if missing := [name for name in columns if name not in found]:
        raise TrimtabError(f"columns {missing} are to be profiled, and the rows have only {sorted(found)}")


def _converted(values: Any, name: str, kind: ColumnType) -> Any:
    try:
        if kind in ("number", "integer"):
            return _numbers(values)
        return _texts(values, kind)
    except pa.ArrowException as error:
        raise TrimtabError(f"column {name!r} of type {values.type} is no {kind}: {error}") from error


def _numbers(values: Any) -> np.ndarray:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not pa.types.is_float64(values.type):
        # Whole numbers beyond 2**53 lose their last digits, as in every double.
        values = pc.cast(values, pa.float64(), safe=False) if values.type != pa.string() else values.cast(pa.float64())
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def _texts(values: Any, kind: ColumnType) -> Any:
    if kind == "boolean":
        values = pc.cast(pc.cast(values, pa.bool_()), pa.string())
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    names = values.dictionary
    if names.type not in (pa.string(), pa.large_string(), pa.string_view()):
        names = _as_duckdb_says(names)
    return pa.DictionaryArray.from_arrays(values.indices, names.cast(pa.string()), safe=False)


def _as_duckdb_says(values: Any) -> Any:
    """Texts of distinct values as format 1 has them: DuckDB says '1.0' where Arrow says '1'."""
    import duckdb

    with duckdb.connect() as connection:
        connection.register("distinct_values", pa.table({"c": values}))
        return (
            connection.sql("SELECT CAST(c AS VARCHAR) AS c FROM distinct_values").to_arrow_table()["c"].combine_chunks()
        )
