"""One caller's connection: httptools parses its requests, which are answered in their order, one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import cast
from urllib.parse import unquote

import httptools

from trimtab.wire.exchange import Exchange, Head, Headers, Limits, Request, error_body
from trimtab.wire.shared import Shared

_logger = logging.getLogger(__name__)
_LINGER_S = 2.0
_MOST_TOLD = 64
"""So many beyond the limit are told why at a time: each keeps a file open until it has read that."""
_FRAMING = 16
"""Bytes that a message may take for each of its body: a chunk of one byte takes six."""
_PER_HEADER_BYTES = 32
"""What a header costs beside its text, as HTTP/2 counts it (RFC 9113, 6.5.2)."""
_HEEDED = frozenset((b"upgrade", b"expect", b"content-length"))
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """One caller's connection: parses requests, and hands them to the application one by one."""

    def __init__(self, server: Shared, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._busy = False
        self._dispatching = False
        self._refused = False
        self._paused = False
        self._holds_back = False
        self._ended = False
        self._unsent = 0
        self._last = loop.time()
        self._size = 0
        self._body: bytes | bytearray = b""
        self._whole: Head | None = None
        self.peer = ""
        self._begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        found = transport.get_extra_info("peername")
        self.peer = f"{found[0]}:{found[1]}" if isinstance(found, tuple) else ""
        self._server.connections.add(self)
        if self._server.stopped:
            self._refuse(503, "the server is shutting down")
        elif len(self._server.connections) > self._server.limits.connections:
            self._refuse(503, f"there are {self._server.limits.connections} connections already: try again")
            if len(self._server.connections) > self._server.limits.connections + _MOST_TOLD:
                self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._server.buffered_bytes -= self._size
        self._size = 0
        self._drop_waiting()
        self._server.forget(self)

    def eof_received(self) -> bool:
        # A caller may end its side once all is sent, and still read: what was sent whole is answered. TLS cannot.
        self._ended = True
        has_tls = self._transport is not None and self._transport.get_extra_info("sslcontext") is not None
        return (self._busy or bool(self._waiting)) and not has_tls

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return  # read and thrown away until the caller has read its answer
        self._last = self._loop.time()
        if self._arriving:
            self._parse(data)
            return
        known = self._server.heads.find(data)
        if known is not None:
            head, body = known
            if body:
                self.on_body(body)
            if not self._refused:
                self._take(head)
            return
        self._whole = None
        self._parse(data)
        if self._whole is not None:
            self._server.heads.learn(self._whole, data)

    def _parse(self, data: bytes) -> None:
        self._received += len(data)
        parts: list[bytes | memoryview] = [data]
        while parts:
            part = parts.pop()
            try:
                self._parser.feed_data(part)
            except httptools.HttpParserUpgrade as upgrade:
                if self._upgrades:
                    parts += [each for each in (memoryview(part)[upgrade.args[0] :], self._head_again()) if each]
                # Else it is CONNECT, whose answer ends the connection: what follows was meant for another protocol.
            except httptools.HttpParserError as error:
                self._refuse(400, f"this is no HTTP/1.1 request: {error or type(error).__name__}")
                return
        # The parser keeps a header, and a trailer, until it is whole: what is not yet told is bounded here.
        if self._arriving and self._received > self._server.limits.header_bytes + _FRAMING * self._size:
            self._refuse(431, f"the headers are over {self._server.limits.header_bytes} bytes")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._next()

    # What httptools calls while it parses.

    def on_message_begin(self) -> None:
        self._begin()
        self._arriving = True

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        # Not by `_count_header` unless it is too much: this is called for each header of each request.
        self._header_bytes += len(name) + len(value) + _PER_HEADER_BYTES
        if self._header_bytes > self._server.limits.header_bytes:
            self._count_header(0)
        if not self._heading:
            return  # a trailer: what it says must not count as a header that nobody checked (RFC 9110, 6.5.1)
        name = name.lower()
        self._headers.append((name, value))
        if name not in _HEEDED:
            return
        if name == b"upgrade":
            self._upgrades = True
        elif name == b"expect" and value.lower() == b"100-continue":
            self._expects = True
        elif name == b"content-length" and int(value) > self._server.limits.body_bytes:
            self._refuse(413, f"the body is {int(value)} bytes; {_most(self._server.limits)}")

    def on_headers_complete(self) -> None:
        self._heading = False
        self._upgrades = self._upgrades and self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT"
        if self._expects and not self._upgrades:
            self._invite()

    def on_body(self, part: bytes) -> None:
        if self._refused:
            return
        self._server.buffered_bytes += len(part)
        if not self._size:
            self._body = part
        else:
            if isinstance(self._body, bytes):
                # Not a list: of a body in chunks of two bytes it would take twenty times as much.
                self._body = bytearray(self._body)
            self._body += part
        self._size += len(part)
        if self._size > self._server.limits.body_bytes:
            self._refuse(413, f"the body is over {self._size} bytes; {_most(self._server.limits)}")
        elif self._server.buffered_bytes > self._server.limits.buffered_bytes:
            self._refuse(429, "too much is being sent at once: try again")

    def on_message_complete(self) -> None:
        if self._upgrades:
            return  # its body is still to come
        self._arriving = False
        if self._refused:
            return
        path, _, query = self._url.partition(b"?")
        text = path.decode("latin-1")
        if not text.startswith("/") and "://" in text:
            text = "/" + text.partition("://")[2].partition("/")[2]  # the absolute form (RFC 9112, 3.2.2)
        self._whole = Head(
            self._parser.get_method().decode("latin-1"),
            unquote(text) if "%" in text else text,
            query.decode("latin-1"),
            self._headers,
            self._parser.should_keep_alive()
            # One of HTTP/1.0 would have to be told that it is kept open.
            and self._parser.get_http_version() != "1.0"
            # What a caller sends behind this it sends to another server: it must not be taken for requests.
            and self._parser.get_method() != b"CONNECT",
        )
        self._take(self._whole)

    def _take(self, head: Head) -> None:
        """Take a request whose body is here too; it counts as the request's from now on, until that is answered."""
        request = Request(head, bytes(self._body), self._last)
        self._size = 0
        self._body = b""
        self._waiting.append(request)
        if self._busy or self._paused:
            # Requests that are sent before the answer is read wait in the socket, not here.
            self._pause_reading()
        else:
            self._next()

    def answer(self, request: Request, status: int, body: bytes, content_type: bytes, headers: Headers) -> None:
        """Write the answer to the request under way, and take the next."""
        self._busy = False
        self._server.buffered_bytes -= len(request.body)
        if self._transport is None:
            return
        is_last = self._ended and not self._waiting
        keep_alive = request.head.keep_alive and not self._refused and not self._server.draining and not is_last
        parts = [self._server.beginning(status, content_type), b"%d\r\n" % len(body)]
        parts.extend(b"%s: %s\r\n" % header for header in headers)
        parts.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
        if request.head.method != "HEAD":
            parts.append(body)
        self._transport.write(b"".join(parts))
        self._last = self._loop.time()
        if self._refused:
            self._drop_waiting()
            # Closed at once with bytes unread, the answer would be lost to a caller that still sends.
            if self._transport.can_write_eof():
                self._transport.write_eof()
        elif not keep_alive:
            self._drop_waiting()
            # The piece that is being parsed may hold more requests: nobody would be there to be answered.
            self._refused = True
            self._transport.close()
        elif self._waiting:
            self._next()
        elif self._expects:
            self._invite()

    def close_if_idle(self) -> None:
        """Close the connection unless a request is under way, or on its way."""
        if self._transport is not None and not self._busy and not self._waiting and not self._arriving:
            self._transport.close()

    def abort(self) -> None:
        """End the connection, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def check_time(self, now: float) -> None:
        """End a connection whose request does not arrive, or that has been idle for long."""
        limits = self._server.limits
        if self._transport is None or self._busy:
            return
        idle_s = min(limits.idle_s, limits.crowded_idle_s) if self._server.is_crowded else limits.idle_s
        if self._transport.is_closing():
            if now - self._last > idle_s:
                self._close_idle(now)
        elif self._refused and now - self._last > _LINGER_S:
            self._transport.abort()
        elif self._arriving and now - self._begun_at > limits.arrival_s:
            self._refuse(408, f"the request was not complete after {limits.arrival_s:g} s")
        elif not self._arriving and now - self._last > idle_s:
            self._close_idle(now)

    def _close_idle(self, now: float) -> None:
        """Close; at once if the caller took nothing of its answer for so long: to wait for it could take for ever."""
        assert self._transport is not None
        unsent = self._transport.get_write_buffer_size()
        if not unsent:
            self._transport.close()
        elif unsent == self._unsent:
            self._transport.abort()
        else:
            self._unsent, self._last = unsent, now

    def _begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._body = b""
        self._size = 0
        self._received = 0
        self._heading = True
        self._expects = False
        self._upgrades = False
        self._arriving = False
        self._begun_at = self._last

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._server.limits.header_bytes:
            self._refuse(431, f"the headers are over {self._server.limits.header_bytes} bytes")

    def _next(self) -> None:
        """Hand over the requests whose turn it is; one after the other, however many are answered at once."""
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._waiting and not self._busy and not self._paused:
                self._hand_over(self._waiting.popleft())
        finally:
            self._dispatching = False

    def _hand_over(self, request: Request) -> None:
        self._busy = True
        if self._holds_back and not self._waiting:
            self._resume_reading()
        exchange = Exchange(self, request)
        try:
            self._server.application(request, exchange)
        except Exception:
            # The one place for a broad except: every caller is answered, every fault is logged (so BLE001 is content).
            _logger.exception("%s %s failed", request.head.method, request.head.path)
            exchange.answer(500, error_body("internal error; the log has the details"))

    def _head_again(self) -> bytes:
        """Take a request that asks for another protocol as any other (RFC 9110, 7.8); some clients' first ones do.

        The parser takes all that follows such a head for the other protocol, its body too. So a new one is told the
        head again, without the wish.
        """
        method = self._parser.get_method()
        self._parser = httptools.HttpRequestParser(self)
        head = [b"%b %b HTTP/1.1\r\n" % (method, self._url)]
        head.extend(b"%b: %b\r\n" % header for header in self._headers if header[0] != b"upgrade")
        return b"".join([*head, b"\r\n"])

    def _drop_waiting(self) -> None:
        self._server.buffered_bytes -= sum(len(request.body) for request in self._waiting)
        self._waiting.clear()

    def _invite(self) -> None:
        """Tell a caller that asked to go on with its body, once all before is answered."""
        if self._arriving and not self._heading and not (self._busy or self._waiting or self._refused):
            self._expects = False
            if self._transport is not None:
                self._transport.write(_CONTINUE)

    def _refuse(self, status: int, message: str) -> None:
        """Answer what is no request that can be read, and end the connection."""
        if self._refused or self._transport is None:
            return
        self._refused = True
        self._server.refused[status] += 1
        self._server.buffered_bytes -= self._size
        self._size = 0
        self._body = b""
        if self._busy or self._waiting:
            # The answer to an earlier request is still to come; it will close the connection.
            return
        request = Request(Head("GET", "", "", [], keep_alive=False), b"", self._last)
        headers = [(b"retry-after", b"1")] if status in (429, 503) else []
        self.answer(request, status, error_body(message), b"application/json", headers)

    def _pause_reading(self) -> None:
        self._holds_back = True
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        self._holds_back = False
        if self._ended or self._transport is None or self._transport.is_closing():
            return
        if not self._transport.is_reading():
            self._transport.resume_reading()


def _most(limits: Limits) -> str:
    return f"at most {limits.body_bytes} are read: send several requests"
