"""Commands for the stack itself: up, apply, check, demo."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.terminal import console, read_settings, say
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from trimtab.checks import Check

app = typer.Typer()


@app.command(epilog="Example: TRIMTAB_HOME=/srv/trimtab trimtab up")
def up(
    with_apply: Annotated[bool, typer.Option("--apply/--no-apply", help="Apply the deployments once up.")] = True,
) -> None:
    """Start all services here, keep them up, and stop them with one Ctrl-C."""
    from trimtab.services import Supervisor, stop_on_signals

    settings = read_settings()
    with stop_on_signals():
        try:
            with Supervisor(settings, say) as supervisor:
                if with_apply:
                    from deployments.apply import apply as match_server

                    say(f"deployments: {match_server(supervisor.settings)}")
                running = supervisor.settings
                say(f"up. Prefect {running.prefect_url}  MLflow {running.mlflow_url}  gateway {running.gateway_url}")
                say(f"    reports {running.reports_url}  home {running.home}.  Ctrl-C stops it all.")
                supervisor.wait()
        except KeyboardInterrupt:
            say("stopped")


@app.command("apply", epilog="Twice changes nothing; what no spec asks for any more is removed.")
def apply_() -> None:
    """Make the Prefect server match the specs in deployments/models."""
    from deployments.apply import apply as match_server
    from trimtab.settings import require_stack

    settings = read_settings()
    require_stack(settings)
    applied = match_server(settings)
    for what in ("created", "updated", "removed"):
        for name in getattr(applied, what):
            say(f"{what:8} {name}")
    say(str(applied))


@app.command(epilog="Exit code 1 if anything is not ok.")
def check() -> None:
    """Look whether specs and suites are right and the services answer."""
    from trimtab.checks import check_all

    results = check_all(read_settings())
    if sys.stdout.isatty():
        console().print(_checks_table(results))
    else:
        for result in results:
            say(f"{'ok    ' if result.ok else 'FAILED'}  {result.what:8}{result.which}: {result.detail}")
    failed = sum(not result.ok for result in results)
    say(f"{len(results) - failed} ok, {failed} failed")
    if failed:
        raise typer.Exit(1)


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
