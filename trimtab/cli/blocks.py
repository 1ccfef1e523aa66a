"""``trimtab block``, ``blocks`` and ``unblock``: rows that neither train nor judge."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from trimtab.cli.terminal import Model, parse_moment, read_settings, say

app = typer.Typer()

By = Annotated[str | None, typer.Option(help="Who says so; the user of this machine if left out.")]


@app.command(epilog="Example: trimtab block loan --from 2024-03-01 --to 2024-03-04 --reason 'incomes in cents'")
def block(
    model: Model,
    start: Annotated[str, typer.Option("--from", help="Rows with an event time from here on.")],
    end: Annotated[str, typer.Option("--to", help="Rows with an event time before this moment.")],
    reason: Annotated[str, typer.Option(help="Why; it goes on record.")],
    by: By = None,
) -> None:
    """Keep the rows of a span from training and evaluation, until it is lifted. It goes on record in the ledger."""
    from trimtab.ledger import Ledger
    from trimtab.models import load_model
    from trimtab.training.blocks import block_span

    settings = read_settings()
    name = load_model(settings.models_dir, model).spec.name
    since, until = parse_moment(start, "--from"), parse_moment(end, "--to")
    assert since is not None
    assert until is not None
    span = block_span(Ledger(settings.ledger), name, since, until, reason, by or getpass.getuser(), datetime.now(UTC))
    say(f"{span.id} keeps rows of {name} from {span.start} to {span.end} out of training and evaluation")


@app.command(epilog="Example: trimtab unblock blocked-span-0123456789abcdef --reason 'the rows were repaired'")
def unblock(
    blocked_id: Annotated[str, typer.Argument(help="Id of the block, or of the BLOCK ruling.")],
    reason: Annotated[str, typer.Option(help="Why; it goes on record.")],
    by: By = None,
) -> None:
    """Lift a block: its rows train and judge again."""
    from trimtab.ledger import Ledger
    from trimtab.training.blocks import lift_block

    lifted = lift_block(Ledger(read_settings().ledger), blocked_id, reason, by or getpass.getuser(), datetime.now(UTC))
    say(f"{blocked_id} was lifted by {lifted.lifted_by} at {lifted.lifted_at:%Y-%m-%d %H:%M:%S}: {lifted.reason}")


@app.command(epilog="Example: trimtab blocks loan")
def blocks(model: Model) -> None:
    """List what of a model's rows is kept from training and evaluation, and why."""
    from trimtab.ledger import Ledger
    from trimtab.models import load_model
    from trimtab.records import BlockedSpan
    from trimtab.training.blocks import standing_blocks

    settings = read_settings()
    ledger, name = Ledger(settings.ledger), load_model(settings.models_dir, model).spec.name
    found = standing_blocks(ledger, name, datetime.now(UTC))
    for each in found:
        record = ledger.get(each.because).record
        who = f"blocked by {record.blocked_by}: " if isinstance(record, BlockedSpan) else "ruled BLOCK: "
        say(f"{each.because}  {each.start} to {each.end}")
        say(f"    {who}{getattr(record, 'reason', '')}")
    if not found:
        say(f"nothing of {name} is blocked")
