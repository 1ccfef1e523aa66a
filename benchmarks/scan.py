"""How fast a day of predictions reaches Arrow and DuckDB, against one plain Parquet file of the same rows.

Two days of predictions (20 features of random floats) in four logs: all sealed; all in a spool that was never sealed,
in batches of 64 as micro-batches leave them; half of each; and as a gateway leaves them that seals as its spool grows
(serving/sealing.py), at its worst: the log ends where the window ends, and the newest 65,536 predictions of the window
are in the spool, just before they are sealed. The window is the day in the middle. Of it, three columns and all
columns go to Arrow as a stream (each batch is counted and dropped), and into an aggregate of DuckDB. Beside them, in
the same run, pyarrow and DuckDB read that day from one plain Parquet file, uncompressed, in row groups of 131,072, that
holds nothing else. Best of ``--repeats``; the spool's rows are read anew each time, its registration in DuckDB is part
of the time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import Figures, Table
from benchmarks.lookup import FEATURES, SEGMENT_ROWS, START, make_rows
from trimtab.predictions import PredictionLog, open_scan, register
from trimtab.serving.sealing import SEAL_ROWS

BATCH_ROWS = 64
WINDOW = (START + timedelta(hours=12), START + timedelta(hours=36))
COLUMNS = {"3 columns": ["score", "feature_00", "version"], "all columns": None}
_SUMS = ", ".join(f"sum({name})" for name, _ in FEATURES)
QUERIES = {
    "3 columns": "SELECT version, avg(score), avg(feature_00), count(*) FROM {} GROUP BY version",
    "all columns": (
        f"SELECT version, release_id, caller, {_SUMS}, avg(score), max(event_time), max(logged_at), "
        "max(request_id), max(prediction_id) FROM {} GROUP BY ALL"
    ),
}


def run(arguments: list[str]) -> Figures:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="make bench NAME=scan", description=__doc__)
    parser.add_argument("--segments", type=int, default=8, help="predictions, in units of 262,144 (two days' worth)")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    place = Path.cwd() / ".benchmarks"
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scan-", dir=place) as name:
        folder = Path(name)
        rows_a_second = options.segments * SEGMENT_ROWS / (2 * 86_400)
        batches = [make_rows(number, rows_a_second=rows_a_second) for number in range(options.segments)]
        plain = _plain_file(folder / "plain.parquet", batches)
        rows = pq.read_metadata(plain).num_rows
        seconds = {
            "a plain Parquet file": _plain(plain, options.repeats),
            "segments": _log(folder / "segments", batches, options.segments, rows, options.repeats),
            "spool": _log(folder / "spool", batches, 0, rows, options.repeats),
            "half and half": _log(folder / "half", batches, options.segments // 2, rows, options.repeats),
            "as a gateway seals": _scans(_grown(folder / "grown", batches), rows, options.repeats),
        }
    return _figures(seconds, rows)


def _plain_file(path: Path, batches: list[pa.RecordBatch]) -> Path:
    table = pa.Table.from_batches(batches)
    start, end = (pa.scalar(edge, table.schema.field("event_time").type) for edge in WINDOW)
    times = table["event_time"]
    inside = table.filter(pa.compute.and_(pa.compute.greater_equal(times, start), pa.compute.less(times, end)))
    pq.write_table(inside, path, row_group_size=131_072, compression="none", use_dictionary=False)
    return path


def _plain(path: Path, repeats: int) -> dict[str, float]:
    found = {}
    for what, columns in COLUMNS.items():
        found[f"{what} to Arrow"] = _best(lambda columns=columns: pq.read_table(path, columns=columns), repeats)
        with duckdb.connect() as connection:
            query = QUERIES[what].format(f"'{path}'")
            found[f"{what} to DuckDB"] = _best(lambda query=query: connection.sql(query).fetchall(), repeats)
    return found


def _log(folder: Path, batches: list[pa.RecordBatch], sealed: int, rows: int, repeats: int) -> dict[str, float]:
    print(f"writing {folder.name}", file=sys.stderr)
    log = PredictionLog(folder)
    for number, batch in enumerate(batches):
        if number < sealed:
            log.append(batch)
            log.seal()
        else:
            for start in range(0, len(batch), BATCH_ROWS):
                log.append(batch.slice(start, BATCH_ROWS))
    return _scans(log, rows, repeats)


def _grown(folder: Path, batches: list[pa.RecordBatch]) -> PredictionLog:
    """A log that was sealed as it grew, but for the newest rows of the window, after which there are none."""
    print(f"writing {folder.name}", file=sys.stderr)
    table = pa.Table.from_batches(batches)
    end = pa.scalar(WINDOW[1], table.schema.field("event_time").type)
    (kept,) = table.filter(pa.compute.less(table["event_time"], end)).combine_chunks().to_batches()
    log = PredictionLog(folder)
    for start in range(0, len(kept), BATCH_ROWS):
        log.append(kept.slice(start, BATCH_ROWS))
        done = start + BATCH_ROWS
        if done % SEAL_ROWS == 0 and len(kept) - done >= SEAL_ROWS:
            log.seal_oldest(SEAL_ROWS)
    return log


def _scans(log: PredictionLog, rows: int, repeats: int) -> dict[str, float]:
    found = {}
    for what, columns in COLUMNS.items():

        def to_arrow(columns: list[str] | None = columns) -> None:
            with open_scan(log, *WINDOW, columns) as reader:
                counted = sum(len(batch) for batch in reader)
            assert counted == rows

        def to_duckdb(columns: list[str] | None = columns, query: str = QUERIES[what].format("predictions")) -> None:
            with duckdb.connect() as connection:
                register(connection, "predictions", log, *WINDOW, columns)
                connection.sql(query).fetchall()

        found[f"{what} to Arrow"] = _best(to_arrow, repeats)
        found[f"{what} to DuckDB"] = _best(to_duckdb, repeats)
    log.close()
    return found


def _best(work: Callable[[], object], repeats: int) -> float:
    times_s = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - begun)
    return min(times_s)


def _figures(seconds: dict[str, dict[str, float]], rows: int) -> Figures:
    names = list(seconds["segments"])
    speed = {where: {name: rows / taken for name, taken in found.items()} for where, found in seconds.items()}
    plain = speed["a plain Parquet file"]
    table = Table(
        f"a day of {rows / 1e6:.2f} million predictions, million rows a second (share of the plain file's)",
        ("", *(name.replace(" columns to ", ", ") for name in names)),
        tuple(
            (where, *(f"{found[name] / 1e6:.1f} ({found[name] / plain[name]:.2f})" for name in names))
            for where, found in speed.items()
        ),
    )
    return Figures(
        (table,),
        {"rows": rows, "rows_per_s": speed},
        "segments to Arrow, 3 columns, over a plain Parquet file",
        speed["segments"]["3 columns to Arrow"] / plain["3 columns to Arrow"],
    )
