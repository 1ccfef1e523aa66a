"""A request, where its answer goes, and what callers may cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

_ERROR_CHARACTERS = 2000

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller, and all together, may cost."""

    header_bytes: int = 64 * 1024
    body_bytes: int = 64 * 1024 * 1024
    buffered_bytes: int = 512 * 1024 * 1024
    """Bodies that are not yet answered, complete or not, over all connections."""
    connections: int = 4096
    arrival_s: float = 60.0
    """For a request to be complete, from its first byte."""
    idle_s: float = 75.0
    """Between requests of a connection."""
    crowded_idle_s: float = 5.0
    """The same, while there are as many connections as may be: those who only hold one make room."""


class Head:
    """What stands above a request's body. Header names are lower-case; ``path`` is decoded, ``query`` is not."""

    __slots__ = ("header", "headers", "keep_alive", "method", "path", "query", "segments")

    def __init__(self, method: str, path: str, query: str, headers: Headers, keep_alive: bool) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.keep_alive = keep_alive
        self.segments = tuple(path.strip("/").split("/"))
        """Of the path, what stands between its slashes."""
        self.header: Callable[[bytes], bytes | None] = dict(reversed(headers)).get
        """The first header of a (lower-case) name."""

    def all(self, name: bytes) -> list[bytes]:
        """Every header of that (lower-case) name, in their order."""
        return [value for key, value in self.headers if key == name]


class Request:
    """A complete request.

    Parameters
    ----------
    head : Head
        Requests whose heads are the same to the byte may share one.
    body : bytes
    received_at : float
        Seconds on the loop's clock.
    """

    __slots__ = ("body", "head", "received_at")

    def __init__(self, head: Head, body: bytes, received_at: float) -> None:
        self.head = head
        self.body = body
        self.received_at = received_at


class Answering(Protocol):
    """What an exchange needs of its connection."""

    peer: str

    def answer(self, request: Request, status: int, body: bytes, content_type: bytes, headers: Headers) -> None: ...


Application = Callable[[Request, "Exchange"], None]
"""Must see to it that every exchange is answered once; what it raises is logged and answered with 500."""


class Exchange:
    """Where the answer to one request goes."""

    __slots__ = ("_connection", "request")

    def __init__(self, connection: Answering, request: Request) -> None:
        self._connection: Answering | None = connection
        self.request = request

    @property
    def peer(self) -> str:
        """The caller's address; empty once answered."""
        return "" if self._connection is None else self._connection.peer

    def answer(
        self, status: int, body: bytes, content_type: bytes = b"application/json", headers: Headers = ()
    ) -> None:
        """Answer; does nothing if it was answered before or the caller is gone."""
        if (connection := self._connection) is not None:
            self._connection = None
            connection.answer(self.request, status, body, content_type, headers)


def header_text(value: bytes) -> str:
    """What a header says: in UTF-8, as callers write what is not ASCII, or else Latin-1, as HTTP once said."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def error_body(message: str) -> bytes:
    """The body of every answer that refuses; cut, for a message may quote what the caller sent, megabytes of it."""
    if len(message) > _ERROR_CHARACTERS:
        message = f"{message[:_ERROR_CHARACTERS]}..."
    return msgspec.json.encode({"error": message})
