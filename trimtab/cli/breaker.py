"""``trimtab breaker``: how a model's breaker stands, and a person's word that retraining may go on."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from trimtab.cli.terminal import AsOf, Model, parse_moment, read_settings, say

app = typer.Typer(
    no_args_is_help=True, help="What stops retraining after several retrainings in vain, until a person closes it."
)


@app.command("show", epilog="Example: trimtab breaker show flight-delay")
def show(model: Model) -> None:
    """Say whether a model's breaker is open, the retrainings in vain that count, and who has closed it before."""
    from trimtab.decay.on_record import read_breaker
    from trimtab.ledger import Ledger
    from trimtab.models import load_model
    from trimtab.records import BreakerClosed

    settings = read_settings()
    spec, ledger = load_model(settings.models_dir, model).spec, Ledger(settings.ledger)
    stands = read_breaker(spec, ledger)
    word = "open: no decay starts a retraining" if stands.is_open else "closed"
    say(f"the breaker of {model} is {word} ({len(stands.in_vain)} of {spec.policy.breaker} retrainings in vain)")
    for retraining in stands.in_vain:
        outcome = f"released {retraining.release_id}, rolled back" if retraining.release_id else "kept the champion"
        say(f"    {retraining.as_of:%Y-%m-%d %H:%M}  {retraining.id}  {outcome}")
    for closing in ledger.records(BreakerClosed, model):
        said = f"at {closing.closed_at:%Y-%m-%d %H:%M:%S}, for rulings from {closing.as_of:%Y-%m-%d %H:%M:%S} on"
        say(f"    closed by {closing.closed_by} {said}: {closing.reason}")


@app.command("close", epilog="Example: trimtab breaker close flight-delay --reason 'new source since May, INC-17'")
def close(
    model: Model,
    reason: Annotated[str, typer.Option(help="Why retraining may go on; it goes on record.")],
    by: Annotated[str | None, typer.Option(help="Who says so; the user of this machine if left out.")] = None,
    as_of: AsOf = None,
) -> None:
    """Close a model's breaker: the next loss of performance may retrain again. It goes on record in the ledger."""
    from trimtab.decay.on_record import plan_closing
    from trimtab.ledger import Ledger
    from trimtab.models import load_model

    settings = read_settings()
    spec, ledger = load_model(settings.models_dir, model).spec, Ledger(settings.ledger)
    now = datetime.now(UTC)
    closing = plan_closing(spec, ledger, reason, by or getpass.getuser(), now, parse_moment(as_of) or now)
    ledger.append(closing)
    say(f"the breaker of {model} was closed by {closing.closed_by}: {closing.reason} ({closing.id})")
