"""TLS by configuration: what the gateway proves itself with, and what its callers hold it against.

A certificate that is renewed on disk is taken up at the next handshake, without a restart; a renewal that is half
written, does not fit its key, or has expired, leaves the one before in use and is logged.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
from collections.abc import Sequence
from functools import cache
from urllib.parse import urlsplit

import httpx

from trimtab.errors import SpecError
from trimtab.settings import Settings, variable

_logger = logging.getLogger(__name__)
_EXPIRED = 10
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED."""


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What the gateway's listening socket speaks TLS with; None if no certificate is set: it then speaks plainly.

    TLS 1.2 or newer. Where ``tls_client_ca`` is set, callers must prove themselves with a certificate that it signed.

    Raises
    ------
    SpecError
        If a file is missing, unreadable or does not fit the others, or the gateway's own address is not https.
    """
    if not (settings.tls_cert or settings.tls_key or settings.tls_client_ca):
        return None
    for name, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert"), ("tls_cert", "tls_client_ca")):
        if getattr(settings, other) and not getattr(settings, name):
            raise SpecError(f"{variable(other)} is set but not {variable(name)}: TLS takes both")
    if urlsplit(settings.gateway_url).scheme != "https":
        raise SpecError(
            f"TRIMTAB_GATEWAY_URL is {settings.gateway_url!r}, but TRIMTAB_TLS_CERT is set: it must be "
            "https://host:port, with a host that the certificate names"
        )
    return _Renewing(settings).context


def client_tls(settings: Settings) -> ssl.SSLContext:
    """What a caller of the gateway verifies it with (``tls_ca``, by default the system's authorities), and proves
    itself with (``tls_client_cert`` and ``tls_client_key``).

    Raises
    ------
    SpecError
        If a file is missing, unreadable or does not fit the others.
    """
    if urlsplit(settings.gateway_url).scheme != "https":
        # Nothing is trusted and nothing is loaded, which takes 20 ms.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.tls_ca:
        _trust(context, settings, "tls_ca")
    else:
        context.load_default_certs()
    if settings.tls_client_cert:
        _load_pair(context, settings, "tls_client_cert", "tls_client_key")
    return context


@cache
def public_tls() -> ssl.SSLContext:
    """What a server of the public is verified with, made once: asked five times a second, to make it anew for each
    request (27 ms) takes a tenth of a core from the service that is waited for."""
    return httpx.create_ssl_context(trust_env=False)


class _Renewing:
    """A context whose certificate follows its files."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files = [file for file in (settings.tls_cert, settings.tls_key, settings.tls_client_ca) if file]
        self._seen = _state(self._files)
        self.context = self._current = self._build()
        # Called at every handshake, also of a caller that names no server.
        self.context.sni_callback = self._renew
        if _has_expired(self.context, settings.tls_cert):
            _logger.error("%s; callers that verify it are refused", _expired(settings))

    def _build(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        _load_pair(context, self._settings, "tls_cert", "tls_key")
        if self._settings.tls_client_ca:
            _trust(context, self._settings, "tls_client_ca")
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _renew(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        if (seen := _state(self._files)) != self._seen:
            self._seen = seen
            try:
                renewed = self._build()
                if _has_expired(renewed, self._settings.tls_cert):
                    raise SpecError(_expired(self._settings))
                self._current = renewed
            except SpecError as error:
                _logger.error("%s; the certificate known until now stays in use", error)
            else:
                _logger.info("TLS: took up %s anew", ", ".join(self._files))
        connection.context = self._current


def _has_expired(context: ssl.SSLContext, chain: str) -> bool:
    """Whether the certificate that a server shows is beyond its time: what a caller finds that trusts it else."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(chain)
    to_server, to_caller = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = trusting.wrap_bio(to_caller, to_server)
    server = context.wrap_bio(to_server, to_caller, server_side=True)
    try:
        for side in (caller, server, caller):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLError as error:
        return getattr(error, "verify_code", None) == _EXPIRED
    return False


def _expired(settings: Settings) -> str:
    return f"{variable('tls_cert')}: the certificate {settings.tls_cert} has expired"


def _load_pair(context: ssl.SSLContext, settings: Settings, cert: str, key: str) -> None:
    chain, private = _readable(settings, cert), _readable(settings, key)
    if not private:
        raise SpecError(f"{variable(cert)} is set but not {variable(key)}: TLS takes both")
    try:
        # An empty password rather than a question on the terminal.
        context.load_cert_chain(chain, private, password="")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if reason == "KEY_VALUES_MISMATCH":
            said = f"the key {private} is not that of the certificate {chain}"
        else:
            said = f"{chain} and {private} must hold a certificate and its unencrypted key, as PEM ({reason})"
        raise SpecError(f"{variable(cert)}, {variable(key)}: {said}") from error


def _trust(context: ssl.SSLContext, settings: Settings, name: str) -> None:
    authorities = _readable(settings, name)
    try:
        context.load_verify_locations(authorities)
    except (ssl.SSLError, ValueError) as error:
        raise SpecError(f"{variable(name)}: {authorities} holds no certificates (PEM): {error}") from error


def _readable(settings: Settings, name: str) -> str:
    file = str(getattr(settings, name))
    if file:
        try:
            with open(file, "rb"):
                pass
        except OSError as error:
            raise SpecError(f"{variable(name)} is {file!r}, which cannot be read: {error.strerror}") from error
    return file


def _state(files: Sequence[str]) -> list[object]:
    found: list[object] = []
    for file in files:
        try:
            stat = os.stat(file)
        except OSError as error:
            found.append(error.errno)
        else:
            found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return found
