"""``trimtab predictions hold``, ``holds``, ``release-hold`` and ``prune``: how long predictions are kept."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.terminal import Model, parse_moment, read_settings, say

if TYPE_CHECKING:
    from trimtab.predictions import PredictionLog
    from trimtab.records import Hold
    from trimtab.settings import Settings
    from trimtab.spec import ModelSpec

app = typer.Typer()

By = Annotated[str | None, typer.Option(help="Who says so; the user of this machine if left out.")]


@app.command(
    "hold", epilog="Example: trimtab predictions hold loan --from 2024-01-01 --to 2024-04-01 --reason 'case 17'"
)
def hold(
    model: Model,
    reason: Annotated[str, typer.Option(help="Why, such as the number of a case.")],
    start: Annotated[str | None, typer.Option("--from", help="Predictions with an event time from here on.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Predictions with an event time before this moment.")] = None,
    prediction: Annotated[str, typer.Option(help="One prediction, by its id, in place of times.")] = "",
    by: By = None,
) -> None:
    """Keep predictions, whatever the retention, until the hold is released. It goes on record in the ledger."""
    from trimtab.ledger import Ledger
    from trimtab.predictions.holds import place_hold, too_late

    settings = read_settings()
    spec = _spec(settings, model)
    ledger = Ledger(settings.ledger)
    placed = place_hold(
        *(ledger, _log(settings, spec), spec.name, reason, by or getpass.getuser(), datetime.now(UTC)),
        start=parse_moment(start, "--from"),
        end=parse_moment(end, "--to"),
        prediction_id=prediction,
    )
    say(f"{placed.id} holds {_covered(placed)} of {spec.name}")
    for pruning in too_late(ledger, placed):
        say(
            f"too late for segment {pruning.segment_id}, events from {pruning.oldest_event_time} to "
            f"{pruning.newest_event_time}: its deletion was on record before ({pruning.id})"
        )


@app.command("holds")
def holds(
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    released: Annotated[bool, typer.Option("--all", help="Those that are released, too.")] = False,
) -> None:
    """List the legal holds, oldest first."""
    from trimtab.ledger import Ledger
    from trimtab.predictions.holds import all_holds

    found = [each for each in all_holds(Ledger(read_settings().ledger), model) if released or not each.released]
    for each in found:
        placed, end = each.hold, each.released
        say(f"{placed.id}  {placed.model}  {_covered(placed)}")
        say(f"    placed by {placed.placed_by} at {placed.placed_at:%Y-%m-%d %H:%M:%S}: {placed.reason}")
        if end is not None:
            say(f"    released by {end.released_by} at {end.released_at:%Y-%m-%d %H:%M:%S}: {end.reason}")
    if not found:
        say("no hold stands")


@app.command("release-hold")
def release(
    hold_id: Annotated[str, typer.Argument(help="Id of the hold, such as hold-0123456789abcdef.")],
    reason: Annotated[str, typer.Option(help="Why, such as that a case is closed.")],
    by: By = None,
) -> None:
    """End a legal hold; what it kept is deleted by the next pruning if its time is up."""
    from trimtab.ledger import Ledger
    from trimtab.predictions.holds import release_hold

    ledger = Ledger(read_settings().ledger)
    ended = release_hold(ledger, hold_id, reason, by or getpass.getuser(), datetime.now(UTC))
    say(f"{hold_id} was released by {ended.released_by} at {ended.released_at:%Y-%m-%d %H:%M:%S}: {ended.reason}")


@app.command("prune")
def prune(
    model: Annotated[str | None, typer.Argument(help="Name of the model; every model if left out.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is due, and delete nothing.")] = False,
) -> None:
    """Delete segments whose time is up under their models' retention_days, and which no hold covers."""
    from trimtab.models import load_models

    settings = read_settings()
    specs = [_spec(settings, model)] if model else [each.spec for each in load_models(settings.models_dir).values()]
    for spec in specs:
        (_tell_due if dry_run else _prune)(settings, spec)


def _prune(settings: Settings, spec: ModelSpec) -> None:
    from trimtab.ledger import Ledger
    from trimtab.predictions.retention import prune as prune_log

    log, ledger = _log(settings, spec), Ledger(settings.ledger)
    gone = prune_log(log, ledger, spec.name, spec.retention_days, datetime.now(UTC))
    for pruned in gone:
        say(f"{spec.name}: deleted {pruned.segment_id} ({pruned.rows} predictions); on record as {pruned.id}")
    if not gone:
        say(f"{spec.name}: nothing to delete ({_kept(spec)})")


def _tell_due(settings: Settings, spec: ModelSpec) -> None:
    from trimtab.ledger import Ledger
    from trimtab.predictions.holds import standing_holds
    from trimtab.predictions.retention import due

    found = []
    if spec.retention_days is not None:
        holds = standing_holds(Ledger(settings.ledger), spec.name)
        found = due(_log(settings, spec), holds, spec.retention_days, datetime.now(UTC))
    for each in found:
        fate = f"held by {', '.join(hold.id for hold in each.holds)}" if each.holds else "would be deleted"
        times = f"{each.span.min_event_time:%Y-%m-%d %H:%M} to {each.span.max_event_time:%Y-%m-%d %H:%M}"
        say(f"{spec.name}: {each.span.name}: {each.span.rows} predictions, events {times}: {fate}")
    if not found:
        say(f"{spec.name}: nothing is due ({_kept(spec)})")


def _spec(settings: Settings, model: str) -> ModelSpec:
    from trimtab.models import load_model

    return load_model(settings.models_dir, model).spec


def _log(settings: Settings, spec: ModelSpec) -> PredictionLog:
    from trimtab.predictions import PredictionLog

    return PredictionLog(settings.predictions_dir / spec.name, settings)


def _kept(spec: ModelSpec) -> str:
    return "kept for ever" if spec.retention_days is None else f"kept for {spec.retention_days} days"


def _covered(placed: Hold) -> str:
    if placed.prediction_id:
        return f"prediction {placed.prediction_id}"
    return f"events from {placed.start or 'the beginning'} to {placed.end or 'the end'}"
