"""This gateway beside what users would pick instead: one model, the same rows, one run.

Each server is started alone, each in its own environment, asked by wrk with single rows at 1, 16 and 64 connections and
with batches of 1,000 rows at 1, 2, 4 and 8 (the best counts), weighed and stopped; then the next, in an order that is
drawn anew each round. Figures are medians over the rounds. Every server's answers are compared with the model's own.
The gateway writes each prediction durably before it answers, and its log is counted afterwards; no peer keeps a log.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import Figures, Table
from benchmarks.peers import limits, report, wrk
from benchmarks.peers.catalog import PEERS
from benchmarks.peers.environments import PeerError
from benchmarks.peers.limits import Limit
from benchmarks.peers.measure import SINGLE_CONNECTIONS, Contender, Effort, Round, measure
from benchmarks.peers.ours import Ours
from benchmarks.peers.report import Row, Verdict
from benchmarks.peers.subject import BATCH_ROWS, Subject, make_subject

OUTPUT = Path(__file__).parents[1] / ".benchmarks"


def run(arguments: list[str]) -> Figures:
    """Measure; see the module's docstring."""
    asked = _parse(arguments)
    wrk.require_wrk()
    OUTPUT.mkdir(exist_ok=True)
    # On the disk of the repository: /tmp may be memory, where durable writes cost nothing.
    scratch = Path(tempfile.mkdtemp(dir=OUTPUT, prefix="serving-"))
    try:
        return _run(asked, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _parse(arguments: list[str]) -> argparse.Namespace:
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="benchmarks serving", description=__doc__)
    parser.add_argument("--peers", default=",".join(names), help="which of %(default)s, with commas; empty: none")
    parser.add_argument("--rounds", type=int, default=3, help="default %(default)s")
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short round: to try it, not to quote it")
    asked = parser.parse_args(arguments)
    asked.peers = [name for name in asked.peers.split(",") if name]
    if unknown := sorted(set(asked.peers) - set(names)):
        parser.error(f"there are no peers {unknown}; there are {names}")
    asked.effort = Effort(asked.seconds)
    if asked.quick:
        asked.rounds, asked.effort = 1, Effort(1, (4,))
    if asked.rounds < 1 or asked.seconds < 1:
        parser.error("--rounds and --seconds must be at least 1")
    return asked


def _run(asked: argparse.Namespace, scratch: Path) -> Figures:
    subject, ours = make_subject(scratch), Ours()
    contenders: list[Contender] = [ours, *(peer for peer in PEERS if peer.name in asked.peers)]
    failed: dict[str, str] = {}
    for contender in contenders:
        try:
            contender.prepare(subject, scratch)
        except PeerError as error:
            _fail(failed, contender, error)
    rounds: dict[str, list[Round]] = {contender.name: [] for contender in contenders}
    found_limits: list[dict[str, Limit]] = []
    for number in range(asked.rounds):
        order = [contender for contender in contenders if contender.name not in failed]
        random.Random(number).shuffle(order)
        print(f"round {number + 1} of {asked.rounds}: limits, {', '.join(each.name for each in order)}", flush=True)
        assert ours.built is not None
        found_limits.append(limits.measure(subject, ours.built.folder, ours.forms[0], scratch, asked.effort.seconds))
        for contender in order:
            try:
                rounds[contender.name].append(_round(contender, subject, scratch, asked.effort))
            except PeerError as error:
                _fail(failed, contender, error)
    measured = {name: done for name, done in rounds.items() if done}
    return _figures(asked, contenders, measured, report.limit_medians(found_limits), failed)


def _round(contender: Contender, subject: Subject, scratch: Path, effort: Effort) -> Round:
    if not isinstance(contender, Ours):
        return measure(contender, subject, scratch, effort)

    def count(answered: int) -> None:
        logged = len(contender.logged_ids())
        if logged < answered:
            raise RuntimeError(f"the gateway answered {answered} rows and its log holds {logged}: that is no fair run")

    return measure(contender, subject, scratch, effort, count)


def _fail(failed: dict[str, str], contender: Contender, error: PeerError) -> None:
    if isinstance(contender, Ours):
        raise error
    failed[contender.name] = str(error)
    print(f"{contender.name} does not take part from here on: {error}", flush=True)


def _figures(
    asked: argparse.Namespace,
    contenders: list[Contender],
    rounds: dict[str, list[Round]],
    found_limits: dict[str, Limit],
    failed: dict[str, str],
) -> Figures:
    rows = report.medians(each.found for done in rounds.values() for each in done)
    situations = {f"{count} connection{'s' * (count > 1)}": report.singles(rows, count) for count in SINGLE_CONNECTIONS}
    situations[f"{BATCH_ROWS:,} rows"] = report.batches(rows)
    text = frozenset(form.name for each in contenders for form in each.forms if not form.binary)
    verdicts = [
        verdict
        for name, aim, lower_p99 in (("64 connections", 12, True), ("1 connection", 1, False), ("1,000 rows", 2, False))
        for forms in (text, None)
        if (verdict := report.verdict(name, situations[name], aim, forms, lower_p99)) is not None
    ]
    tables = [_points(name, found) for name, found in situations.items()]
    tables.append(_servers(contenders, rounds))
    tables.append(_limits(found_limits, situations))
    if verdicts:
        tables.append(_aims(verdicts))
    notes = [
        f"medians of {asked.rounds} rounds of {asked.effort.seconds} s a point, after 1 s of warming up; answers are "
        "checked against the model's; the gateway's log holds every row that it answered; no peer keeps such a log",
        *(f"{name} took no part, or not to the end: {why}" for name, why in failed.items()),
        *(
            f"{name} was not asked with {form}: {why}"
            for name, done in rounds.items()
            for form, why in {key: value for each in done for key, value in each.failed.items()}.items()
        ),
    ]
    return Figures(
        tuple(tables),
        _values(contenders, rows, rounds, found_limits, verdicts, failed),
        "requests/s at 64 connections over the best peer's, both in JSON",
        verdicts[0].ratio if verdicts else float("nan"),
        tuple(notes),
    )


def _points(name: str, rows: list[Row]) -> Table:
    batch = bool(rows) and rows[0].point.rows > 1
    title = f"requests of {name}, each over its best number of connections" if batch else f"single rows, {name}"
    shown = []
    for row in rows:
        over = f", over {row.point.connections}" if batch else ""
        latencies = (f"{row.p50_ms:,.2f}", f"{row.p99_ms:,.2f}")
        cells = (f"{row.requests_per_s:,.0f}", *latencies, str(row.errors), f"{row.cpu_us:,.0f}")
        shown.append((f"{row.point.contender}: {row.point.form}{over}", *cells))
    return Table(title, ("server: form", "req/s", "p50 ms", "p99 ms", "errors", "CPU us"), tuple(shown))


def _servers(contenders: list[Contender], rounds: dict[str, list[Round]]) -> Table:
    shown = []
    for each in contenders:
        if done := rounds.get(each.name):
            start_s = statistics.median(found.start_s for found in done)
            most = max((found.memory for found in done), key=lambda held: held.pss_mib)
            memory = (f"{most.pss_mib:.0f}", f"{most.rss_mib:.0f}", str(most.processes))
            shown.append((f"{each.name} {each.version}: {each.setup}", f"{start_s:.2f}", *memory))
    headings = ("server", "start s", "PSS MiB", "RSS MiB", "procs")
    return Table("start to first answer, and most memory under load", headings, tuple(shown))


def _limits(found: dict[str, Limit], situations: dict[str, list[Row]]) -> Table:
    shown = []
    for name, limit in found.items():
        own = [row for row in situations.get(name, []) if row.point.contender == report.OURS]
        if own:
            per_s = own[0].requests_per_s
            parts = {
                **{"predict": limit.predict_per_s, "HTTP echo": limit.http_per_s},
                **{"log append": limit.append_per_s, "disk flush (in it)": limit.flush_per_s},
                "predict, HTTP, append in turn": limit.in_turn_per_s,
            }
            shown.append((f"{name}: trimtab", f"{per_s:,.0f}", ""))
            shown += [(f"  {part}", f"{most:,.0f}", f"{per_s / most:.0%}") for part, most in parts.items()]
    return Table("limits, each part alone", ("situation", "requests/s", "reached"), tuple(shown))


def _aims(verdicts: list[Verdict]) -> Table:
    shown = []
    for each in verdicts:
        wanted = f">= {each.aim:g}" + (", p99 lower" if each.lower_p99 else "")
        best = f"{each.peer.point.contender}: {each.peer.point.form}"
        figures = (f"{each.ratio:.2f}", f"{each.ours.p99_ms:,.1f}/{each.peer.p99_ms:,.1f}")
        what = f"{each.situation}: {each.ours.point.form} to {best}"
        shown.append((what, *figures, wanted, "yes" if each.holds else "no"))
    return Table("aims", ("trimtab to the best peer", "ratio", "p99 ms", "aim", "holds"), tuple(shown))


def _values(
    contenders: list[Contender],
    rows: list[Row],
    rounds: dict[str, list[Round]],
    found_limits: dict[str, Limit],
    verdicts: list[Verdict],
    failed: dict[str, str],
) -> dict[str, Any]:
    return {
        "points": [{**dataclasses.asdict(row.point), **_flat(row)} for row in rows],
        "servers": {
            each.name: {
                **{"version": each.version, "setup": each.setup},
                "first_answer_s": [done.start_s for done in rounds.get(each.name, [])],
                "memory": [dataclasses.asdict(done.memory) for done in rounds.get(each.name, [])],
            }
            for each in contenders
        },
        "limits": {name: dataclasses.asdict(limit) for name, limit in found_limits.items()},
        "aims": [
            {**{"situation": each.situation, "ratio": each.ratio, "aim": each.aim, "holds": each.holds}}
            | {"ours": dataclasses.asdict(each.ours), "peer": dataclasses.asdict(each.peer)}
            for each in verdicts
        ],
        "failed": failed,
    }


def _flat(row: Row) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(row).items() if name != "point"}
