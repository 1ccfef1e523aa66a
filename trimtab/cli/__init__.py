"""The command ``trimtab``: a module a group of commands, put together here.

Heavy parts are imported by the commands that need them, so that it answers at once.
"""

from __future__ import annotations

import sys

import typer

from trimtab.cli import (
    alerts,
    backtest,
    blocks,
    breaker,
    data,
    ledger,
    outcomes,
    predictions,
    retention,
    runs,
    stack,
    tokens,
)
from trimtab.cli.terminal import error_console
from trimtab.errors import TrimtabError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Keeps machine-learning models right in production: retrain, prove, redeploy, watch, and remember why.",
    epilog="Start with: [bold]trimtab up[/bold], then in another terminal [bold]trimtab check[/bold].",
)
app.add_typer(stack.app)
app.add_typer(runs.app)
app.add_typer(blocks.app)
app.add_typer(backtest.app)
app.add_typer(data.app)
predictions.app.add_typer(retention.app)
app.add_typer(predictions.app, name="predictions")
app.add_typer(outcomes.app, name="outcomes")
app.add_typer(alerts.app, name="alerts")
app.add_typer(breaker.app, name="breaker")
app.add_typer(ledger.app, name="ledger")
app.add_typer(tokens.app, name="tokens")


def main() -> None:
    """Run the command; an error that trimtab raises on purpose is one line on stderr and exit code 1."""
    try:
        app()
    except TrimtabError as error:
        error_console().print(f"trimtab: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
