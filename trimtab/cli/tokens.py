"""``trimtab tokens``: who may call the gateway, and for what."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.terminal import console, parse_moment, read_settings, say
from trimtab.errors import SpecError, UnknownModelError

if TYPE_CHECKING:
    from trimtab.serving.token_store import TokenStore
    from trimtab.serving.tokens import Token

app = typer.Typer(no_args_is_help=True, help="Who may call the gateway, and for what.")

Which = Annotated[str, typer.Argument(metavar="NAME|ID", help="The token's name or id.")]
Expires = Annotated[
    str | None, typer.Option(metavar="TIME", help="When it ends, such as 2027-01-01 (UTC); never if left out.")
]


@app.command(
    "create", epilog="Example: trimtab tokens create branch-app --scope predict --model flight-delay > token.txt"
)
def create(
    name: Annotated[str, typer.Argument(help="Whose it is; stands as caller beside each prediction.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="What it opens: predict, outcomes, read (predictions on record), admin (routes). Repeatable."
        ),
    ],
    model: Annotated[list[str] | None, typer.Option(help="Only for this model; all if left out. Repeatable.")] = None,
    expires: Expires = None,
) -> None:
    """Make a token and print it: to stdout alone, once, never again. Running gateways know it within a second."""
    now = datetime.now(UTC)
    token, text = _store().create(name, scope, now, model or None, parse_moment(expires, "--expires"))
    _hand_over(token, text)
    _note_unknown(model or ())


@app.command("list")
def list_() -> None:
    """List the tokens, oldest first; also those that expired or were revoked. No secret is shown: none is kept."""
    now = datetime.now(UTC)
    tokens = _store().tokens()
    if not tokens:
        say("there are no tokens; make one with `trimtab tokens create NAME --scope predict`")
    elif sys.stdout.isatty():
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for heading in _HEADINGS:
            table.add_column(heading, overflow="fold")
        for token in tokens:
            table.add_row(*_cells(token, now))
        console().print(table)
    else:
        for token in tokens:
            say("\t".join(_cells(token, now)))


@app.command("revoke")
def revoke(which: Which) -> None:
    """End a token, all its secrets included. Running gateways refuse it within a second."""
    token = _store().revoke(which, datetime.now(UTC))
    say(f"revoked {token.name} ({token.id})")


@app.command("rotate", epilog="Example: trimtab tokens rotate branch-app --overlap-s 3600 > token.txt")
def rotate(
    which: Which,
    overlap_s: Annotated[
        float, typer.Option(min=0, max=366 * 86_400, help="For how many seconds the secret until now stays valid.")
    ] = 86_400,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="A new end of the token; as it was if left out.")
    ] = None,
) -> None:
    """Give a token a new secret and print it: to stdout alone, once. The old one stays valid for the overlap."""
    token, text = _store().rotate(which, datetime.now(UTC), overlap_s, parse_moment(expires, "--expires"))
    _hand_over(token, text)


_HEADINGS = ("name", "id", "state", "scopes", "models", "created", "expires", "secrets")


def _store() -> TokenStore:
    from trimtab.serving.token_store import TokenStore

    return TokenStore(read_settings().home)


def _hand_over(token: Token, text: str) -> None:
    typer.echo(text)
    typer.echo(
        f"{token.name} ({token.id}), for {', '.join(token.scopes)}, {_models(token)}, {_end(token)}. "
        "It is shown this once: keep it where secrets are kept.",
        err=True,
    )


def _note_unknown(models: Iterable[str]) -> None:
    """Say which models there are none of: they may be yet to come, or mistyped."""
    from trimtab.models import load_model

    for model in models:
        try:
            load_model(read_settings().models_dir, model)
        except UnknownModelError as error:
            typer.echo(f"note: {error}", err=True)
        except SpecError:
            # A gateway's machine need not have the models' folders.
            return


def _cells(token: Token, now: datetime) -> tuple[str, ...]:
    from trimtab.serving.tokens import utc

    valid = sum(secret.expires_at is None or secret.expires_at > now for secret in token.secrets)
    state = token.state(now)
    secrets = f"{valid} valid" if state == "valid" else "none valid"
    created = utc(token.created_at)
    return (token.name, token.id, state, ",".join(token.scopes), _models(token), created, _end(token), secrets)


def _models(token: Token) -> str:
    return "all models" if token.models is None else ",".join(token.models)


def _end(token: Token) -> str:
    from trimtab.serving.tokens import utc

    if token.revoked_at is not None:
        return f"revoked {utc(token.revoked_at)}"
    return "never expires" if token.expires_at is None else f"expires {utc(token.expires_at)}"
