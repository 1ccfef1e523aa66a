"""The HTTP server that gateway and scorer stand on, byte by byte."""

import asyncio
import re

import pytest

from trimtab.wire.http import Limits, Server, listen

LIMITS = Limits(header_bytes=2000, body_bytes=1000, buffered_bytes=1500, connections=4)
CROWDED = Limits(connections=4, crowded_idle_s=0.2)
IMPATIENT = Limits(arrival_s=0.2, idle_s=0.2)


class Served:
    """A server whose application answers method, path, query and body; ``later`` at a path of its own."""

    def __init__(self, server, port):
        self.server, self.port, self.waiting = server, port, []

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def talk(self, *parts):
        """Send parts, and read until the server closes."""
        reader, writer = await self.connect()
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        answer = await asyncio.wait_for(reader.read(), 120)
        writer.close()
        return answer


@pytest.fixture
async def served(request):
    limits = getattr(request, "param", LIMITS)
    waiting = []

    def application(request, exchange):
        if request.head.path == "/later":
            waiting.append(exchange)
        elif request.head.path == "/fault":
            raise ZeroDivisionError
        else:
            text = f"{request.head.method} {request.head.path} {request.head.query} {request.body.decode()}"
            exchange.answer(200, text.encode(), b"text/plain")

    server, listener = Server(application, limits), listen("127.0.0.1", 0)
    await server.start(listener)
    made = Served(server, listener.getsockname()[1])
    made.waiting = waiting
    yield made
    await server.stop(0.1)


def statuses(answer):
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", answer)]


async def test_pipelined_requests_are_answered_in_their_order(served):
    sent = b"".join(b"POST /%d?q=%d HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc" % (i, i) for i in range(50))
    answer = await served.talk(sent + b"GET /end HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert [int(n) for n in re.findall(rb"POST /(\d+) ", answer)] == list(range(50))
    assert b"POST /7 q=7 abc" in answer
    assert answer.endswith(b"GET /end  ")


async def test_an_answer_that_comes_late_holds_back_those_behind_it(served):
    reader, writer = await served.connect()
    writer.write(b"GET /later HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\nconnection: close\r\n\r\n")
    while not served.waiting:
        await asyncio.sleep(0.001)
    exchange = served.waiting.pop()
    exchange.answer(200, b"first")
    exchange.answer(200, b"and nothing more")
    answer = await reader.read()
    writer.close()
    assert answer.index(b"first") < answer.index(b"GET /next")
    assert b"nothing more" not in answer


async def test_a_request_may_come_in_any_pieces(served):
    """Bytes one by one, a chunked body, percent signs in the path."""
    request = (
        b"POST /a%20b?x=%20 HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    answer = await served.talk(*(request[i : i + 1] for i in range(len(request))))
    assert answer.endswith(b"POST /a b x=%20 abcde")


async def test_a_caller_that_asks_before_it_sends_is_told_to_go_on(served):
    reader, writer = await served.connect()
    writer.write(b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hi")
    assert (await reader.read()).endswith(b"POST /  hi")
    writer.close()


async def test_head_is_answered_without_a_body(served):
    answer = await served.talk(b"HEAD /x HTTP/1.1\r\nconnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: 9" in head
    assert body == b""


REFUSED = {
    "no HTTP": ([b"hello\r\n\r\n"], 400),
    "two lengths": ([b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"], 400),
    "a length and chunks": (
        [b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
        400,
    ),
    "a length that is none": ([b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"], 400),
    "a body declared too large": ([b"POST / HTTP/1.1\r\ncontent-length: 1001\r\n\r\n"], 413),
    "a body too large in chunks": (
        [
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + b"1f4\r\n" + b"x" * 500 + b"\r\n",
            b"1f5\r\n" + b"x" * 501,
        ],
        413,
    ),
    "headers too large": ([b"GET / HTTP/1.1\r\n" + b"x-y: %s\r\n" % (b"z" * 300) * 8], 431),
    "a path too long": ([b"GET /" + b"a" * 3000], 431),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_no_request_or_too_much_is_refused_and_the_connection_ends(served, what):
    parts, status = REFUSED[what]
    answer = await served.talk(*parts)
    assert statuses(answer) == [status]
    assert b"connection: close" in answer
    assert b'{"error":"' in answer


@pytest.mark.parametrize("served", [IMPATIENT], indirect=True)
@pytest.mark.parametrize("part", [b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nab"])
async def test_a_request_that_does_not_come_to_its_end_is_refused(served, part):
    assert statuses(await served.talk(part)) == [408]


async def test_bodies_of_all_connections_together_are_bounded(served):
    """The one that goes over is refused, and what is freed can be used again."""
    head = b"POST / HTTP/1.1\r\ncontent-length: 900\r\nconnection: close\r\n\r\n"
    first = await served.connect()
    first[1].write(head + b"x" * 800)
    while served.server.buffered_bytes < 800:
        await asyncio.sleep(0.001)
    assert statuses(await served.talk(head + b"x" * 800)) == [429]
    first[1].write(b"x" * 100)
    assert statuses(await first[0].read()) == [200]
    first[1].close()
    assert served.server.buffered_bytes == 0
    assert statuses(await served.talk(head + b"x" * 900)) == [200]


async def test_a_caller_that_hangs_up_leaves_nothing_behind(served):
    _, writer = await served.connect()
    writer.write(b"POST / HTTP/1.1\r\ncontent-length: 900\r\n\r\nxxx")
    while served.server.buffered_bytes < 3:
        await asyncio.sleep(0.001)
    writer.transport.abort()
    while served.server.connections:
        await asyncio.sleep(0.001)
    assert served.server.buffered_bytes == 0


async def test_connections_beyond_the_limit_are_refused(served):
    held = [await served.connect() for _ in range(LIMITS.connections)]
    for _, writer in held:
        writer.write(b"GET /later HTTP/1.1\r\n\r\n")
    while len(served.waiting) < LIMITS.connections:
        await asyncio.sleep(0.001)
    assert statuses(await served.talk()) == [503]
    for exchange in served.waiting:
        exchange.answer(200, b"")
    for _, writer in held:
        writer.close()


@pytest.mark.parametrize("served", [CROWDED], indirect=True)
async def test_those_who_only_hold_a_connection_make_room_when_there_is_none(served):
    """Any number of them; a request that is under way stays, and one fewer than may be are left alone."""
    busy = await served.connect()
    busy[1].write(b"GET /later HTTP/1.1\r\n\r\n")
    idle = [await served.connect() for _ in range(CROWDED.connections - 1)]
    beyond = [await served.connect() for _ in range(200)]
    assert len(served.server.connections) <= CROWDED.connections + 64
    for reader, _ in idle:
        assert await asyncio.wait_for(reader.read(), 120) == b""
    # Those who were told that there is no room go in their turn, a moment later if they came a moment later.
    while served.server.is_crowded:
        await asyncio.sleep(0.001)
    assert statuses(await served.talk(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")) == [200]
    served.waiting.pop().answer(200, b"still here")
    assert b"still here" in await busy[0].readuntil(b"here")
    for _, writer in (busy, *idle, *beyond):
        writer.close()


@pytest.mark.parametrize("served", [IMPATIENT], indirect=True)
async def test_idle_connections_are_closed_and_busy_ones_are_not(served):
    busy = await served.connect()
    busy[1].write(b"GET /later HTTP/1.1\r\n\r\n")
    idle = await served.connect()
    assert await asyncio.wait_for(idle[0].read(), 120) == b""
    served.waiting.pop().answer(200, b"still here")
    assert b"still here" in await busy[0].readuntil(b"here")
    for _, writer in (busy, idle):
        writer.close()


async def test_a_fault_of_the_application_is_answered_and_logged(served, caplog):
    answer = await served.talk(b"GET /fault HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert statuses(answer) == [500]
    assert "GET /fault failed" in caplog.text


async def test_a_stop_answers_what_is_under_way_and_takes_no_more(served):
    reader, writer = await served.connect()
    writer.write(b"GET /later HTTP/1.1\r\n\r\n")
    while not served.waiting:
        await asyncio.sleep(0.001)
    stopping = asyncio.create_task(served.server.stop(120))
    while not served.server.draining:
        await asyncio.sleep(0.001)
    served.waiting.pop().answer(200, b"the last one")
    answer = await reader.read()
    await stopping
    assert b"the last one" in answer
    assert b"connection: close" in answer
    with pytest.raises(ConnectionRefusedError):
        await served.connect()
    writer.close()


@pytest.mark.parametrize(
    "body", [b"content-length: 2\r\n\r\nhi", b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"]
)
async def test_a_caller_who_asks_for_another_protocol_is_answered_in_this_one(served, body):
    """Body and all, and goes on: Java's HttpClient asks for HTTP/2 with its first request, whatever that is."""
    wish = b"POST /x HTTP/1.1\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAM\r\n"
    answer = await served.talk(wish + body + b"GET /next HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert statuses(answer) == [200, 200]
    assert b"POST /x  hi" in answer
    assert answer.endswith(b"GET /next  ")


async def test_what_is_sent_through_a_tunnel_that_is_not_there_is_no_request(served):
    """Who asks for one may send on before the answer, and what it sends was written by others."""
    answer = await served.talk(b"CONNECT x:1 HTTP/1.1\r\ncontent-length: 22\r\n\r\nGET /inner HTTP/1.1\r\n\r\n")
    assert statuses(answer) == [200]
    assert b"connection: close" in answer
    assert b"/inner" not in answer
