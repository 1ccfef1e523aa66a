"""API tokens: who may do what at the gateway, kept in ``<home>/tokens.json`` without their secrets.

A token reads ``trimtab_<id>_<secret>``: the id is public and leads to the entry, the secret (256 random bits) is kept
as its SHA-256 only. ``token_store.py`` changes the file, ``access.py`` holds calls against it.

Also the admin token, which trimtab's own flows move routes with: made on first use, readable by its owner only.
"""

from __future__ import annotations

import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from trimtab.errors import SpecError
from trimtab.serving.files import give_to_owner

Scope = Literal["predict", "outcomes", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""``predict``, ``outcomes`` (state them), ``read`` (predictions on record), ``admin`` (routes)."""

RESERVED_NAMES = frozenset({"gateway-token", "admin-token"})
"""What ``TRIMTAB_GATEWAY_TOKEN`` and the admin token are called on record."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_TEXT = re.compile(rb"trimtab_([a-z2-7]{12})_([0-9a-f]{64})")


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One secret of a token; a token that is being rotated has two that are valid."""

    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    created_at: Moment
    expires_at: Moment | None = None


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a token allows. ``models`` None: all of them. A revoked one is kept, so that it can be told who had it."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z2-7]{12}\Z")]
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1)]
    secrets: Annotated[tuple[Secret, ...], msgspec.Meta(min_length=1)]
    created_at: Moment
    models: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    expires_at: Moment | None = None
    revoked_at: Moment | None = None

    def state(self, now: datetime) -> str:
        """``valid``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


class TokensFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``tokens.json`` holds."""

    # A field that this version does not know may restrict a token: it is refused, never ignored.
    tokens: tuple[Token, ...]
    format_version: Literal[1] = 1


def parse_token(text: bytes) -> tuple[bytes, bytes] | None:
    """Id and secret of a text in a token's form; None if it is not."""
    match = _TEXT.fullmatch(text)
    return None if match is None else (match[1], match[2])


def load_tokens(file: Path) -> tuple[Token, ...]:
    """The tokens kept in a file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    SpecError
        If it cannot be read, others than its owner may write to it, or it does not hold tokens; the message names it.
    """
    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode & 0o777
            content = stream.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SpecError(
            f"{file} cannot be read ({error.strerror}); it must be readable by the gateway's user"
        ) from error
    if mode & 0o022:
        raise SpecError(f"{file} may be written to by others than its owner (mode {mode:o}); set it to 600")
    try:
        tokens = msgspec.json.decode(content, type=TokensFile).tokens
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(f"{file} does not hold tokens ({error}); put back a good copy") from error
    if len({token.id for token in tokens}) != len(tokens):
        raise SpecError(f"{file} holds two tokens of one id; put back a good copy")
    return tokens


def utc(moment: datetime) -> str:
    """A moment as people read it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def admin_token(file: Path) -> str:
    """The admin token in the file; a new one if there is no file yet.

    Safe when several processes ask at once: one of them makes it, all read the same.
    """
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        pass
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_urlsafe(32).encode())
        give_to_owner(handle, file.parent)
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        # A link, unlike a rename, fails if another process was first.
        os.link(aside, file)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
    return file.read_text().strip()
