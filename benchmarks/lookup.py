"""How fast one prediction is found among 1, 10 or 100 million, what finding it costs to keep, and to build.

A log is filled through the real segment writer, the spool's own list of segments and the real index of request ids:
20 features of random floats, ids as the gateway gives them, request ids of 16 random digits, 50 callers. It grows from
one size to the next. At each size, over random predictions: by prediction id, by request id, and pages of 100. Each is
measured with whatever the operating system keeps in memory, and once more after segments and indexes were put out of it
(``posix_fadvise``), so that they come from the disk. The command is measured too, from its start to its end.
Beside them, in the same run, DuckDB over a glob of the same files.

``--sizes 1,10,100`` (millions; 1,10 by default). 100 million take about 27 GB of disk for a while.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.figures import Figures, Table
from trimtab.errors import TrimtabError
from trimtab.predictions import Query, find_prediction, list_predictions, log_schema
from trimtab.predictions.log import SEGMENT_ROWS
from trimtab.predictions.request_index import RequestIndexes
from trimtab.predictions.schema import ID, TIME, id_text
from trimtab.predictions.segments import write_segment
from trimtab.predictions.spool import Spool
from trimtab.settings import Settings

MODEL = "loan"
SETTINGS = Settings.from_env({})
START = datetime(2024, 1, 1, tzinfo=UTC)
FEATURES = tuple((f"feature_{number:02}", "number") for number in range(20))
ROWS_A_SECOND = 200
"""How dense the predictions lie in time: 100 million are six days."""
BYTES_A_PREDICTION = 280
CALLERS = pa.array([f"branch-{number:02}" for number in range(50)])


def make_rows(number: int, n: int = SEGMENT_ROWS, rows_a_second: float = ROWS_A_SECOND) -> pa.RecordBatch:
    """The rows of segment ``number``: the same whenever it is asked for them."""
    random = np.random.default_rng(number)
    after_s = (number * SEGMENT_ROWS + np.arange(n)) / rows_a_second
    at_us = int(START.timestamp()) * 1_000_000 + np.rint(after_s * 1_000_000).astype(np.int64)
    halves = np.empty((n, 2), ">u8")
    halves[:, 0] = (at_us // 1000).astype(np.uint64) << np.uint64(16) | np.uint64(0x7000)
    halves[:, 1] = np.sort(random.integers(0, 2**61, n, np.uint64)) | np.uint64(1 << 63)
    times = pa.array(at_us).view(TIME)
    columns = {
        "prediction_id": pa.FixedSizeBinaryArray.from_buffers(ID, n, [None, pa.py_buffer(halves.tobytes())]),
        "request_id": _digits(random, n),
        "version": pa.repeat(pa.scalar("7"), n),
        "release_id": pa.repeat(pa.scalar("release-0123456789abcdef"), n),
        "event_time": times,
        "logged_at": times,
        "caller": CALLERS.take(pa.array(random.integers(0, len(CALLERS), n))),
        **{name: pa.array(random.random(n)) for name, _ in FEATURES},
        "score": pa.array(random.random(n)),
    }
    schema = log_schema(FEATURES)
    return pa.record_batch([columns[field.name] for field in schema], schema=schema)


def _digits(random: np.random.Generator, n: int) -> pa.StringArray:
    """Texts of 16 hexadecimal digits."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[random.integers(0, 16, (n, 16), np.uint8)]
    offsets = np.arange(0, 16 * (n + 1), 16, dtype=np.int32)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets.tobytes()), pa.py_buffer(digits.tobytes()))


class Filled:
    """A log that grows by whole segments, as sealing would have left it."""

    def __init__(self, predictions_dir: Path) -> None:
        self.predictions_dir = predictions_dir
        self.folder = predictions_dir / MODEL
        self.folder.mkdir(parents=True)
        self.segments = 0
        self.seconds = {"write": 0.0, "list": 0.0, "index": 0.0}
        self._spool = Spool(self.folder)
        # The first batch makes the file with its schema, and is then counted as sealed.
        self._spool.append(make_rows(0, 64))

    @property
    def rows(self) -> int:
        return self.segments * SEGMENT_ROWS

    def grow(self, to_rows: int) -> None:
        """Add segments until there are at least so many rows."""
        while self.rows < to_rows:
            table = pa.Table.from_batches([make_rows(self.segments)])
            begun = time.perf_counter()
            span, manifest = write_segment(self._spool.home, self.folder / "segment.part", table, self._spool.intend)
            written = time.perf_counter()
            self._spool.commit_segment(self.segments + 1, self.segments + 1, span, manifest)
            listed = time.perf_counter()
            RequestIndexes(self.folder).build(span)
            self.seconds["write"] += written - begun
            self.seconds["list"] += listed - written
            self.seconds["index"] += time.perf_counter() - listed
            self.segments += 1
            if self.segments % 50 == 0:
                print(f"  {self.rows / 1e6:.0f} million", file=sys.stderr, flush=True)
        self._spool.drop_sealed()

    def some(self, count: int, seed: int) -> Iterator[tuple[str, str]]:
        """Prediction id and request id of random predictions."""
        random = np.random.default_rng([seed, self.segments])
        for number in random.integers(0, self.segments, min(count, 40)):
            rows = make_rows(int(number))
            for place in random.integers(0, SEGMENT_ROWS, -(-count // min(count, 40))):
                row = int(place)
                yield id_text(rows["prediction_id"][row].as_py()), rows["request_id"][row].as_py()

    def sizes_bytes(self) -> dict[str, int]:
        """What lies on the disk, by kind."""
        kinds = {"segments": "segments/*.parquet", "index": "requests/*", "list": "spool.sqlite*"}
        return {kind: sum(path.stat().st_size for path in self.folder.glob(glob)) for kind, glob in kinds.items()}

    def put_out_of_memory(self) -> None:
        """Have the operating system forget the segments and their indexes.

        Not the spool: a process that opens and closes a database by itself drops the locks that SQLite holds on it.
        """
        for path in (*self.folder.glob("segments/*"), *self.folder.glob("requests/*")):
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def run(arguments: list[str]) -> Figures:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="make bench NAME=lookup", description=__doc__)
    parser.add_argument("--sizes", default="1,10", help="millions of predictions, ascending")
    parser.add_argument("--count", type=int, default=1000, help="look-ups of each kind")
    parser.add_argument("--folder", type=Path, help="where the log is built; it is removed afterwards")
    options = parser.parse_args(arguments)
    sizes = sorted(int(size) for size in options.sizes.split(","))
    place = options.folder or Path.cwd() / ".benchmarks"
    place.mkdir(exist_ok=True, parents=True)
    needed, free = sizes[-1] * 1_000_000 * BYTES_A_PREDICTION, shutil.disk_usage(place).free
    if needed * 1.1 > free:
        raise TrimtabError(
            f"{sizes[-1]} million predictions take about {needed / 1e9:.0f} GB; {place} has {free / 1e9:.0f} GB free: "
            "give smaller --sizes or another --folder"
        )
    print(f"building up to {sizes[-1]} million predictions, {needed / 1e9:.1f} GB, in {place}", file=sys.stderr)
    found: dict[str, dict[str, float]] = {}
    costs: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="lookup-", dir=place) as folder:
        log = Filled(Path(folder) / "predictions")
        for size in sizes:
            before, rows = dict(log.seconds), log.rows
            log.grow(size * 1_000_000)
            added = (log.rows - rows) / 1e6
            costs[f"{size}"] = {
                **{f"{kind}_s_a_million": (log.seconds[kind] - before[kind]) / added for kind in log.seconds},
                **{
                    f"{kind}_bytes_a_prediction": size_bytes / log.rows
                    for kind, size_bytes in log.sizes_bytes().items()
                },
                "segments": log.segments,
            }
            found[f"{size}"] = _measure(log, options.count)
    return _figures(found, costs, options.count)


def _measure(log: Filled, count: int) -> dict[str, float]:
    """Milliseconds, p50 and p99 of each kind of look-up."""
    folder = log.predictions_dir
    pairs = list(log.some(count, 1))
    hours = [START + timedelta(hours=float(h)) for h in np.random.default_rng(2).uniform(0, _hours(log), count)]
    kinds: dict[str, tuple[Callable[[object], object], list[object]]] = {
        "by id": (lambda key: find_prediction(folder, str(key), settings=SETTINGS), [key for key, _ in pairs]),
        "by request id": (lambda text: _one(folder, Query(request_id=str(text))), [text for _, text in pairs]),
        "newest 100": (lambda _: _page(folder, Query()), [None] * (count // 10)),
        "100 from a moment on": (
            lambda start: _page(folder, Query(start=start, newest_first=False)),  # type: ignore[arg-type]
            list(hours[: count // 10]),
        ),
        "100 of a caller in an hour": (
            lambda start: _page(
                folder,
                Query(caller="branch-17", start=start, end=start + timedelta(hours=1), newest_first=False),  # type: ignore[operator, arg-type]
            ),
            list(hours[: count // 10]),
        ),
    }
    found: dict[str, float] = {}
    for name, (look, asked) in kinds.items():
        look(asked[0])
        found |= _timed(name, look, asked)
    for name in ("by id", "by request id"):
        look, asked = kinds[name]
        few = asked[: count // 5]
        log.put_out_of_memory()
        found |= _timed(f"{name}, from disk", look, few)
    found |= _fresh(folder, [key for key, _ in pairs[:10]])
    return found | _peers(log, pairs[:10])


def _timed(name: str, look: Callable[[object], object], asked: list[object]) -> dict[str, float]:
    times_ms = []
    for each in asked:
        begun = time.perf_counter()
        look(each)
        times_ms.append(1000 * (time.perf_counter() - begun))
    return {f"{name} p50": float(np.percentile(times_ms, 50)), f"{name} p99": float(np.percentile(times_ms, 99))}


def _hours(log: Filled) -> float:
    return log.rows / ROWS_A_SECOND / 3600 - 1 / 60


def _one(folder: Path, query: Query) -> None:
    page = list_predictions(folder, query, settings=SETTINGS)
    if len(page.predictions) != 1 or page.next_after is not None:
        raise TrimtabError(f"{query} gave {page}; it must give one prediction")


def _page(folder: Path, query: Query) -> None:
    if not list_predictions(folder, query, settings=SETTINGS).predictions:
        raise TrimtabError(f"{query} gave nothing")


def _fresh(folder: Path, ids: list[str]) -> dict[str, float]:
    """The command, from its start to its end."""
    home = {**os.environ, "TRIMTAB_HOME": str(folder.parent)}
    command = str(Path(sys.executable).with_name("trimtab"))
    return _timed(
        "trimtab predictions show",
        lambda key: subprocess.run([command, "predictions", "show", key], env=home, capture_output=True, check=True),
        ids,
    )


def _peers(log: Filled, pairs: list[tuple[str, str]]) -> dict[str, float]:
    """DuckDB over the same files, its own cache of footers on."""
    glob = str(log.folder / "segments" / "*.parquet")
    found: dict[str, float] = {}
    with duckdb.connect() as connection:
        connection.execute("SET enable_object_cache = true; SET parquet_metadata_cache = true")

        def by_id(key: object) -> None:
            value = bytes.fromhex(str(key).replace("-", ""))
            rows = connection.execute(f"SELECT * FROM '{glob}' WHERE prediction_id = ?", [value]).fetchall()
            assert len(rows) == 1

        def by_request(text: object) -> None:
            assert len(connection.execute(f"SELECT * FROM '{glob}' WHERE request_id = ?", [text]).fetchall()) == 1

        by_id(pairs[0][0])
        found |= _timed("DuckDB by id", by_id, [key for key, _ in pairs])
        found |= _timed("DuckDB by request id", by_request, [text for _, text in pairs[:3]])
    return found


def _figures(found: dict[str, dict[str, float]], costs: dict[str, dict[str, float]], count: int) -> Figures:
    sizes = list(found)
    names = [name.removesuffix(" p50") for name in found[sizes[0]] if name.endswith(" p50")]
    speed = Table(
        "look-up in milliseconds: p50 / p99",
        ("", *(f"{size} million" for size in sizes)),
        tuple(
            (name, *(f"{found[size][f'{name} p50']:.1f} / {found[size][f'{name} p99']:.1f}" for size in sizes))
            for name in names
        ),
    )
    kept = Table(
        "what it costs",
        ("", *(f"{size} million" for size in sizes)),
        tuple((name.replace("_", " "), *(f"{costs[size][name]:.2f}" for size in sizes)) for name in costs[sizes[0]]),
    )
    largest = found[sizes[-1]]
    notes = (
        f"{count} look-ups a kind (a tenth for pages, a fifth from disk, 10 for DuckDB and for the command, 3 for "
        "DuckDB by request id). A caller's predictions are found by reading the caller of all in the window; all else "
        "by index, manifest or statistics.",
        f"by id at {sizes[-1]} million: p99 {largest['by id p99']:.1f} ms, from disk "
        f"{largest['by id, from disk p99']:.1f} ms (aim: under 10)",
    )
    return Figures(
        (speed, kept),
        {"milliseconds": found, "costs": costs},
        f"DuckDB's p50 by id over ours, {sizes[-1]} million",
        largest["DuckDB by id p50"] / largest["by id p50"],
        notes,
    )
