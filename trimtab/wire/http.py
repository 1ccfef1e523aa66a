"""An HTTP/1.1 server on asyncio for applications that answer with one body: httptools parses, uvloop moves bytes.

The application is a function of a request and its exchange. It may answer at once or later, from any callback of the
loop, without a task or a future of its own: that is why there is no ASGI in between. Requests of one connection are
answered in their order, one at a time.

What a caller may cost is bounded: header and body size, bodies in memory over all connections, connections, and the
time for a request to arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import ssl

from trimtab.wire.connection import Connection
from trimtab.wire.exchange import Application, Exchange, Headers, Limits, Request, error_body, header_text
from trimtab.wire.shared import Shared

__all__ = [
    "Application",
    "Exchange",
    "Headers",
    "Limits",
    "Request",
    "Server",
    "error_body",
    "header_text",
    "listen",
    "stop_signal",
]

_TICK_S = 1.0
_BACKLOG = 2048


class Server(Shared):
    """One listening socket and its connections.

    Parameters
    ----------
    application
        Called on the loop for each request.
    limits : Limits
    """

    def __init__(self, application: Application, limits: Limits | None = None) -> None:
        super().__init__(application, limits or Limits())
        self._listener: asyncio.Server | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._tick: asyncio.TimerHandle | None = None

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections on a bound socket."""
        loop = asyncio.get_running_loop()
        self._on_tick()
        if tls is not None:
            self._accepting = loop.create_task(self._accept(listener, tls))
            return
        self._listener = await loop.create_server(lambda: Connection(self, loop), sock=listener, backlog=_BACKLOG)

    async def stop(self, timeout_s: float) -> None:
        """Accept no more; return once what is under way is answered, or after the timeout."""
        self.draining = self.stopped = True
        if self._listener is not None:
            self._listener.close()
        if self._accepting is not None:
            for task in (self._accepting, *self.greeting):
                task.cancel()
            await asyncio.wait((self._accepting, *self.greeting))
        for connection in list(self.connections):
            connection.close_if_idle()
        if self.connections:
            self.all_gone.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.all_gone.wait(), timeout_s)
        for connection in list(self.connections):
            connection.abort()
        if self._tick is not None:
            self._tick.cancel()

    async def _accept(self, listener: socket.socket, tls: ssl.SSLContext) -> None:
        """Accept callers of TLS, each of whom counts from here on; asyncio would count none before its handshake is
        over, and keep files and memory for as many as come and say nothing."""
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                try:
                    caller, _ = await loop.sock_accept(listener)
                except OSError as error:  # the caller is gone already, or there are no files
                    await asyncio.sleep(0 if error.errno == errno.ECONNABORTED else _TICK_S)
                    continue
                if self.is_crowded:
                    self.refused[503] += 1
                    caller.close()
                    continue
                task = loop.create_task(self._greet(caller, tls))
                self.greeting.add(task)
                task.add_done_callback(self.greeting.discard)

    async def _greet(self, caller: socket.socket, tls: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # it hung up, or spoke no TLS that is taken; ssl's errors are of this kind
            await loop.connect_accepted_socket(
                lambda: Connection(self, loop), caller, ssl=tls, ssl_handshake_timeout=self.limits.arrival_s
            )

    def _on_tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.turn_second()
        now = loop.time()
        for connection in list(self.connections):
            connection.check_time(now)
        self._tick = loop.call_later(_TICK_S, self._on_tick)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises
    ------
    OSError
        If the address is taken or is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # From now on callers wait to be accepted; they are not refused.
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


async def stop_signal() -> signal.Signals:
    """Return at the first SIGTERM or SIGINT; the second ends the process as it would without this."""
    loop = asyncio.get_running_loop()
    caught: asyncio.Future[signal.Signals] = loop.create_future()

    def on_signal(number: signal.Signals) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
        if not caught.done():
            caught.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return await caught
