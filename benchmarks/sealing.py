"""How long an append waits while another process seals: ``make bench NAME=sealing``.

Batches of 64 rows come in at a steady rate, 20 features wide, first alone, then while a full segment (262,144 rows) is
sealed to a folder by another process, beside a raw write and fdatasync of as many bytes. ``ARGS="--rows N"`` seals
another number of rows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.figures import Figures, Table
from trimtab.predictions import PredictionLog, log_schema, new_prediction_ids
from trimtab.predictions.log import SEGMENT_ROWS

BATCH_ROWS = 64
EVERY_S = 0.005
ALONE_S = 10.0
FEATURES = tuple((f"f{i}", "number") for i in range(20))
SCHEMA = log_schema(FEATURES)

SEALER = """
import sys, time
from pathlib import Path
from trimtab.predictions import PredictionLog
log = PredictionLog(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
began = time.perf_counter()
spans = log.seal()
print(time.perf_counter() - began, sum(span.rows for span in spans), sum(span.size_bytes for span in spans), flush=True)
"""


def run(arguments: list[str]) -> Figures:
    """Fill a log, seal it beside appends, and measure both."""
    parser = argparse.ArgumentParser(prog="make bench NAME=sealing")
    parser.add_argument("--rows", type=int, default=SEGMENT_ROWS)
    rows = parser.parse_args(arguments).rows
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        log = PredictionLog(Path(folder) / "bench")
        for start in range(0, rows, 256):
            log.append(_batch(min(256, rows - start)))
        raw = _paced(_raw_writer(Path(folder) / "raw"), ALONE_S)
        alone = _paced(lambda: log.append(_batch(BATCH_ROWS)), ALONE_S)
        beside, sealed = _beside_a_sealer(log)
        log.close()
    took_s, count, size_bytes = sealed
    columns = ("appends of 64 rows", "n", "p50 ms", "p99 ms", "p99.9 ms", "longest ms")
    table = Table(
        f"beside a seal of {count:,.0f} rows ({size_bytes / 1e6:.0f} MB) that took {took_s:.2f} s",
        columns,
        (_row("raw write and fdatasync", raw), _row("alone", alone), _row("while it is sealed", beside)),
    )
    values = {
        "sealed_rows": count,
        "sealed_rows_per_s": count / took_s,
        "longest_alone_ms": max(alone) * 1e3,
        "longest_beside_ms": max(beside) * 1e3,
        "p99_alone_ms": float(np.percentile(alone, 99)) * 1e3,
        "p99_beside_ms": float(np.percentile(beside, 99)) * 1e3,
    }
    return Figures(
        (table,), values, "p99 beside a seal over p99 alone", np.percentile(beside, 99) / np.percentile(alone, 99)
    )


def _batch(n: int) -> pa.RecordBatch:
    now = datetime.now(UTC)
    random = np.random.default_rng()
    columns = {
        "prediction_id": new_prediction_ids(n),
        "request_id": [None] * n,
        "version": ["1"] * n,
        "release_id": ["release-1"] * n,
        "event_time": [now] * n,
        "logged_at": [now] * n,
        "caller": ["bench"] * n,
        "score": random.random(n),
        **{name: random.random(n) for name, _ in FEATURES},
    }
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def _raw_writer(path: Path):  # type: ignore[no-untyped-def]
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    body = os.urandom(BATCH_ROWS * 200)

    def write() -> None:
        os.write(handle, body)
        os.fdatasync(handle)

    return write


def _paced(act, for_s: float, until=lambda: False) -> list[float]:  # type: ignore[no-untyped-def]
    """Durations of calls, one every ``EVERY_S`` unless one takes longer."""
    took: list[float] = []
    ends = time.perf_counter() + for_s
    while time.perf_counter() < ends and not until():
        began = time.perf_counter()
        act()
        took.append(time.perf_counter() - began)
        time.sleep(max(0.0, EVERY_S - took[-1]))
    return took


def _beside_a_sealer(log: PredictionLog) -> tuple[list[float], tuple[float, float, float]]:
    command = [sys.executable, "-c", SEALER, str(log.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sealer:
        assert sealer.stdin is not None
        assert sealer.stdout is not None
        sealer.stdout.readline()
        sealer.stdin.write("go\n")
        sealer.stdin.flush()
        took = _paced(lambda: log.append(_batch(BATCH_ROWS)), 600, lambda: sealer.poll() is not None)
        seconds, rows, size_bytes = map(float, sealer.stdout.readline().split())
    return took, (seconds, rows, size_bytes)


def _row(name: str, took: list[float]) -> tuple[str, ...]:
    found = [np.percentile(took, share) * 1e3 for share in (50, 99, 99.9, 100)]
    return (name, f"{len(took):,}", *(f"{value:.2f}" for value in found))
