"""The command ``trimtab``. Heavy parts are imported by the commands that need them, so that it answers at once."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from deployments.runs import Run
    from trimtab.checks import Check
    from trimtab.lineage import Node
    from trimtab.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Keeps machine-learning models right in production: retrain, prove, redeploy, watch, and remember why.",
    epilog="Start with: [bold]trimtab up[/bold], then in another terminal [bold]trimtab check[/bold].",
)
predictions_app = typer.Typer(no_args_is_help=True, help="What the models predicted.")
ledger_app = typer.Typer(no_args_is_help=True, help="What was decided and done, and the proof that it still says so.")
app.add_typer(predictions_app, name="predictions")
app.add_typer(ledger_app, name="ledger")

Model = Annotated[str, typer.Argument(help="Name of the model, such as flight-delay.")]
PredictionId = Annotated[str, typer.Argument(help="The id that the prediction was answered with (a UUID).")]
AsOf = Annotated[
    str | None,
    typer.Option(
        help="The moment to act as of, such as 2013-07-01 or 2013-07-01T06:00:00+00:00 (UTC); now if left out."
    ),
]
Local = Annotated[bool, typer.Option("--local", help="Run the flow in this process instead of asking the worker.")]
Wait = Annotated[bool, typer.Option(help="Follow the run to its end; its success is the exit code.")]


def main() -> None:
    """Run the command; an error that trimtab raises on purpose is one line on stderr and exit code 1."""
    try:
        app()
    except TrimtabError as error:
        _errors().print(f"trimtab: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command(epilog="Example: TRIMTAB_HOME=/srv/trimtab trimtab up")
def up(
    with_apply: Annotated[bool, typer.Option("--apply/--no-apply", help="Apply the deployments once up.")] = True,
) -> None:
    """Start all services here, keep them up, and stop them with one Ctrl-C."""
    from trimtab.services import Supervisor, stop_on_signals

    settings = _settings()
    with stop_on_signals():
        try:
            with Supervisor(settings, _say) as supervisor:
                if with_apply:
                    from deployments.apply import apply as match_server

                    _say(f"deployments: {match_server(supervisor.settings)}")
                running = supervisor.settings
                _say(f"up. Prefect {running.prefect_url}  MLflow {running.mlflow_url}  gateway {running.gateway_url}")
                _say(f"    reports {running.reports_url}  home {running.home}.  Ctrl-C stops it all.")
                supervisor.wait()
        except KeyboardInterrupt:
            _say("stopped")


@app.command("apply", epilog="Twice changes nothing; what no spec asks for any more is removed.")
def apply_() -> None:
    """Make the Prefect server match the specs in deployments/models."""
    from deployments.apply import apply as match_server
    from trimtab.settings import require_stack

    settings = _settings()
    require_stack(settings)
    applied = match_server(settings)
    for what in ("created", "updated", "removed"):
        for name in getattr(applied, what):
            _say(f"{what:8} {name}")
    _say(str(applied))


@app.command(epilog="Exit code 1 if anything is not ok.")
def check() -> None:
    """Look whether specs and suites are right and the services answer."""
    from trimtab.checks import check_all

    results = check_all(_settings())
    if sys.stdout.isatty():
        _console().print(_checks_table(results))
    else:
        for result in results:
            _say(f"{'ok    ' if result.ok else 'FAILED'}  {result.what:8}{result.which}: {result.detail}")
    failed = sum(not result.ok for result in results)
    _say(f"{len(results) - failed} ok, {failed} failed")
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: trimtab retrain flight-delay --as-of 2013-07-01 --reason 'new carrier'")
def retrain(
    model: Model,
    as_of: AsOf = None,
    reason: Annotated[str, typer.Option(help="Why; it goes on record.")] = "",
    wait: Wait = True,
    local: Local = False,
) -> None:
    """Train a model anew and release the result if every gate passes."""
    _run("retrain", {"model": model, "as_of": _moment(as_of), "reason": reason}, wait, local)


@app.command(epilog="Example: trimtab watch flight-delay --as-of 2013-04-08")
def watch(model: Model, as_of: AsOf = None, wait: Wait = True, local: Local = False) -> None:
    """Judge the latest window of a model's live predictions."""
    _run("watch", {"model": model, "as_of": _moment(as_of)}, wait, local)


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
    parameters = {"model": model, "reason": reason, "to_version": to_version, "as_of": _moment(as_of)}
    _run("rollback", parameters, wait, local)


@app.command(epilog="Example: trimtab dossier 01929f0e-7b1a-7c3e-9d55-0d4f1c1e2a3b --local")
def dossier(prediction_id: PredictionId, wait: Wait = True, local: Local = False) -> None:
    """Publish everything that led to a prediction: artifacts in Prefect and a page among the reports."""
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

    settings = _settings()
    chain = trace_logged(Ledger(settings.ledger), settings.predictions_dir, prediction_id)
    if markdown:
        typer.echo(to_markdown(chain))
    elif sys.stdout.isatty():
        _console().print(_tree(chain))
    else:
        typer.echo(to_text(chain))


@predictions_app.command("show")
def predictions_show(prediction_id: PredictionId) -> None:
    """Show one logged prediction and what is known of its outcome."""
    from trimtab.predictions import Outcomes, find_prediction

    settings = _settings()
    model, record = find_prediction(settings.predictions_dir, prediction_id)
    width = max(len(name) for name in record)
    _say(f"{'model':{width}}  {model}")
    for name, value in record.items():
        _say(f"{name:{width}}  {'missing' if value is None else value}")
    for each in Outcomes(settings.predictions_dir / model).history(prediction_id):
        note = " (a correction)" if each["correction"] else ""
        _say(f"{'outcome':{width}}  {each['value']:g}{note}, known at {each['observed_at']}")


@ledger_app.command("verify")
def ledger_verify() -> None:
    """Check every hash of the ledger from the first entry on."""
    from trimtab.ledger import Ledger

    ledger = Ledger(_settings().ledger)
    checked = ledger.verify()
    _say(f"the chain holds: {checked} entries, the newest with hash {ledger.head()[1]}")


@ledger_app.command("list", epilog="Example: trimtab ledger list --kind release --model flight-delay")
def ledger_list(
    kind: Annotated[str | None, typer.Option(help="Only this kind: release, ruling, decision, ...")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest.")] = 50,
) -> None:
    """List the entries of the ledger, oldest first."""
    from trimtab.ledger import Ledger
    from trimtab.records import RECORDS

    if kind is not None and kind not in RECORDS:
        raise typer.BadParameter(f"{kind!r} is no kind of record; it must be one of {', '.join(RECORDS)}")
    entries = Ledger(_settings().ledger).entries(RECORDS[kind] if kind else None, model)
    for entry in entries[-limit:]:
        recorded = f"{entry.recorded_at:%Y-%m-%d %H:%M:%S}"
        _say(f"{entry.sequence:6}  {recorded}  {entry.record.kind:10}  {entry.record.model}  {entry.record.id}")
    if len(entries) > limit:
        _say(f"(the newest {limit} of {len(entries)})")


@ledger_app.command("show")
def ledger_show(
    record_id: Annotated[str, typer.Argument(help="Id of the record, such as release-0123456789abcdef.")],
) -> None:
    """Show one record as JSON, and what it follows from."""
    from trimtab.ledger import Ledger

    entry = Ledger(_settings().ledger).get(record_id)
    typer.echo(entry.record.model_dump_json(indent=2))
    _say(f"entry {entry.sequence}, {entry.recorded_at:%Y-%m-%d %H:%M:%S} UTC, hash {entry.hash}")
    _say(f"flow run {entry.flow_run_id or 'none'}; follows from {', '.join(entry.parents) or 'nothing'}")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: trimtab demo --quick",
)
def demo(context: typer.Context) -> None:
    """Replay a year of real flights through the whole loop (arguments go to the demo; --help shows them)."""
    import importlib.util

    if importlib.util.find_spec("demo") is None:
        raise TrimtabError("the demo is not part of the installed package: run `make demo` in a checkout of trimtab")
    import runpy

    sys.argv = ["trimtab demo", *context.args]
    runpy.run_module("demo", run_name="__main__")


def _run(flow: str, parameters: dict[str, Any], wait: bool, local: bool, name: str = "") -> None:
    given = {key: value for key, value in parameters.items() if value is not None}
    settings = _settings()
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
            _tell(settings, flow_run_id, to_stderr=True)
        return
    from deployments.runs import follow_run, start_run

    sent = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in given.items()}
    run = start_run(settings, f"{flow}/{name or given['model']}", sent)
    _say(f"flow run {run.name}: {run.url}")
    if not wait:
        return
    run = follow_run(settings, run, _say_state)
    if not run.succeeded:
        raise TrimtabError(f"flow run {run.name} ended as {run.state}: {run.message}; see {run.url}")
    _tell(settings, str(run.id))


def _tell(settings: Settings, flow_run_id: str, to_stderr: bool = False) -> None:
    """Say what came of a run that has succeeded; a ledger that cannot tell does not change that."""
    from trimtab.errors import LedgerError

    try:
        for line in _what_came_of_it(settings, flow_run_id):
            typer.echo(line, err=to_stderr)
    except LedgerError as error:
        typer.echo(f"what came of it cannot be told: {error}", err=True)


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
                    yield f"{ruling.action}: {ruling.reason}"
                    if ruling.report:
                        yield f"report: {settings.reports_url}/{ruling.report}"
                case Decision() as decision:
                    yield ("released: " if decision.winner_id else "not released: ") + decision.reason
                case Release() as release:
                    yield f"version {release.version} serves at {release.endpoint}"


def _say_state(run: Run) -> None:
    _say(f"{datetime.now():%H:%M:%S}  {run.state}")  # noqa: DTZ005 - the wall clock of the person who looks on


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"--as-of is {text!r}; it must be a date or time such as 2013-07-01 or 2013-07-01T06:00:00+00:00"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _settings() -> Settings:
    from trimtab.settings import Settings, quiet_telemetry

    quiet_telemetry()
    return Settings.from_env()


def _checks_table(results: list[Check]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("what", "which", "state", "detail"):
        table.add_column(heading, overflow="fold")
    for result in results:
        state = "[green]ok[/green]" if result.ok else "[red]FAILED[/red]"
        table.add_row(result.what, result.which, state, escape(result.detail))
    return table


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


def _say(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _errors() -> Console:
    from rich.console import Console

    return Console(stderr=True)


if __name__ == "__main__":
    main()
