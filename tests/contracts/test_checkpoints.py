"""Checkpoints of the spool, on real files: they take place beside the appends, hold none up, and lose no row."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from tests.prediction_rows import LATER, T0, make_rows
from trimtab.predictions import PredictionLog
from trimtab.predictions.checkpoints import PAGE_BYTES, WAL_PAGES, Checkpoints

BODY = os.urandom(20 * PAGE_BYTES)
ENOUGH = 60
"""Appends of such bodies after which a checkpoint is due: 1,000 pages at more than twenty each."""


class Spool:
    """A file as the spool has it, that SQLite itself never checkpoints: what is moved, a checkpoint of ours moved."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path)
        self.writer = sqlite3.connect(path, isolation_level=None, timeout=0)
        self.writer.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        self.writer.execute("PRAGMA journal_mode = WAL")
        self.writer.execute("PRAGMA wal_autocheckpoint = 0")
        self.writer.execute("CREATE TABLE batches (number INTEGER PRIMARY KEY, body BLOB)")
        self.written = 0

    @property
    def wal_bytes(self) -> int:
        return self.path.with_name(f"{self.path.name}-wal").stat().st_size

    @property
    def under_way(self) -> Future[None] | None:
        return self.checkpoints._under_way

    def append(self) -> None:
        self.writer.execute("INSERT INTO batches (body) VALUES (?)", (BODY,))
        self.written += 1
        self.checkpoints.appended(self.writer, len(BODY))

    def append_until_one_is_under_way(self) -> Future[None]:
        for _ in range(ENOUGH):
            self.append()
            if self.under_way is not None:
                return self.under_way
        raise AssertionError(f"no checkpoint began within {ENOUGH} appends")

    def close(self) -> None:
        self.checkpoints.close()
        self.writer.close()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool.sqlite")
    yield made
    made.close()


def batches_in_the_file_alone(path: Path, copies: Path) -> int:
    """How many batches the file holds without its write-ahead log."""
    copies.mkdir(exist_ok=True)
    with closing(sqlite3.connect(shutil.copy(path, copies / "alone.sqlite"))) as alone:
        try:
            return int(alone.execute("SELECT count(*) FROM batches").fetchone()[0])
        except sqlite3.OperationalError:
            # Not even the table was moved.
            return 0


def test_what_was_committed_goes_from_the_write_ahead_log_to_the_file(spool: Spool, tmp_path: Path) -> None:
    """After enough pages a thread moves every batch that was committed before it began; before that, none."""
    spool.append()
    spool.checkpoints.close()
    assert batches_in_the_file_alone(spool.path, tmp_path / "copies") == 0
    spool.append_until_one_is_under_way()
    spool.checkpoints.close()
    assert batches_in_the_file_alone(spool.path, tmp_path / "copies") == spool.written


def test_the_write_ahead_log_begins_anew_after_each(spool: Spool) -> None:
    """However much is appended, it is no longer than what comes between two checkpoints."""
    longest = 0
    for _ in range(10):
        wait([spool.append_until_one_is_under_way()])
        longest = longest or spool.wal_bytes
        spool.append()
        assert spool.under_way is None
    assert spool.wal_bytes <= longest + 5 * len(BODY)
    assert spool.written * len(BODY) > 5 * longest


def test_appends_go_on_while_a_checkpoint_is_under_way(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """None waits for its end, and no second one is begun beside it."""
    go_on, begun, ended = threading.Event(), [], []

    def held_up(_: Checkpoints) -> None:
        begun.append(spool.written)
        go_on.wait(60)
        ended.append(spool.written)

    monkeypatch.setattr(Checkpoints, "_move", held_up)
    try:
        spool.append_until_one_is_under_way()
        for _ in range(3 * ENOUGH):
            spool.append()
        assert ended == []
    finally:
        go_on.set()
    spool.checkpoints.close()
    assert len(begun) == len(ended) == 1


def test_a_reader_who_stays_holds_neither_checkpoints_nor_appends_up(spool: Spool) -> None:
    """A checkpoint that waited for the reader would keep writers out meanwhile; these writers do not wait at all."""
    spool.append()
    with closing(sqlite3.connect(spool.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT count(*) FROM batches").fetchone()
        under_way = spool.append_until_one_is_under_way()
        while not under_way.done():
            spool.append()
        spool.append()
        assert reader.execute("SELECT count(*) FROM batches").fetchone() == before
    assert spool.writer.execute("SELECT count(*) FROM batches").fetchone() == (spool.written,)


def test_an_append_is_never_refused_for_a_checkpoint(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread, or with a connection that is closed, it counts on; the next chance is taken."""

    def refused(*_: object) -> Future[None]:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(ThreadPoolExecutor, "submit", refused)
        for _ in range(ENOUGH):
            spool.append()
        assert spool.under_way is None
    spool.append()
    wait([cast("Future[None]", spool.under_way)])
    with closing(sqlite3.connect(spool.path)) as closed:
        pass
    spool.checkpoints.appended(closed, len(BODY))
    assert spool.under_way is None
    spool.append_until_one_is_under_way()


def test_a_file_that_is_gone_is_not_made_anew(spool: Spool) -> None:
    """A checkpoint of a file that was removed does nothing: an empty one in its place would look like the log."""
    spool.path.unlink()
    wait([spool.append_until_one_is_under_way()])
    assert not spool.path.exists()


def test_the_prediction_log_has_its_spool_checkpointed(tmp_path: Path) -> None:
    """Its file alone holds batches before SQLite would have moved any (at `WAL_PAGES`), and with the rest all rows."""
    log = PredictionLog(tmp_path / "loan")
    path, ids = log.folder / "spool.sqlite", []
    wal = path.with_name("spool.sqlite-wal")
    while not ids or (wal.stat().st_size < 0.7 * WAL_PAGES * PAGE_BYTES and path.stat().st_size < 600 * PAGE_BYTES):
        rows = make_rows(1_000)
        log.append(rows)
        ids += rows["prediction_id"].to_pylist()
    assert wal.stat().st_size < WAL_PAGES * PAGE_BYTES
    deadline = time.monotonic() + 60
    while path.stat().st_size < 600 * PAGE_BYTES:
        assert time.monotonic() < deadline, "no checkpoint took place"
        time.sleep(0.01)
    assert log.read(T0, LATER)["prediction_id"].to_pylist() == ids
    log.close()
    with closing(sqlite3.connect(path)) as whole:
        assert whole.execute("PRAGMA integrity_check").fetchone() == ("ok",)


APPENDER = """
import sys
from pathlib import Path
from tests.prediction_rows import make_rows
from trimtab.predictions import PredictionLog
log = PredictionLog(Path(sys.argv[1]))
while True:
    rows = make_rows(2_000)
    log.append(rows)
    print(rows["prediction_id"][0].as_py().hex(), flush=True)
"""


@pytest.mark.parametrize("batches", [30, 45, 60])
def test_a_process_killed_among_checkpoints_loses_no_row_that_it_was_told_of(tmp_path: Path, batches: int) -> None:
    """Whatever was appended when kill -9 came is there, each row once, and the file is whole."""
    told = []
    with subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(tmp_path / "loan")], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        try:
            told = [running.stdout.readline().strip() for _ in range(batches)]
        finally:
            running.send_signal(signal.SIGKILL)
    log = PredictionLog(tmp_path / "loan")
    found = [key.hex() for key in log.read(T0, LATER)["prediction_id"].to_pylist()]
    assert set(told) <= set(found)
    assert len(found) == len(set(found)) >= 2_000 * batches
    log.append(make_rows(1))
    log.close()
    with closing(sqlite3.connect(log.folder / "spool.sqlite")) as whole:
        assert whole.execute("PRAGMA integrity_check").fetchone() == ("ok",)
