"""How a scorer is called: V2 over one kept-alive HTTP/1.1 connection, one request at a time.

Before a connection is used the scorer is asked what it serves: one that states another artifact's digest than the
route's is not asked to score. Numbers go as binary tensors to a scorer whose metadata says that it takes them, as JSON
to any other. Written on asyncio and httptools because it is on the path of every prediction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import httptools
import msgspec
import numpy as np

from trimtab.errors import ServiceUnavailableError
from trimtab.serving.block import Block
from trimtab.serving.routes import Route
from trimtab.wire.tensors import (
    EXTENSION,
    HEADER_LENGTH,
    MATRIX_EXTENSION,
    InputParameters,
    Shape,
    TensorError,
    split_body,
    take_binary,
)

T = TypeVar("T")

TIMEOUT_S = 30.0
_MAX_ANSWER_BYTES = 64 * 1024 * 1024  # a batch's answer has some bytes a row
_SMALL_BYTES = 16 * 1024
Buffer = bytes | memoryview
"""What is smaller is copied into one piece, which costs less than to write two."""
_SHOWN = 200
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class ScorerRefusedError(ServiceUnavailableError):
    """The scorer answered that the rows are not to its liking (4xx)."""


class _Output(msgspec.Struct):
    name: str
    datatype: str
    shape: Shape
    data: list[float | list[float]] | None = None
    parameters: InputParameters = InputParameters()


class _Answer(msgspec.Struct):
    outputs: list[_Output]


class _Metadata(msgspec.Struct):
    artifact_digest: str = ""


class _Server(msgspec.Struct):
    extensions: list[str] = []


class _Lost(Exception):  # noqa: N818 (never leaves this module)
    """The connection ended before an answer."""


class _Reply:
    """A complete answer."""

    __slots__ = ("body", "header_length", "status")

    def __init__(self, status: int, body: bytes, header_length: bytes | None) -> None:
        self.status = status
        self.body = body
        self.header_length = header_length


_decoder = msgspec.json.Decoder(_Answer)


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection; at most one request is under way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[_Reply] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._size = 0
        self._header_length: bytes | None = None
        self.extensions: frozenset[str] = frozenset()
        self.is_proven = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def request(self, message: Sequence[Buffer]) -> _Reply:
        assert self._transport is not None
        assert self._waiter is None
        self._waiter = asyncio.get_running_loop().create_future()
        self._body.clear()
        self._size = 0
        self._header_length = None
        self._transport.writelines(message)
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

    def on_message_begin(self) -> None:
        if self._waiter is None or self._waiter.done():
            # Nobody asked. On this connection no later answer could be told from it.
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == HEADER_LENGTH:
            self._header_length = value

    def on_body(self, part: bytes) -> None:
        self._body.append(part)
        self._size += len(part)
        if self._size > _MAX_ANSWER_BYTES:
            self._body.clear()
            self._fail(_Lost(f"it answers with more than {_MAX_ANSWER_BYTES} bytes"))
            self.close()

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        if self._waiter is not None and not self._waiter.done():
            reply = _Reply(self._parser.get_status_code(), b"".join(self._body), self._header_length)
            self._waiter.set_result(reply)

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
        self._width = len(route.classes)
        self._host, self._port = address.hostname or "", address.port or 80
        self._root = address.path.rstrip("/")
        self._base = f"{self._root}/v2/models/{route.model}"
        self._authority = address.netloc
        self._connection: _Connection | None = None

    async def infer(self, block: Block, headers: bytes = b"") -> np.ndarray:
        """Scores of a block's rows: float64 of shape (rows,), of several classes (rows, classes). One call at a time.

        Parameters
        ----------
        block
            The rows.
        headers
            Further lines of the request's head, each with its end.

        Raises
        ------
        ScorerRefusedError
            If the scorer answers 4xx.
        ServiceUnavailableError
            If it does not answer within `TIMEOUT_S`, or with anything but a finite number a row.
        """
        reply = await self._within(self._infer(block, headers))
        if reply.status != 200:
            kind = ScorerRefusedError if 400 <= reply.status < 500 else ServiceUnavailableError
            raise kind(f"{self._name} answered {reply.status}: {reply.body[:_SHOWN].decode(errors='replace')}")
        return self._scores(reply, block.n)

    async def metadata(self) -> dict[str, Any]:
        """What the scorer says about itself."""
        reply = await self._within(self._alone(self._message("GET", "")))
        try:
            found = msgspec.json.decode(reply.body, type=dict[str, Any])
        except _UNREADABLE as error:
            raise ServiceUnavailableError(
                f"{self._name} answered {reply.status} with no JSON object: {error}"
            ) from error
        if reply.status != 200:
            raise ServiceUnavailableError(
                f"{self._name} answered {reply.status}: {reply.body[:_SHOWN].decode(errors='replace')}"
            )
        return found

    async def check_ready(self) -> None:
        """Return if the scorer says that the model is ready."""
        reply = await self._within(self._alone(self._message("GET", "/ready")))
        if reply.status != 200:
            raise ServiceUnavailableError(f"{self._name} is not ready: it answered {reply.status}")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    @property
    def _name(self) -> str:
        return f"the scorer of {self._route.model} version {self._route.version} at {self._route.url}"

    def _message(self, method: str, path: str, body: Sequence[Buffer] = (), headers: bytes = b"") -> list[Buffer]:
        return self._request(method, f"{self._base}{path}", body, headers)

    def _request(self, method: str, path: str, body: Sequence[Buffer] = (), headers: bytes = b"") -> list[Buffer]:
        """A request in parts: those of a large body are not copied into one."""
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {self._authority}\r\n"
            f"content-type: application/json\r\ncontent-length: {sum(map(len, body))}\r\n"
        )
        whole = b"%b%b\r\n" % (head.encode(), headers)
        return [whole + b"".join(body)] if sum(map(len, body)) < _SMALL_BYTES else [whole, *body]

    def _scores(self, reply: _Reply, n: int) -> np.ndarray:
        try:
            text, binary = split_body(reply.body, reply.header_length)
            outputs = _decoder.decode(text).outputs
            arrays = take_binary(
                [(each.name, each.datatype, each.shape, each.parameters.binary_data_size) for each in outputs], binary
            )
        except (*_UNREADABLE, TensorError) as error:
            raise ServiceUnavailableError(f"{self._name} answered something other than V2: {error}") from error
        named = [each for each in outputs if each.name == "score"] or outputs
        if len(named) == 1:
            values = arrays.get(named[0].name, named[0].data)
            if values is not None and self._are_scores(values, n):
                scores = np.asarray(values, np.float64).reshape(self._shape(n))
                if np.isfinite(scores).all():
                    return scores
        raise ServiceUnavailableError(
            f"{self._name} did not answer one output 'score' of {list(self._shape(n))} finite numbers, but "
            f"{[(output.name, output.shape) for output in outputs]}"
        )

    def _shape(self, n: int) -> tuple[int, ...]:
        return (n, self._width) if self._width else (n,)

    def _are_scores(self, values: Any, n: int) -> bool:
        """Whether they are as many numbers as are wanted: flat, or of several classes in JSON a list a row."""
        width = self._width
        if not width or len(values) == n * width:
            return len(values) == n * (width or 1) and not isinstance(values[0], (str, list))
        return len(values) == n and all(isinstance(row, list) and len(row) == width for row in values)

    async def _infer(self, block: Block, headers: bytes) -> _Reply:
        while True:
            connection = await self._kept()
            known = connection.is_proven
            try:
                reply = await connection.request(self._infer_message(block, headers, connection.extensions))
            except _Lost:
                # A kept connection may end just when it is used again; scoring twice does no harm.
                if not known:
                    raise
            except BaseException:
                # Whoever waited has gone; the answer, if it comes, must not meet the next request.
                connection.close()
                raise
            else:
                connection.is_proven = True
                return reply

    def _infer_message(self, block: Block, headers: bytes, extensions: frozenset[str]) -> list[Buffer]:
        if EXTENSION not in extensions:
            return self._message("POST", "/infer", [block.json_request()], headers)
        as_matrix = block.is_matrix and MATRIX_EXTENSION in extensions
        body = block.matrix_request() if as_matrix else block.binary_request()
        return self._message("POST", "/infer", body, headers + b"%b: %d\r\n" % (HEADER_LENGTH, len(body[0])))

    async def _within(self, work: Awaitable[_Reply]) -> _Reply:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await work
        except TimeoutError as error:
            raise ServiceUnavailableError(f"{self._name} did not answer within {TIMEOUT_S:g} s") from error
        except (_Lost, OSError) as error:
            raise ServiceUnavailableError(f"{self._name} does not answer: {error}") from error

    async def _alone(self, message: Sequence[Buffer]) -> _Reply:
        """Ask on a connection of its own."""
        connection = await self._connect()
        try:
            return await connection.request(message)
        finally:
            connection.close()

    async def _kept(self) -> _Connection:
        if self._connection is None or not self._connection.usable:
            # Another may answer there since: who it is, is asked first.
            extensions = await self._asked_extensions()
            self._connection = await self._connect()
            self._connection.extensions = extensions
        return self._connection

    async def _asked_extensions(self) -> frozenset[str]:
        """What the server speaks beyond V2, once it is known not to serve another artifact than the route's."""
        stated = _read(await self._alone(self._message("GET", "")), _Metadata).artifact_digest
        if stated and self._route.artifact_digest and stated != self._route.artifact_digest:
            raise ServiceUnavailableError(
                f"{self._name} serves another artifact: it states the digest {stated}, the route has "
                f"{self._route.artifact_digest}; roll out again"
            )
        server = await self._alone(self._request("GET", f"{self._root}/v2"))
        return frozenset(_read(server, _Server).extensions)

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection


def _read(reply: _Reply, to: type[T]) -> T:
    """What a reply says, or the defaults of one that says nothing that can be read."""
    try:
        return msgspec.json.decode(reply.body, type=to) if reply.status == 200 else to()
    except _UNREADABLE:
        return to()
