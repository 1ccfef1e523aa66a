"""A sealing process may be killed at any moment, whatever the home of segments: no row is lost, none is there twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from tests.prediction_rows import LATER, T0, make_rows
from tests.s3_servers import credentials, moto_server, new_bucket, real_server
from trimtab.predictions import PredictionLog
from trimtab.settings import Settings

KILLS = {"folder": 40, "moto": 20, "real": 20}

# Imports once, then forks a sealer for each word that it is given: a fork takes milliseconds, a start a second.
BREEDER = """
import os, sys
from pathlib import Path
import trimtab.predictions.homes_s3
from trimtab.predictions import PredictionLog, log
log.SEGMENT_ROWS = 400
print("ready", flush=True)
for _ in sys.stdin:
    if (child := os.fork()) == 0:
        mine = PredictionLog(Path(sys.argv[1]))
        mine._spool.home.names()
        print(os.getpid(), flush=True)
        while True:
            mine.seal()
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


@contextmanager
def breeder(folder, settings):
    running = subprocess.Popen(
        [sys.executable, "-c", BREEDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | settings.as_env(),
        text=True,
    )
    try:
        assert running.stdout.readline() == "ready\n"
        yield Breeds(running)
    finally:
        running.stdin.close()
        running.wait()
        running.stdout.close()


@pytest.fixture(params=["folder", "moto", "real"])
def kind(request):
    return request.param


@pytest.fixture
def settings(kind, tmp_path):
    """Settings under which a log has its segments in that kind of home."""
    if kind == "folder":
        yield Settings()
        return
    with ExitStack() as stack:
        stack.enter_context(credentials(kind))
        url = stack.enter_context(moto_server(tmp_path)) if kind == "moto" else real_server()
        yield Settings(segments_url=stack.enter_context(new_bucket(url)), s3_endpoint_url=url)


def ids_in(log):
    return log.read(T0, LATER, ["prediction_id"])["prediction_id"].to_pylist()


class Breeds:
    """Sealers, one after the other."""

    def __init__(self, running):
        self._running = running

    def bear(self):
        self._running.stdin.write("one\n")
        self._running.stdin.flush()
        return int(self._running.stdout.readline())

    def kill(self, sealer):
        os.kill(sealer, signal.SIGKILL)
        assert self._running.stdout.readline() == "dead\n"


def test_each_row_is_there_once_however_often_sealing_is_killed(kind, settings, tmp_path):
    """Killed at random moments, tens of times, while rows come in from another process; then sealed to the end."""
    log, kept, chance = PredictionLog(tmp_path / "loan", settings), [], random.Random(17)

    def append():
        batch = make_rows(20)
        log.append(batch)
        kept.extend(batch["prediction_id"].to_pylist())

    for _ in range(50):
        append()
    with breeder(log.folder, settings) as breeds:
        sealer, began = breeds.bear(), time.monotonic()
        while len(log.spans()) < 2:
            append()
            time.sleep(0.005)
        # About how long two segments take here: a kill falls anywhere in the making of them.
        longest_s = min(time.monotonic() - began, 0.5)
        breeds.kill(sealer)
        for round_ in range(KILLS[kind]):
            sealer, ends = breeds.bear(), time.monotonic() + chance.uniform(0, longest_s)
            for _ in range(10):
                append()
            time.sleep(max(0, ends - time.monotonic()))
            breeds.kill(sealer)
            assert round_ % 10 or ids_in(log) == kept
    log.seal()
    spans = log.seal()
    assert ids_in(log) == kept
    assert sum(span.rows for span in spans) == len(kept)
    assert log._spool.home.names() == sorted(span.name for span in spans)
    assert log.verify() == len(spans)
    log.close()
