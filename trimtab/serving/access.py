"""Who may do what: every call of the gateway is held against the tokens, and every denied one is counted.

Three things let a caller in: an API token (``<home>/tokens.json``, with its scopes and models), the setting
``gateway_token`` (all but routes), and the admin token (routes). The files are looked at again at most once a second,
so that a rotated or a revoked token counts without a restart, and where a token is unknown, so that a new one counts at
once. A file that is damaged leaves the last good one in force; one that is gone, though tokens were made, lets nobody
in.

A token's secret is 256 random bits, so a single SHA-256 keeps it; docs/decisions/ says why not more.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from trimtab.errors import RequestError, SpecError
from trimtab.serving.token_store import TokenStore
from trimtab.serving.tokens import SCOPES, Scope, Token, admin_token, load_tokens, parse_token
from trimtab.settings import Settings
from trimtab.wire.http import header_text

REASONS = ("missing", "unknown", "expired", "revoked", "scope", "model")
"""Why a call may be denied."""

MAX_CALLER_CHARACTERS = 200
_LOOK_EVERY_US = 1_000_000
_LOOK_AGAIN_US = 20_000
_REMEMBERED = 4096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = 2**63 - 1
_HOW = "send it as Authorization: Bearer <token>"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who was let in. ``name`` is the token's, empty where the gateway is open; ``models`` None: all of them."""

    name: str = ""
    token_id: str = ""
    models: frozenset[str] | None = None

    def may_use(self, model: str) -> bool:
        """Whether the caller's token is for this model."""
        return self.models is None or model in self.models

    def on_record(self, header: bytes | None) -> str:
        """What stands beside a prediction as its ``caller``.

        The token's name comes first, whatever the caller says of itself in ``x-trimtab-caller``: ``name``, or
        ``name/header`` of a service that acts for others. Where the gateway is open it is the header alone.

        Raises
        ------
        RequestError
            400 if the header is too long.
        """
        if not header:
            return self.name
        stated = header_text(header)
        if len(stated) > MAX_CALLER_CHARACTERS:
            raise RequestError(
                400, f"x-trimtab-caller has {len(stated)} characters; it may have {MAX_CALLER_CHARACTERS}"
            )
        return f"{self.name}/{stated}" if self.name else stated


@dataclass(frozen=True, slots=True)
class _Grant:
    """What one secret opens, and until when (microseconds since 1970)."""

    caller: Caller
    scopes: frozenset[str]
    until_us: int
    revoked: bool = False


_OPEN = Caller()
_NOBODY: tuple[tuple[bytes, _Grant], ...] = ((bytes(32), _Grant(Caller(), frozenset(), 0)),)


class Access:
    """Decides on every call. One event loop; a look at the files takes microseconds, once a second.

    Parameters
    ----------
    settings : Settings
        ``home`` holds the tokens; ``gateway_token`` is one more.

    Attributes
    ----------
    denied : dict
        How many calls were denied, by reason.

    Raises
    ------
    SpecError
        If the tokens or the admin token cannot be read at the start: no state is known that could stay in force.
    """

    def __init__(self, settings: Settings) -> None:
        store = TokenStore(settings.home)
        self.denied: dict[str, int] = dict.fromkeys(REASONS, 0)
        self._file, self._mark, self._admin_file = store.file, store.mark, settings.admin_token_file
        given = settings.gateway_token.encode()
        # A text in an API token's form is what a client of this home sends: it opens what its entry says, no more.
        self._given = given if parse_token(given) is None else b""
        self._must = bool(given)
        self._in_force = True
        self._by_id: dict[bytes, tuple[tuple[bytes, _Grant], ...]] = {}
        self._fixed: tuple[tuple[bytes, _Grant], ...] = ()
        self._remembered: dict[bytes, _Grant] = {}
        self._admin = ""
        self._looked_us = 0
        self._told: dict[str, tuple[int, int]] = {}
        admin_token(self._admin_file)
        self._seen = self._signatures()
        self._take_tokens(_read_tokens(self._file, self._mark))
        self._take_admin()

    @property
    def in_force(self) -> bool:
        """Whether callers must send a token."""
        return self._in_force

    def check(
        self, authorization: bytes | None, scope: Scope | None, model: str | None, now_us: int, peer: str = ""
    ) -> Caller:
        """Let a call in, or deny it.

        Parameters
        ----------
        authorization
            The header of that name.
        scope
            What is asked for; None: any will do.
        model
            The model that it is about; None if the call does not say (then see :meth:`Caller.may_use`).
        now_us
            Microseconds since 1970.
        peer
            The caller's address, for the log.

        Raises
        ------
        RequestError
            401 if the token is missing, wrong, expired or revoked; 403 if it is not for that scope or model.
        """
        # Also if the clock was set back.
        if not 0 <= now_us - self._looked_us < _LOOK_EVERY_US:
            self._look(now_us)
        if not self._in_force and scope != "admin":
            return _OPEN
        if authorization is None:
            raise self._denial("missing", 401, f"the caller's token is missing; {_HOW}{_hint(scope)}", now_us, peer)
        # Known by its digest: what is kept in memory, and how long a look-up takes, tells nothing of a secret.
        key = sha256(authorization).digest()
        grant = self._remembered.get(key)
        if grant is None:
            grant = self._grant_of(authorization)
            if grant is None and now_us - self._looked_us >= _LOOK_AGAIN_US:
                # It may be newer than the last look.
                self._look(now_us)
                grant = self._grant_of(authorization)
            if grant is None:
                raise self._stranger(authorization, scope, now_us, peer)
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = grant
        if (
            now_us < grant.until_us
            and (scope is None or scope in grant.scopes)
            and (model is None or grant.caller.models is None or model in grant.caller.models)
        ):
            return grant.caller
        raise self._refusal(grant, scope, model, now_us, peer)

    def _grant_of(self, authorization: bytes) -> _Grant | None:
        """Whose token it is. Every comparison is made, in constant time, whoever it is: a wrong id gains nothing."""
        kind, _, text = authorization.partition(b" ")
        text = text.strip()
        found: _Grant | None = None
        digest = sha256(text).digest()
        for known, grant in self._fixed:
            if hmac.compare_digest(known, digest):
                found = grant
        token_id, secret = parse_token(text) or (b"", b"")
        digest = sha256(secret).digest()
        for known, grant in self._by_id.get(token_id, _NOBODY):
            if hmac.compare_digest(known, digest):
                found = grant
        return found if kind.lower() == b"bearer" else None

    def _stranger(self, authorization: bytes, scope: Scope | None, now_us: int, peer: str) -> RequestError:
        token_id, _ = parse_token(authorization.partition(b" ")[2].strip()) or (b"", b"")
        whose = token_id.decode() if token_id in self._by_id else ""
        return self._denial("unknown", 401, f"the caller's token is wrong; {_HOW}{_hint(scope)}", now_us, peer, whose)

    def _refusal(self, grant: _Grant, scope: Scope | None, model: str | None, now_us: int, peer: str) -> RequestError:
        caller = grant.caller
        known_as = caller.token_id or caller.name
        whose = f"token {caller.name!r}" + (f" ({caller.token_id})" if caller.token_id else "")
        if grant.revoked:
            return self._denial("revoked", 401, f"{whose} was revoked", now_us, peer, known_as)
        if now_us >= grant.until_us:
            said = f"{whose} is no longer valid with this secret: it was rotated, or has expired"
            return self._denial("expired", 401, said, now_us, peer, known_as)
        if scope is not None and scope not in grant.scopes:
            has = ", ".join(each for each in SCOPES if each in grant.scopes)
            said = f"{whose} is not for {scope}; it is for {has}{_hint(scope)}"
            return self._denial("scope", 403, said, now_us, peer, known_as)
        may = ", ".join(sorted(caller.models or ()))
        said = f"{whose} is not for model {(model or '')[:128]!r}; it is for {may}"
        return self._denial("model", 403, said, now_us, peer, known_as)

    def _denial(
        self, reason: str, status: int, message: str, now_us: int, peer: str, token_id: str = ""
    ) -> RequestError:
        """Count and log a denied call; what to answer it with."""
        self.denied[reason] += 1
        told_us, unsaid = self._told.get(reason, (0, 0))
        # At most a line a second for each reason: a flood of wrong tokens must not fill the disk.
        if 0 <= now_us - told_us < _LOOK_EVERY_US:
            self._told[reason] = (told_us, unsaid + 1)
        else:
            self._told[reason] = (now_us, 0)
            more = f"; {unsaid} more since the last such line" if unsaid else ""
            _logger.warning("denied (%s): caller %s, token %s%s", reason, peer or "unknown", token_id or "none", more)
        return RequestError(status, message)

    def _look(self, now_us: int) -> None:
        """Take up what changed in the files; what cannot be read leaves the last good state in force."""
        self._looked_us = now_us
        seen = self._signatures()
        if seen == self._seen:
            return
        tokens, admin = seen[:2] != self._seen[:2], seen[2] != self._seen[2]
        self._seen = seen
        for changed, take in ((tokens, self._take_file), (admin, self._take_admin)):
            try:
                if changed:
                    take()
            except SpecError as error:
                _logger.error("%s; what was known until now stays in force", error)

    def _take_file(self) -> None:
        found = _read_tokens(self._file, self._mark)
        if found is None and self._by_id:
            found = _gone(self._file, self._mark)
        self._take_tokens(found)

    def _signatures(self) -> tuple[object, object, object]:
        return _signature(self._file), self._mark.exists(), _signature(self._admin_file)

    def _take_tokens(self, tokens: tuple[Token, ...] | None) -> None:
        self._in_force = self._must or tokens is not None
        self._by_id = {token.id.encode(): _grants(token) for token in tokens or ()}
        self._remembered.clear()

    def _take_admin(self) -> None:
        try:
            text = self._admin_file.read_text().strip()
        except FileNotFoundError:
            return  # whoever wants to move a route makes it anew; until then the old one counts
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"{self._admin_file} cannot be read ({error})") from error
        if not text:
            raise SpecError(f"{self._admin_file} is empty; remove it, and a new token is made when one is needed")
        fixed = [(sha256(text.encode()).digest(), _Grant(Caller("admin-token"), frozenset({"admin"}), _NEVER))]
        if self._given:
            scopes = frozenset({"predict", "outcomes", "read"})
            fixed.append((sha256(self._given).digest(), _Grant(Caller("gateway-token"), scopes, _NEVER)))
        self._fixed = tuple(fixed)
        self._remembered.clear()


def refuse_to_be_open(access: Access, settings: Settings, host: str) -> None:
    """Refuse to answer anyone from anywhere.

    Raises
    ------
    SpecError
        If the address to listen on is not loopback, no token is in force, and nobody said that this is meant.
    """
    if access.in_force or settings.allow_open or _is_loopback(host):
        return
    raise SpecError(
        f"the gateway would listen on {host!r}, reachable from elsewhere, and let everyone in: make a token first "
        "(`trimtab tokens create NAME --scope predict`), set TRIMTAB_GATEWAY_TOKEN, listen on 127.0.0.1, or, if it is "
        "meant, set TRIMTAB_ALLOW_OPEN=true"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_tokens(file: Path, mark: Path) -> tuple[Token, ...] | None:
    """The tokens; None if none were ever made."""
    try:
        return load_tokens(file)
    except FileNotFoundError:
        return _gone(file, mark) if mark.exists() else None


def _gone(file: Path, mark: Path) -> tuple[Token, ...]:
    _logger.error(
        "%s is gone, though tokens were made: no API token is let in. Put it back, or make tokens anew; to have no "
        "tokens at all, remove %s too and restart",
        *(file, mark.name),
    )
    return ()


def _signature(file: Path) -> object:
    try:
        found = os.stat(file)
    except OSError as error:
        return error.errno
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _grants(token: Token) -> tuple[tuple[bytes, _Grant], ...]:
    caller = Caller(token.name, token.id, None if token.models is None else frozenset(token.models))
    revoked, scopes = token.revoked_at is not None, frozenset(token.scopes)
    return tuple(
        (
            bytes.fromhex(secret.sha256),
            _Grant(caller, scopes, 0 if revoked else min(_us(token.expires_at), _us(secret.expires_at)), revoked),
        )
        for secret in token.secrets
    )


def _us(moment: datetime | None) -> int:
    return _NEVER if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


def _hint(scope: Scope | None) -> str:
    return "; for routes, the one in admin.token of trimtab's home, or one of scope admin" if scope == "admin" else ""
