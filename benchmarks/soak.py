"""Whether anything grows: an hour's worth of load through the gateway, while its log is sealed.

A fixed number of requests (by default 3.6 million: an hour at 1,000/s) goes through gateway and scorer as fast as they
come, in slices of a few seconds with new connections each; a process beside seals the log again and again. After each
slice the resident memory of both, the spool's size and the slice's latencies are noted. At the end the log must hold
every row that was answered, each once.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from benchmarks.figures import Figures, Table
from benchmarks.peers import wrk
from benchmarks.peers.environments import ROOT
from benchmarks.peers.ours import MODEL, Ours
from benchmarks.peers.processes import Server, await_first_answer
from benchmarks.peers.subject import Subject, make_subject

OUTPUT = ROOT / ".benchmarks"
_SHOWN_ROWS = 12
_SEALER = """
import sys, time
from pathlib import Path
from trimtab.predictions.log import PredictionLog
log = PredictionLog(Path(sys.argv[1]))
while True:
    log.acknowledge(log.seal())
    time.sleep(float(sys.argv[2]))
"""


@dataclass(frozen=True)
class Sample:
    """What was seen after a slice; ``requests`` and ``seconds`` since the beginning."""

    requests: int
    seconds: float
    gateway_mib: float
    scorer_mib: float
    spool_mib: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


def run(arguments: list[str]) -> Figures:
    """Measure; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="benchmarks soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=3_600_000, help="default %(default)s")
    parser.add_argument("--connections", type=int, default=64, help="default %(default)s")
    parser.add_argument("--slice-s", type=int, default=5, help="default %(default)s")
    parser.add_argument("--seal-every-s", type=float, default=20.0, help="default %(default)s")
    asked = parser.parse_args(arguments)
    if asked.requests < 1 or asked.slice_s < 1 or asked.connections < 1 or asked.seal_every_s < 0:
        parser.error("--requests, --connections and --slice-s must be at least 1, --seal-every-s at least 0")
    wrk.require_wrk()
    OUTPUT.mkdir(exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=OUTPUT, prefix="soak-"))
    try:
        return _run(asked, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run(asked: argparse.Namespace, scratch: Path) -> Figures:
    subject, ours, server = make_subject(scratch), Ours(), Server(scratch / "trimtab.log")
    ours.prepare(subject, scratch)
    try:
        url = ours.start(subject, scratch, server)
        await_first_answer(server, url, ours.forms[0], *subject.singles()[0])
        assert ours.settings is not None
        log = ours.settings.predictions_dir / MODEL
        sealer = _start_sealer(log, asked.seal_every_s, scratch)
        try:
            samples = _load(asked, subject, ours, server, url, log, scratch)
            if sealer.poll() is not None:
                raise RuntimeError(f"the sealer ended: {(scratch / 'sealer.log').read_text()[-800:]}")
        finally:
            sealer.kill()
            sealer.wait()
    finally:
        server.stop()
    ids, segments = ours.logged_ids(), len(list((log / "segments").glob("*.parquet")))
    logged, distinct = len(ids), pc.count_distinct(ids).as_py()
    # One more is the first answer; those that wrk no longer waited for at a slice's end may be there besides.
    if logged < samples[-1].requests or distinct != logged:
        raise RuntimeError(f"{samples[-1].requests} rows answered, {logged} in the log, {distinct} different ids")
    return _figures(asked, samples, logged, segments)


def _start_sealer(log: Path, every_s: float, scratch: Path) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")}
    with (scratch / "sealer.log").open("wb") as out:
        command = [sys.executable, "-c", _SEALER, str(log), str(every_s)]
        return subprocess.Popen(command, cwd=ROOT, env=kept, stdout=out, stderr=out)


def _load(
    asked: argparse.Namespace, subject: Subject, ours: Ours, server: Server, url: str, log: Path, scratch: Path
) -> list[Sample]:
    authority = url.removeprefix("http://")
    file = scratch / "requests"
    wrk.write_requests(file, [ours.forms[0].request(rows, authority) for rows, _ in subject.singles()])
    samples: list[Sample] = []
    sent, begun = 0, time.perf_counter()
    for number in itertools.count(1):
        load = wrk.load(authority, file, asked.connections, asked.slice_s)
        server.check_alive()
        sent += load.requests
        scorer_mib, gateway_mib = (held.rss_mib for held in server.memory_by_root())
        spool_mib = sum(path.stat().st_size for path in log.glob("spool.sqlite*")) / 2**20
        figures = (load.requests_per_s, load.p50_ms, load.p99_ms, load.errors)
        samples.append(Sample(sent, time.perf_counter() - begun, gateway_mib, scorer_mib, spool_mib, *figures))
        if number % 10 == 0 or sent >= asked.requests:
            print(
                f"{sent:,} of {asked.requests:,} requests: gateway {gateway_mib:.0f} MiB, scorer {scorer_mib:.0f} MiB"
            )
        if sent >= asked.requests:
            return samples
        if load.requests == 0:
            raise RuntimeError(f"nothing was answered for {asked.slice_s} s; {server.log_tail()}")
    raise AssertionError("the count has no end")


def growth(requests: Sequence[int], mib: Sequence[float]) -> float:
    """Bytes by which memory grows in a million requests, by least squares over what came after the first quarter."""
    first = requests[-1] / 4
    points = [(at / 1e6, held * 2**20) for at, held in zip(requests, mib, strict=True) if at >= first]
    if len(points) < 2:
        return float("nan")
    return float(np.polyfit([at for at, _ in points], [held for _, held in points], 1)[0])


def last_over_second_quarter(requests: Sequence[int], mib: Sequence[float]) -> float:
    """Mean memory over the last quarter of the requests, over that of the second."""
    total = requests[-1]
    pairs = list(zip(requests, mib, strict=True))
    second = [held for at, held in pairs if total / 4 <= at < total / 2]
    last = [held for at, held in pairs if at >= total * 3 / 4]
    return statistics.mean(last) / statistics.mean(second) if second else float("nan")


def _figures(asked: argparse.Namespace, samples: list[Sample], logged: int, segments: int) -> Figures:
    requests = [sample.requests for sample in samples]
    parts = {
        "gateway": [sample.gateway_mib for sample in samples],
        "scorer": [sample.scorer_mib for sample in samples],
        "both": [sample.gateway_mib + sample.scorer_mib for sample in samples],
    }
    grown = {name: (growth(requests, mib), last_over_second_quarter(requests, mib)) for name, mib in parts.items()}
    step = max(1, len(samples) // _SHOWN_ROWS)
    shown = samples[::step] if samples[-1] in samples[::step] else [*samples[::step], samples[-1]]
    rows = tuple(
        (
            *(f"{each.requests:,}", f"{each.gateway_mib:.1f}", f"{each.scorer_mib:.1f}", f"{each.spool_mib:.0f}"),
            *(f"{each.requests_per_s:,.0f}", f"{each.p50_ms:.2f}", f"{each.p99_ms:.2f}", str(each.errors)),
        )
        for each in shown
    )
    headings = ("requests", "gateway MiB", "scorer MiB", "spool MiB", "req/s", "p50 ms", "p99 ms", "errors")
    tables = (
        Table(f"{requests[-1]:,} requests in {samples[-1].seconds:.0f} s, sealed meanwhile", headings, rows),
        Table(
            "resident memory",
            ("process", "bytes a million requests", "last quarter / second"),
            tuple((name, f"{slope:,.0f}", f"{ratio:.4f}") for name, (slope, ratio) in grown.items()),
        ),
    )
    values = {
        "samples": [asdict(sample) for sample in samples],
        "growth_bytes_per_million_requests": {name: slope for name, (slope, _) in grown.items()},
        "last_quarter_over_second": {name: ratio for name, (_, ratio) in grown.items()},
        **{"logged_rows": logged, "segments": segments, "errors": sum(sample.errors for sample in samples)},
    }
    notes = (
        f"the log holds {logged:,} rows, each once, {segments} segments among them; aim: a ratio of at most 1.02",
        f"{asked.connections} connections; the slope is that of a line through what came after the first quarter",
    )
    return Figures(tables, values, "resident memory, last quarter over second", grown["both"][1], notes)
