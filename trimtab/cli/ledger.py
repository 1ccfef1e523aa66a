"""``trimtab ledger``: what was decided and done, and the proof that it still says so."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab.cli.terminal import read_settings, say

app = typer.Typer(no_args_is_help=True, help="What was decided and done, and the proof that it still says so.")


@app.command("verify")
def verify() -> None:
    """Check every hash of the ledger from the first entry on."""
    from trimtab.ledger import Ledger

    ledger = Ledger(read_settings().ledger)
    checked = ledger.verify()
    say(f"the chain holds: {checked} entries, the newest with hash {ledger.head()[1]}")


@app.command("list", epilog="Example: trimtab ledger list --kind release --model flight-delay")
def list_(
    kind: Annotated[str | None, typer.Option(help="Only this kind: release, ruling, decision, ...")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest.")] = 50,
) -> None:
    """List the entries of the ledger, oldest first."""
    from trimtab.ledger import Ledger
    from trimtab.records import RECORDS

    if kind is not None and kind not in RECORDS:
        raise typer.BadParameter(f"{kind!r} is no kind of record; it must be one of {', '.join(RECORDS)}")
    entries = Ledger(read_settings().ledger).entries(RECORDS[kind] if kind else None, model)
    for entry in entries[-limit:]:
        recorded = f"{entry.recorded_at:%Y-%m-%d %H:%M:%S}"
        say(f"{entry.sequence:6}  {recorded}  {entry.record.kind:10}  {entry.record.model}  {entry.record.id}")
    if len(entries) > limit:
        say(f"(the newest {limit} of {len(entries)})")


@app.command("show")
def show(
    record_id: Annotated[str, typer.Argument(help="Id of the record, such as release-0123456789abcdef.")],
) -> None:
    """Show one record as JSON, and what it follows from."""
    from trimtab.ledger import Ledger

    entry = Ledger(read_settings().ledger).get(record_id)
    typer.echo(entry.record.model_dump_json(indent=2))
    say(f"entry {entry.sequence}, {entry.recorded_at:%Y-%m-%d %H:%M:%S} UTC, hash {entry.hash}")
    say(f"flow run {entry.flow_run_id or 'none'}; follows from {', '.join(entry.parents) or 'nothing'}")
