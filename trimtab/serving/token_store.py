"""How API tokens are made, ended and given new secrets: by commands, while gateways run.

The file is replaced as a whole under a lock, so that several commands at once lose nothing; a gateway notices within a
second (``access.py``).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from trimtab.errors import SpecError
from trimtab.serving.files import replace_file
from trimtab.serving.routes import is_model_name
from trimtab.serving.tokens import RESERVED_NAMES, SCOPES, Scope, Secret, Token, TokensFile, load_tokens, utc

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class TokenStore:
    """The tokens of a home, to be read and changed by commands. Safe for several processes; blocking."""

    def __init__(self, home: Path) -> None:
        self.file = home / "tokens.json"
        self.mark = home / "tokens.made"
        """Stays once tokens were made: with it and without the file, the gateway lets nobody in."""

    def tokens(self) -> tuple[Token, ...]:
        """All tokens, oldest first; also those that expired or were revoked."""
        try:
            return load_tokens(self.file)
        except FileNotFoundError:
            return ()

    def create(
        self,
        name: str,
        scopes: Sequence[str],
        now: datetime,
        models: Sequence[str] | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[Token, str]:
        """Make a token.

        Returns
        -------
        tuple
            The entry, and the text to hand to its user: it is nowhere else, and cannot be had again.

        Raises
        ------
        SpecError
            If the name is taken or no name, or a scope, model or time is none; nothing is made.
        """
        chosen = _checked_scopes(scopes)
        _check_name(name)
        _check_expiry(expires_at, now)
        if unfit := sorted(model for model in models or () if not is_model_name(model)):
            raise SpecError(f"{unfit} name no model; a name is lower-case letters, digits and hyphens")
        with self._changing() as tokens:
            if taken := _named(tokens, name):
                raise SpecError(
                    f"there is a token {name!r} already ({taken.id}, {taken.state(now)}): rotate it, revoke it first, "
                    "or choose another name"
                )
            token_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(12))
            text, secret = _new_secret(token_id, now)
            token = Token(
                token_id, name, chosen, (secret,), now, tuple(sorted(set(models))) if models else None, expires_at
            )
            self._save((*tokens, token))
        return token, text

    def revoke(self, which: str, now: datetime) -> Token:
        """End a token, by name or id; idempotent by id.

        Raises
        ------
        SpecError
            If there is none.
        """
        with self._changing() as tokens:
            token = _find(tokens, which)
            if token.revoked_at is None:
                token = msgspec.structs.replace(token, revoked_at=now)
                self._save(_with(tokens, token))
        return token

    def rotate(
        self, which: str, now: datetime, overlap_s: float, expires_at: datetime | None = None
    ) -> tuple[Token, str]:
        """Give a token a new secret.

        Parameters
        ----------
        which
            Its name or id.
        now
            The moment of the change.
        overlap_s
            For how long the secrets until now stay valid.
        expires_at
            A new end of the token; by default it keeps its own.

        Returns
        -------
        tuple
            The entry, and the new text.

        Raises
        ------
        SpecError
            If there is none, or it was revoked, or has expired and gets no new end.
        """
        _check_expiry(expires_at, now)
        with self._changing() as tokens:
            token = _find(tokens, which)
            if expires_at is not None:
                token = msgspec.structs.replace(token, expires_at=expires_at)
            if (state := token.state(now)) != "valid":
                remedy = "give it a new end, too (--expires)" if state == "expired" else "create another"
                raise SpecError(f"token {token.name!r} ({token.id}) is {state}: {remedy}")
            end = now + timedelta(seconds=overlap_s)
            kept = tuple(
                old if old.expires_at is not None and old.expires_at <= end else _ending(old, end)
                for old in token.secrets
                if old.expires_at is None or old.expires_at > now
            )
            text, secret = _new_secret(token.id, now)
            token = msgspec.structs.replace(token, secrets=(*kept, secret))
            self._save(_with(tokens, token))
        return token, text

    @contextmanager
    def _changing(self) -> Iterator[tuple[Token, ...]]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # The folder itself is locked: the file is replaced, and a lock on what was replaced keeps nobody out.
        folder = os.open(self.file.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield self.tokens()
        finally:
            os.close(folder)

    def _save(self, tokens: tuple[Token, ...]) -> None:
        replace_file(self.file, msgspec.json.format(msgspec.json.encode(TokensFile(tokens))), 0o600)
        if not self.mark.exists():
            replace_file(self.mark, b"tokens were made: without tokens.json no API token is let in\n", 0o600)


def _new_secret(token_id: str, now: datetime) -> tuple[str, Secret]:
    secret = secrets.token_hex(32)
    return f"trimtab_{token_id}_{secret}", Secret(hashlib.sha256(secret.encode()).hexdigest(), now)


def _ending(secret: Secret, end: datetime) -> Secret:
    return msgspec.structs.replace(secret, expires_at=end)


def _named(tokens: Sequence[Token], name: str) -> Token | None:
    return next((token for token in tokens if token.name == name and token.revoked_at is None), None)


def _find(tokens: Sequence[Token], which: str) -> Token:
    for token in tokens:
        if token.id == which:
            return token
    if found := _named(tokens, which):
        return found
    there = ", ".join(sorted(token.name for token in tokens if token.revoked_at is None)) or "none"
    raise SpecError(f"there is no token {which!r} that is not revoked; there are: {there}")


def _with(tokens: Sequence[Token], changed: Token) -> tuple[Token, ...]:
    return tuple(changed if token.id == changed.id else token for token in tokens)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"the token is named {name!r}; a name is lower-case letters, digits, '.', '_' and '-', at most 64, and "
            "starts with a letter or digit"
        )
    if name in RESERVED_NAMES:
        raise SpecError(f"{name!r} is what trimtab calls a token of its own: choose another name")


def _checked_scopes(scopes: Sequence[str]) -> tuple[Scope, ...]:
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise SpecError(f"{unknown} are no scopes; there are {', '.join(SCOPES)}")
    chosen = tuple(scope for scope in SCOPES if scope in scopes)
    if not chosen:
        raise SpecError(f"a token without a scope opens nothing; give it some of {', '.join(SCOPES)}")
    return chosen


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise SpecError(f"it would expire at {utc(expires_at)}; that must be later than now, {utc(now)}")
