"""Files of outcomes: CSV, JSON lines and Parquet, read in chunks so that memory does not grow with the file.

What a cell means is settled in ``outcome_cells.py``; here, which cells there are, and in which line of the file.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.errors import OutcomeFileError

CHUNK_ROWS = 50_000
SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "json lines", ".ndjson": "json lines"}
"""Which format a file's name tells."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column of a file means what; ``by_request``: ids are the callers' own request ids, not predictions'.

    ``observed_at_column``: if it is left out, ``observed_at`` where a file has it.
    """

    id_column: str = "prediction_id"
    by_request: bool = False
    value_column: str = "value"
    observed_at_column: str | None = None
    correction_column: str | None = None

    @property
    def required(self) -> tuple[str, ...]:
        """Columns without which a file cannot be read."""
        wanted = (self.id_column, self.value_column, self.observed_at_column, self.correction_column)
        return tuple(name for name in wanted if name is not None)


@dataclass(frozen=True, slots=True)
class Chunk:
    """n rows as they stand in the file: columns of cells, and the line (from 1; of Parquet, the row) of each.

    ``observed_at`` and ``corrections`` are None where the file has no such column. ``is_text``: cells are what was
    typed, so that ``1`` is a text. ``malformed``: lines that are no row, and why. ``done``: share of the file, 0 to 1.
    """

    lines: list[int]
    keys: list[Any]
    values: list[Any] | pa.ChunkedArray
    observed_at: list[Any] | pa.ChunkedArray | None
    corrections: list[Any] | None
    is_text: bool
    malformed: list[tuple[int, str]]
    done: float


def read_chunks(file: Path, layout: Layout, chunk_rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """The rows of a file, in its order.

    Raises
    ------
    OutcomeFileError
        If the file cannot be read, is of no known format or lacks a column.
    """
    format_ = SUFFIXES.get(file.suffix.lower())
    if format_ is None:
        raise OutcomeFileError(
            f"{file} is of no format that is read; its name must end in one of {', '.join(SUFFIXES)}"
        )
    try:
        if format_ == "parquet":
            yield from _read_parquet(file, layout, chunk_rows)
            return
        with file.open("rb") as stream:
            read = read_csv if format_ == "csv" else read_json_lines
            yield from read(stream, file.stat().st_size, layout, str(file), chunk_rows)
    except FileNotFoundError as error:
        raise OutcomeFileError(f"there is no file {file}") from error
    except (OSError, pa.ArrowException) as error:
        raise OutcomeFileError(f"{file} cannot be read: {error}") from error


def read_csv(
    stream: BinaryIO, size_bytes: int, layout: Layout, name: str, chunk_rows: int = CHUNK_ROWS
) -> Iterator[Chunk]:
    """Rows of a CSV file with a header, in UTF-8.

    Raises
    ------
    OutcomeFileError
        If the header lacks a column; ``name`` is what the message calls the file.
    """
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")
    reader = csv.reader(text)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise OutcomeFileError(f"{name} has no header: {error}") from error
    columns = _columns(header, layout, name)
    places = [None if column is None else header.index(column) for column in columns]
    while True:
        start = reader.line_num
        lines, rows, malformed = _csv_rows(reader, len(header), chunk_rows)
        if reader.line_num == start:
            break
        cells = list(zip(*rows, strict=True)) or [()] * len(header)
        parts = [None if place is None else list(cells[place]) for place in places]
        yield _chunk(lines, parts, True, malformed, stream.tell() / max(size_bytes, 1))
    # The caller's stream stays open.
    text.detach()


def read_json_lines(
    stream: BinaryIO, size_bytes: int, layout: Layout, name: str, chunk_rows: int = CHUNK_ROWS
) -> Iterator[Chunk]:
    """Rows of a file with a JSON object a line; what an object lacks is null."""
    decode = msgspec.json.Decoder().decode
    numbered = enumerate(stream, 1)
    columns = _columns(None, layout, name)
    while some := list(itertools.islice(numbered, chunk_rows)):
        lines: list[int] = []
        rows: list[dict[str, Any]] = []
        malformed = []
        for number, line in some:
            if not line.strip():
                continue
            try:
                row = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                malformed.append((number, f"no JSON: {error}"))
                continue
            if isinstance(row, dict):
                lines.append(number)
                rows.append(row)
            else:
                malformed.append((number, "no JSON object"))
        parts = [None if column is None else [row.get(column) for row in rows] for column in columns]
        yield _chunk(lines, parts, False, malformed, stream.tell() / max(size_bytes, 1))


def _read_parquet(file: Path, layout: Layout, chunk_rows: int) -> Iterator[Chunk]:
    with pq.ParquetFile(file) as source:
        columns = _columns(source.schema_arrow.names, layout, str(file))
        start = 0
        wanted = [column for column in columns if column is not None]
        for batch in source.iter_batches(chunk_rows, columns=list(dict.fromkeys(wanted))):
            table = pa.Table.from_batches([batch])
            found = [None if column is None else table[column] for column in columns]
            # Values and times are quicker as they are.
            parts = [part.to_pylist() if part is not None and i in (0, 3) else part for i, part in enumerate(found)]
            lines = list(range(start + 1, start + table.num_rows + 1))
            start += table.num_rows
            yield _chunk(lines, parts, False, [], start / source.metadata.num_rows)


def _chunk(
    lines: list[int], parts: Sequence[Any], is_text: bool, malformed: list[tuple[int, str]], done: float
) -> Chunk:
    keys, values, observed_at, corrections = parts
    return Chunk(lines, keys, values, observed_at, corrections, is_text, malformed, min(done, 1.0))


def _columns(names: Sequence[str] | None, layout: Layout, file: str) -> tuple[str | None, ...]:
    """Columns of id, value, time, correction; ``names`` is None where each row names its own."""
    observed_at = layout.observed_at_column
    if names is not None:
        for wanted in layout.required:
            if names.count(wanted) != 1:
                found = "more than one column" if wanted in names else "no column"
                raise OutcomeFileError(f"{file} has {found} {wanted!r}; its columns are {list(names)}")
    if observed_at is None and (names is None or "observed_at" in names):
        observed_at = "observed_at"
    return layout.id_column, layout.value_column, observed_at, layout.correction_column


def _csv_rows(reader: Any, width: int, at_most: int) -> tuple[list[int], list[list[str]], list[tuple[int, str]]]:
    """The next rows, the line in which each ends, and the lines that are no row."""
    start = reader.line_num
    found: list[list[str]] = []
    malformed: list[tuple[int, str]] = []
    try:
        # One call for all: what was read stays in the list if the reader stumbles.
        found.extend(itertools.islice(reader, at_most))
    except csv.Error as error:
        malformed.append((reader.line_num, str(error)))
    if not malformed and reader.line_num - start == len(found) and all(len(row) == width for row in found):
        return list(range(start + 1, start + len(found) + 1)), found, []
    lines: list[int] = []
    rows: list[list[str]] = []
    line = start
    for row in found:
        line += 1 + sum(cell.count("\n") + cell.count("\r") - cell.count("\r\n") for cell in row)
        if len(row) == width:
            lines.append(line)
            rows.append(row)
        elif row:
            malformed.append((line, f"{len(row)} cells, where the header has {width}"))
    return lines, rows, malformed
