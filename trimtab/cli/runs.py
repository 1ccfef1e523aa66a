"""Commands that run a flow and say what came of it, and that show what led to a prediction."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from trimtab.cli.terminal import AsOf, Model, PredictionId, console, parse_moment, read_settings, say
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.runs import Run
    from trimtab.lineage import Node
    from trimtab.records import Ruling
    from trimtab.settings import Settings

app = typer.Typer()

Local = Annotated[bool, typer.Option("--local", help="Run the flow in this process instead of asking the worker.")]
Wait = Annotated[bool, typer.Option(help="Follow the run to its end; its success is the exit code.")]


@app.command(epilog="Example: trimtab retrain flight-delay --as-of 2013-07-01 --reason 'new carrier'")
def retrain(
    model: Model,
    as_of: AsOf = None,
    reason: Annotated[str, typer.Option(help="Why; it goes on record.")] = "",
    wait: Wait = True,
    local: Local = False,
) -> None:
    """Train a model anew and release the result if every gate passes."""
    _run("retrain", {"model": model, "as_of": parse_moment(as_of), "reason": reason}, wait, local)


@app.command(epilog="Example: trimtab watch flight-delay --as-of 2013-04-08")
def watch(model: Model, as_of: AsOf = None, wait: Wait = True, local: Local = False) -> None:
    """Judge the latest window of a model's live predictions."""
    _run("watch", {"model": model, "as_of": parse_moment(as_of)}, wait, local)


@app.command(epilog="Example: trimtab rollback flight-delay --to-version 3 --reason 'complaints from JFK'")
def rollback(
    model: Model,
    reason: Annotated[str, typer.Option(help="Why; it goes on record.")] = "asked for on the command line",
    to_version: Annotated[
        str | None, typer.Option(help="The version to bring back; the one before if left out.")
    ] = None,
    as_of: AsOf = None,
    wait: Wait = True,
    local: Local = False,
) -> None:
    """Bring an earlier version of a model back into service."""
    parameters = {"model": model, "reason": reason, "to_version": to_version, "as_of": parse_moment(as_of)}
    _run("rollback", parameters, wait, local)


@app.command(epilog="Example: trimtab profile flight-delay --from 2013-01-01 --to 2014-01-01")
def profile(
    model: Model,
    start: Annotated[str | None, typer.Option("--from", help="Predictions with an event time from here on.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Predictions with an event time before this moment.")] = None,
    wait: Wait = True,
    local: Local = False,
) -> None:
    """Count sealed predictions once, so that windows of them are judged without a scan; watch does so for its own."""
    parameters = {"model": model, "start": parse_moment(start, "--from"), "end": parse_moment(end, "--to")}
    _run("profile", parameters, wait, local)


@app.command(epilog="Example: trimtab dossier 01929f0e-7b1a-7c3e-9d55-0d4f1c1e2a3b --local")
def dossier(prediction_id: PredictionId, wait: Wait = True, local: Local = False) -> None:
    """Publish everything that led to a prediction: artifacts in Prefect and a page among the reports."""
    from trimtab.predictions.schema import id_bytes

    # What cannot be an id is refused before a run is started for it.
    id_bytes(prediction_id)
    _run("dossier", {"prediction_id": prediction_id}, wait, local, name="dossier")


@app.command(epilog="Example: trimtab lineage 01929f0e-7b1a-7c3e-9d55-0d4f1c1e2a3b")
def lineage(
    prediction_id: PredictionId,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Markdown with a mermaid graph instead of a tree.")
    ] = False,
) -> None:
    """Show everything that led to a prediction, as a tree."""
    from trimtab.ledger import Ledger
    from trimtab.lineage import to_markdown, to_text, trace_logged

    settings = read_settings()
    chain = trace_logged(Ledger(settings.ledger), settings.predictions_dir, prediction_id)
    if markdown:
        typer.echo(to_markdown(chain))
    elif sys.stdout.isatty():
        console().print(_tree(chain))
    else:
        typer.echo(to_text(chain))


def _run(flow: str, parameters: dict[str, Any], wait: bool, local: bool, name: str = "") -> None:
    given = {key: value for key, value in parameters.items() if value is not None}
    settings = read_settings()
    from trimtab.settings import connect, require_stack

    require_stack(settings)
    if local:
        import importlib

        # Before anything imports Prefect, which reads its server's address once.
        connect()
        from deployments.apply import prefect_client

        # A server that is down is one clear line here, not a traceback from within the flow.
        with prefect_client(settings):
            result = getattr(importlib.import_module(f"flows.{flow}"), flow)(**given)
        typer.echo(result.model_dump_json(indent=2) if hasattr(result, "model_dump_json") else result)
        if flow_run_id := _run_of(settings, result):
            # Beside the record, which other programs may read.
            _tell(_what_came_of_it(settings, flow_run_id), to_stderr=True)
        return
    from deployments.runs import follow_run, start_run

    sent = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in given.items()}
    run = start_run(settings, f"{flow}/{name or given['model']}", sent)
    say(f"flow run {run.name}: {run.url}")
    if not wait:
        return
    run = follow_run(settings, run, _say_state)
    if not run.succeeded:
        raise TrimtabError(f"flow run {run.name} ended as {run.state}: {run.message}; see {run.url}")
    if flow == "dossier":
        _tell(_page_of(settings, given["prediction_id"]))
    elif not _tell(_what_came_of_it(settings, str(run.id))) and flow == "watch":
        _tell(_why_nothing_was_judged(settings, given["model"], given.get("as_of")))


def _tell(lines: Iterator[str], to_stderr: bool = False) -> int:
    """Say what came of a run that has succeeded, in how many lines; a ledger that cannot tell does not change that."""
    from trimtab.errors import LedgerError

    told = 0
    try:
        for line in lines:
            typer.echo(line, err=to_stderr)
            told += 1
    except LedgerError as error:
        typer.echo(f"what came of it cannot be told: {error}", err=True)
        told += 1
    return told


def _run_of(settings: Settings, result: object) -> str:
    """The flow run that stated a record; empty if that cannot be told."""
    from trimtab.errors import LedgerError
    from trimtab.ledger import Ledger
    from trimtab.records import Record

    try:
        return Ledger(settings.ledger).get(result.id).flow_run_id if isinstance(result, Record) else ""
    except LedgerError:
        return ""


def _what_came_of_it(settings: Settings, flow_run_id: str) -> Iterator[str]:
    """What a run stated that people ask for: its ruling, its decision, and what serves since."""
    from trimtab.ledger import Ledger
    from trimtab.records import Decision, Release, Ruling

    for entry in Ledger(settings.ledger).entries():
        if entry.flow_run_id == flow_run_id:
            match entry.record:
                case Ruling() as ruling:
                    yield from _of_ruling(settings, ruling)
                case Decision() as decision:
                    yield ("released: " if decision.winner_id else "not released: ") + decision.reason
                case Release() as release:
                    yield f"version {release.version} serves at {release.endpoint}"


def _of_ruling(settings: Settings, ruling: Ruling) -> Iterator[str]:
    yield f"{ruling.action}: {ruling.reason}"
    if ruling.report and (settings.reports_dir / ruling.report).is_file():
        yield f"report: {settings.reports_url}/{ruling.report}"


def _why_nothing_was_judged(settings: Settings, model: str, as_of: datetime | None) -> Iterator[str]:
    """Of a watch that stated no ruling: the one that stands, for a window is judged once; or that nothing serves."""
    from trimtab.ledger import Ledger
    from trimtab.records import Release, Ruling

    moment = as_of or datetime.now(UTC)
    entries = [entry for entry in Ledger(settings.ledger).entries() if entry.record.model == model]
    if not any(isinstance(entry.record, Release) and entry.record.since <= moment for entry in entries):
        yield f"{model} has no release yet as of {moment:%Y-%m-%d %H:%M} UTC: there is nothing to judge"
    for entry in reversed(entries):
        if isinstance(entry.record, Ruling) and entry.record.as_of == moment:
            yield f"this window was judged before, on {entry.recorded_at:%Y-%m-%d %H:%M} UTC; its ruling stands"
            yield from _of_ruling(settings, entry.record)
            return


def _page_of(settings: Settings, prediction_id: str) -> Iterator[str]:
    name = f"dossiers/{UUID(prediction_id)}.html"
    if (settings.reports_dir / name).is_file():
        yield f"page: {settings.reports_url.rstrip('/')}/{name}"


def _say_state(run: Run) -> None:
    say(f"{datetime.now():%H:%M:%S}  {run.state}")  # noqa: DTZ005 - the wall clock of the person who looks on


def _tree(chain: Node) -> Any:
    from rich.text import Text
    from rich.tree import Tree

    def branch(node: Node) -> Tree:
        label = Text.assemble((f"{node.because} " if node.because else "", "dim"), (node.title, "bold"), f"  {node.id}")
        for name, value in node.facts:
            label.append(f"\n{name}: ", style="dim").append(value)
        tree = Tree(label)
        for child in node.children:
            tree.children.append(branch(child))
        return tree

    return branch(chain)
