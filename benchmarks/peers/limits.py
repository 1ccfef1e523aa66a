"""What could be reached at most by each part alone: raw predict, raw HTTP, raw append to the log, raw flush."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import wrk
from benchmarks.peers.environments import ROOT, PeerError
from benchmarks.peers.forms import Form
from benchmarks.peers.ours import record_batch
from benchmarks.peers.processes import Server, free_port
from benchmarks.peers.subject import Subject
from trimtab.predictions.log import PredictionLog
from trimtab.scoring.large_batches import serve_large_batches
from trimtab.scoring.model import Artifact

_START_TIMEOUT_S = 30


@dataclass(frozen=True)
class Limit:
    """Requests/s that each part alone could do in one situation, in one thread of its own.

    ``flush_per_s`` is what is left of the append if only the bytes are written and flushed: the disk's own part.
    """

    predict_per_s: float
    http_per_s: float
    append_per_s: float
    flush_per_s: float

    @property
    def in_turn_per_s(self) -> float:
        """If each request were predicted, sent and logged one after another."""
        return 1 / (1 / self.predict_per_s + 1 / self.http_per_s + 1 / self.append_per_s)


@dataclass(frozen=True)
class Situation:
    """Requests of so many rows over so many connections; ``together`` of them are one micro-batch at most."""

    name: str
    rows: int
    connections: int
    together: int


SITUATIONS = (
    Situation("1 connection", 1, 1, 1),
    Situation("64 connections", 1, 64, 64),
    Situation("1,000 rows", 1_000, 4, 1),
)


def measure(subject: Subject, artifact: Path, form: Form, scratch: Path, seconds: float) -> dict[str, Limit]:
    """The limits by the situation's name; the log's on the same disk as the gateway's."""
    loaded = serve_large_batches(Artifact.load(artifact))
    found = {}
    with _Echo(scratch) as authority:
        for situation in SITUATIONS:
            batch = situation.rows * situation.together
            rows = subject.rows[:batch]
            predict = situation.together * _per_s(lambda rows=rows: loaded.predict(rows), seconds)
            requests = scratch / "echo.requests"
            bodies = subject.singles() if situation.rows == 1 else subject.batches()
            wrk.write_requests(requests, [form.request(each, authority) for each, _ in bodies])
            http = wrk.load(authority, requests, situation.connections, seconds).requests_per_s
            append = situation.together * _append_per_s(subject, batch, scratch, seconds)
            flush = situation.together * _flushes_per_s(record_batch(rows).nbytes, scratch, seconds)
            found[situation.name] = Limit(predict, http, append, flush)
    return found


def _append_per_s(subject: Subject, batch: int, scratch: Path, seconds: float) -> float:
    """Durable appends/s of batches that were made beforehand."""
    folder = scratch / f"append-{batch}-{time.monotonic_ns()}"
    log = PredictionLog(folder)
    made = [record_batch(subject.rows[:batch]) for _ in range(64)]
    try:
        # Nothing is sealed here, so that a batch may come again.
        at = iter(range(10**9))
        return _per_s(lambda: log.append(made[next(at) % len(made)]), seconds)
    finally:
        log.close()


def _flushes_per_s(size_bytes: int, scratch: Path, seconds: float) -> float:
    """Writes of so many bytes/s into a file that is there already, each flushed to disk."""
    body = os.urandom(size_bytes)
    path = scratch / "flush"
    path.write_bytes(body)
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)

        def write() -> None:
            os.pwrite(file, body, 0)
            os.fdatasync(file)

        return _per_s(write, seconds)
    finally:
        os.close(file)
        path.unlink()


def _per_s(call: Callable[[], object], seconds: float) -> float:
    call()
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        call()
        count += 1
    return count / spent


class _Echo:
    """The echo server, while inside."""

    def __init__(self, scratch: Path) -> None:
        self._server = Server(scratch / "echo.log")
        self._port = free_port()

    def __enter__(self) -> str:
        command = [sys.executable, "-m", "benchmarks.peers.echo", "--port", str(self._port)]
        self._server.start(command, os.environ, ROOT)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                if time.monotonic() > deadline:
                    self._server.stop()
                    raise PeerError(f"the echo server does not listen; {self._server.log_tail()}") from None
                time.sleep(0.02)
            else:
                return f"127.0.0.1:{self._port}"

    def __exit__(self, *_: object) -> None:
        self._server.stop()
