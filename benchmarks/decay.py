"""How fast a window is judged against its reference, all features, beside what users would pick instead.

Two Parquet files of ``--rows`` rows and 50 columns (40 numbers, 10 categories; the window a little shifted in five of
them). Each contestant runs alone in a process of its own, in its own environment: it reads the files and judges every
column by its defaults. Seconds do not hold imports, which stand apart; memory is the most that the process held.
Then, of ours: a week of a log whose hours are stored, the first time and once its days are added up; a tenth of the
rows; and a profile of ``--large`` rows beside a mere DuckDB sum of every column under a limit of 1 GB.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import Figures, Table
from benchmarks.peers.environments import PeerError, python_of, version_of

ROOT = Path(__file__).parents[1]
JUDGES = ROOT / "benchmarks" / "judges"
NUMBERS, CATEGORIES = 40, 10
PART_ROWS = 250_000
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
HOURS = 168
PEERS = {
    "evidently": "",
    "whylogs": "whylogs",
    "nannyml": "nannyml",
    "alibi_detect": "alibi-detect",
    "scipy": "",
    "tfdv": "tensorflow-data-validation",
    "reading": "",
}
"""By name: the package whose version is told; empty where it runs in the project's own environment."""
WHOLE_POPULATION = ("evidently", "nannyml", "alibi_detect", "scipy", "tfdv")
TIMEOUT_S = 1_200


def run(arguments: list[str]) -> Figures:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="make bench NAME=decay", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=10_000_000, help="0: leave that part out")
    parser.add_argument("--peers", default=",".join(PEERS), help="which of %(default)s, with commas; empty: none")
    parser.add_argument("--repeats", type=int, default=3, help="of ours; the best counts")
    parser.add_argument("--quick", action="store_true", help="50,000 rows, nothing large: to try it, not to quote it")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rows, options.large, options.repeats = 50_000, 0, 1
    peers = [name for name in options.peers.split(",") if name]
    if unknown := sorted(set(peers) - set(PEERS)):
        parser.error(f"there are no peers {unknown}; there are {sorted(PEERS)}")
    (ROOT / ".benchmarks").mkdir(exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="decay-", dir=ROOT / ".benchmarks"))
    try:
        return _run(options, peers, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run(options: argparse.Namespace, peers: list[str], scratch: Path) -> Figures:
    folder, tenth = scratch / "whole", scratch / "tenth"
    for place, rows in ((folder, options.rows), (tenth, options.rows // 10)):
        make_files(place, rows)
    found: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for way in ("reference", "verdicts", "report", "cold"):
        found[f"trimtab, {way}"] = _ours(way, folder, options.repeats)
    _ours("reference", tenth, 1)
    make_hours(folder)
    parts = {
        f"{options.rows // 10:,} rows": _ours("verdicts", tenth, options.repeats),
        f"a week from {HOURS} stored hours": _ours("hours", folder, options.repeats),
        "a week from the sums of its days": _ours("days", folder, options.repeats),
    }
    for name in peers:
        print(f"{name}: judging", file=sys.stderr)
        try:
            found[name] = _peer(name, folder)
        except PeerError as error:
            failed[name] = str(error)
            print(f"{name}: {error}", file=sys.stderr)
    if options.large:
        shutil.rmtree(folder)
        large = scratch / "large"
        make_files(large, options.large, sides=("reference",))
        (large / "window.parquet").symlink_to(large / "reference.parquet")
        parts[f"reference of {options.large:,} rows, made and profiled (two scans)"] = _ours("reference", large, 1)
        parts[f"{options.large:,} rows, profiled and judged (one scan)"] = _ours("verdicts", large, options.repeats)
        parts[f"{options.large:,} rows, DuckDB sums each column"] = _ours("scan", large, options.repeats)
    return _figures(options, found, parts, failed)


def make_files(folder: Path, rows: int, sides: tuple[str, ...] = ("reference", "window")) -> None:
    """``reference.parquet`` and ``window.parquet``: the same rows for the same arguments."""
    folder.mkdir(parents=True)
    for side in sides:
        random = np.random.default_rng(0 if side == "reference" else 1)
        shift = 0.0 if side == "reference" else 0.3
        with pq.ParquetWriter(folder / f"{side}.parquet", _schema()) as writer:
            for first in range(0, rows, PART_ROWS):
                writer.write_table(_part(random, min(PART_ROWS, rows - first), shift))


def _schema() -> pa.Schema:
    numbers = [pa.field(f"n{number:02}", pa.float64()) for number in range(NUMBERS)]
    return pa.schema(numbers + [pa.field(f"c{number:02}", pa.string()) for number in range(CATEGORIES)])


def _part(random: np.random.Generator, rows: int, shift: float) -> pa.Table:
    columns: list[Any] = []
    for number in range(NUMBERS):
        moved = shift if number < 4 else 0.0
        if number % 4 == 3:
            columns.append(np.round(random.gamma(2, 20, rows) * (1 + moved)))
        elif number % 4 == 2:
            columns.append(random.lognormal(moved, 1, rows))
        else:
            columns.append(random.normal(moved, 1, rows))
    for number in range(CATEGORIES):
        names = np.array([f"v{name:02}" for name in range(5 + 4 * number)], dtype=object)
        weights = 1.0 / (1 + np.arange(len(names))) ** (1 - (shift if number == 0 else 0.0))
        columns.append(names[random.choice(len(names), rows, p=weights / weights.sum())])
    return pa.table([pa.array(column) for column in columns], schema=_schema())


def make_hours(folder: Path) -> None:
    """The window as the predictions of a week in a log, sealed and profiled by the hour."""
    from trimtab.decay.profile import Profile
    from trimtab.predictions import PredictionLog, log_schema, new_prediction_ids
    from trimtab.predictions.profiles import profile_segments

    rows = pq.read_table(folder / "window.parquet")
    features = [(name, "number" if name.startswith("n") else "category") for name in rows.column_names]
    schema, each = log_schema(features), -(-rows.num_rows // HOURS)
    log = PredictionLog(folder / "log")
    for hour in range(HOURS):
        some = rows.slice(hour * each, each).combine_chunks()
        count, at = some.num_rows, MONDAY + timedelta(hours=hour)
        base = {
            "prediction_id": new_prediction_ids(count),
            "request_id": pa.nulls(count),
            **{name: pa.repeat("bench", count) for name in ("version", "release_id", "caller")},
            **{name: pa.repeat(at, count) for name in ("event_time", "logged_at")},
            "score": np.zeros(count),
        }
        columns = {name: some[name].combine_chunks() for name in some.column_names} | base
        log.append(pa.record_batch([pa.array(columns[field.name]).cast(field.type) for field in schema], schema=schema))
        log.seal()
    reference = Profile.model_validate_json((folder / "reference.json").read_text())
    profile_segments(log.folder, log.spans(), reference.bins())
    log.close()


def _ours(way: str, folder: Path, repeats: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.judges.trimtab", way, str(folder)]
    return min((_said("trimtab", command, ROOT) for _ in range(repeats)), key=lambda said: float(said["judge_s"]))


def _peer(name: str, folder: Path) -> dict[str, Any]:
    package = PEERS[name]
    interpreter = python_of(name, JUDGES) if package else Path(sys.executable)
    paths = [str(folder / f"{side}.parquet") for side in ("reference", "window")]
    found = _said(name, [str(interpreter), str(JUDGES / name / "judge.py"), *paths], JUDGES)
    return found | ({"version": version_of(name, package, JUDGES)} if package else {})


def _said(name: str, command: list[str], on_path: Path) -> dict[str, Any]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(ROOT / ".benchmarks"), "PYTHONPATH": str(on_path)}
    quiet = {"DO_NOT_TRACK": "1", "WHYLOGS_NO_ANALYTICS": "True", "NML_DISABLE_USAGE_LOGGING": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, env=environment | quiet, cwd=ROOT
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{name} has not judged within {TIMEOUT_S} s") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines or not lines[-1].startswith("{"):
        raise PeerError(f"{name} cannot judge (exit code {done.returncode}): {done.stderr.strip()[-600:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _figures(
    options: argparse.Namespace,
    found: dict[str, dict[str, Any]],
    parts: dict[str, dict[str, Any]],
    failed: dict[str, str],
) -> Figures:
    ours = found["trimtab, verdicts"]

    def line(name: str, said: dict[str, Any]) -> tuple[str, ...]:
        label = " ".join((name, said.get("version", "")))
        ratio = f"{said['judge_s'] / ours['judge_s']:.1f}"
        numbers = (f"{said['judge_s']:.3f}", f"{said['memory_mib']:,.0f}", f"{said['import_s']:.1f}")
        return (label.strip(), *numbers, str(said["drifted"]), ratio)

    headings = ("", "seconds", "MiB", "imports, s", "drifted", "times ours")
    tables = (
        Table(
            f"{options.rows:,} rows x {NUMBERS + CATEGORIES} columns a side, every column judged",
            headings,
            tuple(line(name, said) for name, said in found.items()),
        ),
        Table("ours at other sizes", headings, tuple(line(name, said) for name, said in parts.items())),
    )
    whole = {name: found[name]["judge_s"] for name in WHOLE_POPULATION if name in found}
    fastest = min(whole, key=lambda name: whole[name], default=None)
    notes = [f"{name} does not count: {why}" for name, why in failed.items()]
    if "evidently" in found:
        theirs = found["evidently"]
        notes.append(
            f"Evidently takes {theirs['judge_s'] / ours['judge_s']:.0f} times as long as our verdicts (aim 100), "
            f"{theirs['judge_s'] / found['trimtab, report']['judge_s']:.0f} times as long as with its report on top "
            f"(aim 30), and {theirs['memory_mib'] / ours['memory_mib']:.1f} times the memory (aim 7)"
        )
    if fastest:
        notes.append(f"the fastest peer, {fastest}, takes {whole[fastest] / ours['judge_s']:.1f} times as long (aim 4)")
    ratio = whole[fastest] / ours["judge_s"] if fastest else 1.0
    return Figures(
        tables,
        {"judged": found, "parts": parts, "failed": failed},
        "the fastest peer's seconds over ours",
        ratio,
        tuple(notes),
    )
