"""Requests over HTTP: keep-alive connections, one request at a time on each, as fast as the gateway answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import msgspec

from demo.errors import DemoError
from demo.flights import Flights, moment
from demo.replay import Step

CONNECTIONS = 64
_ANSWER_WITHIN_S = 60.0


class _Output(msgspec.Struct):
    name: str
    data: list[Any]


class _Answer(msgspec.Struct):
    model_version: str
    outputs: list[_Output]


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


class Pace:
    """How fast requests may go: as fast as they can, or so many a second, changed at any time."""

    def __init__(self) -> None:
        self._interval_s = 0.0
        self._next = 0.0
        self._free = asyncio.Event()
        self._free.set()

    def slow(self, requests_per_second: float) -> None:
        """From now on at most so many a second."""
        self._interval_s = 1 / requests_per_second
        self._next = time.monotonic()
        self._free.clear()

    def full(self) -> None:
        """From now on as fast as they can; those that wait go at once."""
        self._free.set()

    async def turn(self) -> None:
        """Wait until the next request may go."""
        if self._free.is_set():
            return
        self._next = max(self._next, time.monotonic()) + self._interval_s
        try:
            async with asyncio.timeout(self._next - time.monotonic()):
                await self._free.wait()
        except TimeoutError:
            return


class Traffic:
    """Asks the gateway about flights, and tells it outcomes. A context manager on a running loop.

    ``asked``, ``told`` and ``clock`` say how far it is; ``versions`` counts the requests that each version answered.
    """

    def __init__(self, gateway_url: str, flights: Flights) -> None:
        address = urlsplit(gateway_url)
        self._host, self._port = str(address.hostname), int(address.port or 80)
        self._flights = flights
        self._head = f"POST /v2/models/{flights.model.spec.name}/".encode(), f"Host: {address.netloc}".encode()
        self._connections: list[_Connection] = []
        self.pace = Pace()
        self.prediction_ids: list[str] = [""] * len(flights.event_time)
        self.versions: dict[str, int] = {}
        self.asked = self.told = 0
        self.clock = 0

    async def __aenter__(self) -> Traffic:
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS + 1):
            _, connection = await loop.create_connection(_Connection, self._host, self._port)
            self._connections.append(connection)
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._connections:
            await connection.close()

    async def step(self, step: Step) -> None:
        """Tell the step's outcomes and ask about its flights, side by side; returns when all are answered.

        Raises
        ------
        DemoError
            If the gateway refuses anything, or is gone.
        """
        self.clock = step.clock
        rows = iter(zip(step.flights, self._flights.bodies(step.flights), strict=True))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell(step))
                for connection in self._connections[1 : 1 + len(step.flights)]:
                    group.create_task(self._ask(connection, rows))
        except ExceptionGroup as several:
            # Not except*: before Python 3.11.4 what is raised within it comes out as a group again.
            refused, others = several.split(DemoError)
            if refused is None or others is not None:
                raise
            raise refused.exceptions[0] from None

    async def _ask(self, connection: _Connection, rows: Iterator[tuple[int, bytes]]) -> None:
        for row, body in rows:
            await self.pace.turn()
            answer = _decode(await self._post(connection, b"infer", body))
            self.prediction_ids[row] = next(o.data[0] for o in answer.outputs if o.name == "prediction_id")
            self.versions[answer.model_version] = self.versions.get(answer.model_version, 0) + 1
            self.asked += 1

    async def _tell(self, step: Step) -> None:
        known, late = self._flights.known_at, self._flights.late
        outcomes = [
            {
                "prediction_id": self.prediction_ids[row],
                "value": float(late[row]),
                "observed_at": moment(int(known[row])).isoformat(),
            }
            for row in step.outcomes
        ]
        if outcomes:
            await self._post(self._connections[0], b"outcomes", _encode({"outcomes": outcomes}))
            self.told += len(outcomes)

    async def _post(self, connection: _Connection, verb: bytes, body: bytes) -> bytes:
        path, host = self._head
        request = b"%b%b HTTP/1.1\r\n%b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            path,
            verb,
            host,
            len(body),
            body,
        )
        try:
            status, answer = await connection.send(request)
        except (ConnectionError, TimeoutError) as error:
            raise DemoError(f"the gateway at {self._host}:{self._port} does not answer: {error}") from error
        if status != 200:
            raise DemoError(f"the gateway refused {verb.decode()} with {status}: {answer.decode()[:500]}")
        return answer


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._closed = asyncio.Event()

    async def send(self, request: bytes) -> tuple[int, bytes]:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        timeout = asyncio.get_running_loop().call_later(_ANSWER_WITHIN_S, self._give_up)
        try:
            return await self._waiting
        finally:
            timeout.cancel()

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._closed.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        self._fail(ConnectionResetError(f"the connection was closed{f': {exc}' if exc else ''}"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result((self._parser.get_status_code(), body))

    def _give_up(self) -> None:
        self._fail(TimeoutError(f"no answer within {_ANSWER_WITHIN_S:.0f} s"))

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
