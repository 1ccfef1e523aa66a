"""``trimtab alerts``: would people be told."""

from __future__ import annotations

import typer

from trimtab.cli.terminal import Model, read_settings, say
from trimtab.errors import TrimtabError

app = typer.Typer(no_args_is_help=True, help="Who is told of a model's state: try whether it would reach them.")


@app.callback()
def _group() -> None:
    """A group, though it has one command."""


@app.command("test", epilog="Example: trimtab alerts test flight-delay. Exit code 1 if one was not delivered.")
def test(model: Model) -> None:
    """Have Prefect send a test message through each alert on a model's state, and say what became of it."""
    from deployments.deliveries import send_test
    from trimtab.models import load_model
    from trimtab.settings import require_stack

    settings = read_settings()
    require_stack(settings)
    told = send_test(settings, load_model(settings.models_dir, model).spec)
    lost = 0
    for each in told:
        why = each.hindrance or "".join(one.lost or "" for one in each.deliveries)
        say(f"{'not delivered' if why else 'sent':14}{each.alert}{f': {why}' if why else ''}")
        lost += bool(why)
    if lost:
        raise TrimtabError(f"{lost} of {len(told)} alerts of {model} would not reach anyone (docs/alerts.md)")
