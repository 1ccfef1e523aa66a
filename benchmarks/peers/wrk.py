"""The load: wrk, a C program that costs little beside what it measures."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

SCRIPT = Path(__file__).with_name("wrk.lua")
_TIMEOUT_S = 20


class Errors(msgspec.Struct, frozen=True):
    """Requests that were not answered with a good status, by what went wrong."""

    connect: int
    read: int
    write: int
    status: int
    timeout: int


class Report(msgspec.Struct, frozen=True):
    """What wrk.lua prints."""

    duration_us: int
    requests: int
    p50_us: int
    p90_us: int
    p99_us: int
    max_us: int
    errors: Errors


@dataclass(frozen=True)
class Load:
    """One measurement. ``requests_per_s`` counts good answers only."""

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


def require_wrk() -> None:
    """Stop with a clear message where wrk is not installed."""
    if shutil.which("wrk") is None:
        raise SystemExit("the load comes from wrk, which is not installed here: apt-get install wrk")


def write_requests(path: Path, requests: Sequence[bytes]) -> None:
    """Write whole HTTP requests for wrk.lua."""
    with path.open("wb") as file:
        for request in requests:
            file.write(b"%d\n" % len(request))
            file.write(request)
            file.write(b"\n")


def parse_report(output: str) -> Load:
    """Figures from what wrk printed, the last line of which that starts with a brace is wrk.lua's.

    Raises
    ------
    ValueError
        If there is no report, with what there is instead.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise ValueError(f"wrk printed no report but {output[-500:]!r}")
    report = msgspec.json.decode(lines[-1], type=Report)
    good = report.requests - report.errors.status
    errors = sum(msgspec.structs.astuple(report.errors))
    per_s = good / (report.duration_us / 1e6)
    return Load(good, per_s, report.p50_us / 1e3, report.p99_us / 1e3, errors)


def load(authority: str, requests: Path, connections: int, seconds: float) -> Load:
    """Send the requests in rotation over that many kept-alive connections.

    Raises
    ------
    RuntimeError
        If wrk fails.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={_TIMEOUT_S}s"]
    command += ["-s", str(SCRIPT), f"http://{authority}", "--", str(requests)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"wrk failed: {done.stderr[-500:] or done.stdout[-500:]}")
    return parse_report(done.stdout)
