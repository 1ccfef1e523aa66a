"""What all connections of a server share."""

from __future__ import annotations

import asyncio
from collections import Counter
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from trimtab.wire.exchange import Application, Limits
from trimtab.wire.heads import KnownHeads

if TYPE_CHECKING:
    from trimtab.wire.connection import Connection

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class Shared:
    """What all connections of a server share."""

    def __init__(self, application: Application, limits: Limits) -> None:
        self.application = application
        self.limits = limits
        self.connections: set[Connection] = set()
        self.greeting: set[asyncio.Task[None]] = set()
        """Callers of TLS who are no connection yet."""
        self.refused: Counter[int] = Counter()
        """How many connections were ended, by status, because what came was no request that is taken."""
        self.buffered_bytes = 0
        """Of bodies that are not yet answered, complete or not."""
        self._beginnings: dict[tuple[int, bytes], bytes] = {}
        self.heads = KnownHeads()
        self.draining = False
        """Set: every answer ends its connection, so that callers go elsewhere; new ones are still taken."""
        self.stopped = False
        self.all_gone = asyncio.Event()

    @property
    def is_crowded(self) -> bool:
        """Whether there are as many callers as may be."""
        return len(self.connections) + len(self.greeting) >= self.limits.connections

    def beginning(self, status: int, content_type: bytes) -> bytes:
        """How an answer of this second begins, up to the size of its body."""
        known = self._beginnings.get((status, content_type))
        if known is None:
            date = formatdate(usegmt=True).encode()
            known = self._beginnings[status, content_type] = (
                b"HTTP/1.1 %d %s\r\ndate: %s\r\ncontent-type: %s\r\ncontent-length: "
                % (status, _REASONS.get(status, b""), date, content_type)
            )
        return known

    def forget(self, connection: Connection) -> None:
        """Called by a connection that has ended."""
        self.connections.discard(connection)
        if not self.connections:
            self.all_gone.set()

    def turn_second(self) -> None:
        """Called once a second: answers bear another time, and heads, which may hold tokens, are not kept for long."""
        self._beginnings.clear()
        self.heads.forget()
