"""How a scorer is called: V2 over one kept-alive HTTP/1.1 connection, one request at a time.

Written on asyncio and httptools because it is on the path of every prediction.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import msgspec

from trimtab.errors import ServiceUnavailableError
from trimtab.serving.columns import SCORER_DATATYPES
from trimtab.serving.routes import Route

TIMEOUT_S = 30.0
_SHOWN = 200


class ScorerRefusedError(ServiceUnavailableError):
    """The scorer answered that the rows are not to its liking (4xx)."""


class _Output(msgspec.Struct):
    name: str
    data: list[float]


class _Answer(msgspec.Struct):
    outputs: list[_Output]


class _Lost(Exception):  # noqa: N818 (never leaves this module)
    """The connection ended before an answer."""


_decoder = msgspec.json.Decoder(_Answer)
_encode = msgspec.json.Encoder().encode


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection; at most one request is under way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self.served = 0

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def request(self, message: bytes) -> tuple[int, bytes]:
        assert self._transport is not None
        assert self._waiter is None
        self._waiter = asyncio.get_running_loop().create_future()
        self._body.clear()
        self._transport.write(message)
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._fail(_Lost(str(error or "it closed the connection")))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(_Lost(f"it does not speak HTTP/1.1: {error}"))
            self.close()

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        self.served += 1
        if not self._parser.should_keep_alive():
            self.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result((self._parser.get_status_code(), b"".join(self._body)))

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)


class Scorer:
    """The scorer of one route.

    Every method raises ``ServiceUnavailableError``, naming model, version and address, when it does not answer soundly.
    """

    def __init__(self, route: Route) -> None:
        address = urlsplit(route.url)
        self._route = route
        self._host, self._port = address.hostname or "", address.port or 80
        self._base = f"{address.path.rstrip('/')}/v2/models/{route.model}"
        self._authority = address.netloc
        self._connection: _Connection | None = None

    async def infer(self, columns: Sequence[Sequence[Any]], n: int) -> list[float]:
        """Scores of n rows; ``columns`` in the order of the route's features. One call at a time.

        Raises
        ------
        ScorerRefusedError
            If the scorer answers 4xx.
        ServiceUnavailableError
            If it does not answer within `TIMEOUT_S`, or with anything but n finite numbers.
        """
        inputs = [
            {"name": feature.name, "shape": [n], "datatype": SCORER_DATATYPES[feature.type], "data": values}
            for feature, values in zip(self._route.features, columns, strict=True)
        ]
        body = _encode({"inputs": inputs})
        status, answer = await self._exchange(self._message("POST", "/infer", body))
        if status != 200:
            kind = ScorerRefusedError if 400 <= status < 500 else ServiceUnavailableError
            raise kind(f"{self._name} answered {status}: {answer[:_SHOWN].decode(errors='replace')}")
        return self._scores(answer, n)

    async def metadata(self) -> dict[str, Any]:
        """What the scorer says about itself."""
        status, answer = await self._exchange(self._message("GET", ""), alone=True)
        try:
            found = msgspec.json.decode(answer, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise ServiceUnavailableError(f"{self._name} answered {status} with no JSON object: {error}") from error
        if status != 200:
            raise ServiceUnavailableError(f"{self._name} answered {status}: {answer[:_SHOWN].decode(errors='replace')}")
        return found

    async def check_ready(self) -> None:
        """Return if the scorer says that the model is ready."""
        status, _ = await self._exchange(self._message("GET", "/ready"), alone=True)
        if status != 200:
            raise ServiceUnavailableError(f"{self._name} is not ready: it answered {status}")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    @property
    def _name(self) -> str:
        return f"the scorer of {self._route.model} version {self._route.version} at {self._route.url}"

    def _message(self, method: str, path: str, body: bytes = b"") -> bytes:
        head = (
            f"{method} {self._base}{path} HTTP/1.1\r\nhost: {self._authority}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _scores(self, answer: bytes, n: int) -> list[float]:
        try:
            outputs = _decoder.decode(answer).outputs
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ServiceUnavailableError(f"{self._name} answered something other than V2: {error}") from error
        named = [output.data for output in outputs if output.name == "score"] or [output.data for output in outputs]
        if len(named) != 1 or len(named[0]) != n or not all(map(math.isfinite, named[0])):
            raise ServiceUnavailableError(
                f"{self._name} did not answer one output 'score' of {n} finite numbers, but "
                f"{[(output.name, len(output.data)) for output in outputs]}"
            )
        return named[0]

    async def _exchange(self, message: bytes, alone: bool = False) -> tuple[int, bytes]:
        """Send a request and wait for the answer; on a connection of its own, if ``alone``."""
        connection = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection = await self._connect() if alone else await self._kept()
                try:
                    return await connection.request(message)
                except _Lost:
                    # A kept connection may end just when it is used again; scoring twice does no harm.
                    if connection.served == 0:
                        raise
                connection = await self._connect() if alone else await self._kept()
                return await connection.request(message)
        except TimeoutError as error:
            if connection is not None:
                connection.close()
            raise ServiceUnavailableError(f"{self._name} did not answer within {TIMEOUT_S:g} s") from error
        except (_Lost, OSError) as error:
            raise ServiceUnavailableError(f"{self._name} does not answer: {error}") from error
        finally:
            if alone and connection is not None:
                connection.close()

    async def _kept(self) -> _Connection:
        if self._connection is None or not self._connection.usable:
            self._connection = await self._connect()
        return self._connection

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection
