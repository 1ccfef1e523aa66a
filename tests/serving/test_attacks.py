"""What hostile callers, odd clients and broken scorers try, and what must hold all the same."""

import asyncio
import contextlib
import resource
import socket
import sqlite3
import ssl
import tracemalloc

import msgspec
import numpy as np
import pytest

from tests.certificates import Authority
from tests.loan_artifact import make_artifact
from tests.serving.stack import FEATURES, ROW
from tests.serving.stack import until as process_until
from tests.serving.test_http_server import LIMITS, served, statuses
from trimtab.errors import RequestError, ServiceUnavailableError
from trimtab.predictions.schema import log_schema
from trimtab.scoring.app import BadRequestError, ScorerApp
from trimtab.scoring.model import Artifact
from trimtab.serving import log_writer
from trimtab.serving import scorer as scorer_module
from trimtab.serving import switchboard as switchboard_module
from trimtab.serving.batching import Lane
from trimtab.serving.block import Block
from trimtab.serving.draft import Draft
from trimtab.serving.log_writer import LogWriter
from trimtab.serving.protocol import RouteParser
from trimtab.serving.protocol.csv_rows import parse_csv
from trimtab.serving.routes import Route, RouteFeature, check_route, save_routes
from trimtab.serving.scorer import Scorer
from trimtab.serving.switchboard import Switchboard
from trimtab.settings import Settings
from trimtab.wire.http import Limits, Server, listen
from trimtab.wire.tensors import HEADER_LENGTH

__all__ = ["served"]  # a fixture

ROOMY = Limits(header_bytes=2000, body_bytes=1_000_000)
HASTY = Limits(idle_s=0.2)
MANY = 3000


async def until(holds):
    async with asyncio.timeout(120):
        while not holds():
            await asyncio.sleep(0.001)


async def test_a_caller_that_ended_its_side_is_still_answered(served):
    """``nc -N`` and some clients shut down their writing side once all is sent."""
    reader, writer = await served.connect()
    writer.write(b"GET /later HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n")
    writer.write_eof()
    await until(lambda: served.waiting)
    await asyncio.sleep(0.01)
    served.waiting.pop().answer(200, b"late")
    assert statuses(await asyncio.wait_for(reader.read(), 120)) == [200, 200]
    writer.close()


@pytest.mark.parametrize("served", [Limits()], indirect=True)
async def test_any_number_of_requests_may_wait_behind_a_late_answer(served):
    """They are answered one after the other, not each within the one before."""
    reader, writer = await served.connect()
    last = b"GET /x HTTP/1.1\r\nconnection: close\r\n\r\n"
    writer.write(b"GET /later HTTP/1.1\r\n\r\n" + b"GET /x HTTP/1.1\r\n\r\n" * MANY + last)
    await until(lambda: served.waiting)
    await asyncio.sleep(0.01)
    served.waiting.pop().answer(200, b"late")
    assert statuses(await asyncio.wait_for(reader.read(), 120)) == [200] * (MANY + 2)
    writer.close()


@pytest.mark.parametrize("served", [ROOMY], indirect=True)
@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\nx: ",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx: ",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2;x=",
    ],
    ids=["header", "trailer", "chunk extension"],
)
async def test_a_line_without_end_is_refused(served, start):
    """The parser keeps it until it is whole, and tells nobody before."""
    reader, writer = await served.connect()
    writer.write(start)
    answer = asyncio.create_task(reader.read())
    for _ in range(200):
        if answer.done():
            break
        writer.write(b"a" * 65536)
        await writer.drain()
        await asyncio.sleep(0)
    assert statuses(await asyncio.wait_for(answer, 120)) == [431]
    writer.close()


@pytest.mark.parametrize("served", [Limits()], indirect=True)
async def test_a_caller_that_asks_and_never_reads_is_not_read_any_more(served):
    request, sent, blocked = b"GET /%b HTTP/1.1\r\nx: %b\r\n\r\n" % (b"b" * 10_000, b"p" * 10_000), 0, 0
    with socket.create_connection(("127.0.0.1", served.port)) as caller:
        caller.setblocking(False)
        while blocked < 100 and sent < 60_000_000:
            try:
                sent += caller.send(request)
                blocked = 0
            except BlockingIOError:
                blocked += 1
            await asyncio.sleep(0.0005 if blocked else 0)
    assert blocked == 100, "all was taken in"


@pytest.mark.parametrize("served", [HASTY], indirect=True)
async def test_a_caller_that_never_takes_its_answer_loses_its_place(served):
    with socket.create_connection(("127.0.0.1", served.port)) as caller:
        caller.sendall(b"GET /later HTTP/1.1\r\nconnection: close\r\n\r\n")
        await until(lambda: served.waiting)
        served.waiting.pop().answer(200, b"x" * 20_000_000)
        await until(lambda: not served.server.connections)


async def test_callers_of_tls_count_before_they_say_anything(tmp_path):
    """Those beyond the limit are closed at once; when one goes, another is served; and a stop waits for none."""
    authority = Authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("gateway"))
    server, listener = Server(lambda _, exchange: exchange.answer(200, b"{}"), LIMITS), listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    await server.start(listener, tls)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(LIMITS.connections + 1)]
    assert await asyncio.wait_for(silent[-1][0].read(), 120) == b""
    assert server.refused == {503: 1}
    silent[0][1].write(b"GET / HTTP/1.1\r\n\r\n")  # no TLS: this one loses its place
    await until(lambda: len(server.greeting) == LIMITS.connections - 1)
    trusting = ssl.create_default_context(cafile=authority.file)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await asyncio.wait_for(reader.readuntil(b"{}"), 120)).startswith(b"HTTP/1.1 200")
    await asyncio.wait_for(server.stop(0.1), 120)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    for _, each in (*silent, (reader, writer)):
        each.close()


@pytest.mark.parametrize("served", [ROOMY], indirect=True)
async def test_a_trailer_is_no_header(served):
    """A proxy that takes identities out of headers does not look at trailers."""
    reader, writer = await served.connect()
    writer.write(
        b"POST /later HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-trimtab-caller: me\r\n\r\n"
    )
    await until(lambda: served.waiting)
    request = served.waiting[0].request
    assert (request.body, request.head.header(b"x-trimtab-caller")) == (b"hi", None)
    served.waiting.pop().answer(200, b"")
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("served", [ROOMY], indirect=True)
async def test_a_body_in_tiny_chunks_takes_little_more_memory_than_it_has_bytes(served):
    chunks = b"2\r\nhi\r\n" * 100_000
    _, writer = await served.connect()
    tracemalloc.start()
    writer.write(b"POST /later HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
    await until(lambda: served.server.buffered_bytes == 200_000)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    writer.write(b"0\r\n\r\n")
    await until(lambda: served.waiting)
    assert served.waiting[0].request.body == b"hi" * 100_000
    served.waiting.pop().answer(200, b"")
    assert used < 2_000_000
    writer.close()


async def test_bodies_that_are_being_answered_count_among_those_in_memory(served):
    """Else those who wait for a slow scorer could hold any number of them; a caller that is gone frees nothing."""
    head = b"POST /later HTTP/1.1\r\ncontent-length: 900\r\n\r\n"
    _, writer = await served.connect()
    writer.write(head + b"x" * 900)
    await until(lambda: served.waiting)
    assert statuses(await served.talk(head + b"x" * 900)) == [429]
    writer.transport.abort()
    await asyncio.sleep(0.01)
    assert served.server.buffered_bytes == 900
    served.waiting.pop().answer(200, b"")
    assert served.server.buffered_bytes == 0
    assert LIMITS.buffered_bytes == 1500


async def test_a_caller_of_http_1_0_sees_the_end(served):
    """It is not told that the connection stays open, so that it would wait for the end."""
    assert statuses(await served.talk(b"GET /x HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")) == [200]


@pytest.mark.parametrize("version", [b"1.0\r\nconnection: keep-alive", b"1.1"])
async def test_what_comes_in_one_piece_with_the_last_request_is_not_handled(served, version):
    """Its answer would be lost, and what it asks for be done all the same. A server that drains ends with the first."""
    served.server.draining = version == b"1.1"
    asked = b"".join(
        b"POST %b HTTP/%b\r\ncontent-length: 2\r\n\r\nhi" % (path, version) for path in (b"/x", b"/later") * 2
    )
    assert statuses(await served.talk(asked + b"GET / HTTP/1.1\r\nx")) == [200]
    assert not served.waiting
    await until(lambda: not served.server.connections)
    assert (served.server.buffered_bytes, served.server.refused.total()) == (0, 0)


async def test_a_target_may_name_the_host(served):
    answer = await served.talk(b"GET http://gateway:8080/x?y=1 HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert answer.endswith(b"GET /x y=1 ")


async def test_a_request_whose_body_is_on_its_way_is_answered_before_a_stop(served):
    reader, writer = await served.connect()
    writer.write(b"POST /x HTTP/1.1\r\ncontent-length: 4\r\n\r\nha")
    await until(lambda: served.server.buffered_bytes == 2)
    stopping = asyncio.create_task(served.server.stop(120))
    await until(lambda: served.server.stopped)
    writer.write(b"lf")
    answer = await asyncio.wait_for(reader.read(), 120)
    assert b"connection: close" in answer
    assert answer.endswith(b"POST /x  half")
    await stopping
    writer.close()


async def test_who_asks_before_it_sends_is_told_to_go_on_when_it_is_its_turn(served):
    reader, writer = await served.connect()
    writer.write(b"GET /later HTTP/1.1\r\n\r\nPOST /x HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    await until(lambda: served.waiting)
    served.waiting.pop().answer(200, b"late")
    assert (await reader.readuntil(b"late")).startswith(b"HTTP/1.1 200 ")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hi")
    assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200 ")
    writer.close()


ROUTE = Route("loan", "1", "r", "http://127.0.0.1:1", "digest", "binary", FEATURES)
NUMBERS = Route(
    "loan", "1", "r", "http://127.0.0.1:1", "digest", "binary", tuple(RouteFeature(name, "number") for name in "abcd")
)


def infer(route, body, header_length=None):
    return RouteParser(route, 100).infer(body, header_length, 0)


def one_input(shape, rest=b'"parameters":{"binary_data_size":8}'):
    return b'{"inputs":[{"name":"a","datatype":"FP64","shape":%b,%b}]}' % (shape, rest)


def binary(text):
    return text + bytes(8), b"%d" % len(text)


OVERLONG = {
    "a shape of many numbers": (binary(one_input(b"[" + b",".join([b"9223372036854775807"] * 50_000) + b"]")), "<= 8"),
    "a shape of long numbers": (binary(one_input(b"[1%b,2]" % (b"0" * 4000))), "9223372036854775807"),
    "a long number of rows": (
        (one_input(b"[1%b,4]" % (b"0" * 4000), b'"data":[1,2,3,4]'), None),
        "9223372036854775807",
    ),
    "a header of many digits": ((one_input(b"[1]"), b"1" * 5000), "length of the JSON part"),
    "an output many times": (
        (one_input(b"[1,4]", b'"data":[1,2,3,4]')[:-1] + b',"outputs":[{"name":"score"},{"name":"score"}]}', None),
        "more than once",
    ),
}


@pytest.mark.parametrize("what", OVERLONG)
def test_numbers_without_end_are_refused_before_anything_is_reckoned(what):
    (body, header_length), words = OVERLONG[what]
    with pytest.raises(RequestError, match=words) as refusal:
        infer(NUMBERS, body, header_length)
    assert refusal.value.status == 400
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("form", ["dataframe_records", "inputs", "instances"])
def test_too_many_rows_are_refused_before_they_are_looked_at(form):
    """What is wrong with them beside would be told else."""
    body = b'{"%b":[%b]}' % (form.encode(), b",".join([b'{"what":1}'] * 101))
    with pytest.raises(RequestError, match="at most 100") as refusal:
        RouteParser(ROUTE, 100).invocation(body, 0)
    assert refusal.value.status == 413


def test_lines_of_csv_beyond_the_limit_are_not_read():
    with pytest.raises(RequestError, match="over 100 rows") as refusal:
        parse_csv(b"income,age,region,employed\n" + b"1,1,x,what\n" * 101 + b'"', b"text/csv", ROUTE, 100, 0)
    assert refusal.value.status == 413


async def test_a_log_that_another_process_holds_does_not_hold_the_loop(tmp_path, monkeypatch):
    """A sealer, a copy, someone's sqlite3: those who wait for that log wait, and nobody else."""
    monkeypatch.setattr(log_writer, "_QUICK_COMMIT_S", 60.0)  # of this disk, whatever it is
    writer, schema = LogWriter(tmp_path / "loan"), log_schema((each.name, each.type) for each in NUMBERS.features)
    rows = infer(NUMBERS, one_input(b"[1,4]", b'"data":[1,2,3,4]'))

    drafts: list[Draft] = []

    def write():
        drafts.append(Draft(NUMBERS, schema, [rows]))
        return asyncio.create_task(writer.write(NUMBERS, drafts[-1], np.ones(1)))

    for _ in range(2):
        await write()
    other = sqlite3.connect(tmp_path / "loan" / "spool.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = [write(), write()]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in waiting)
    other.execute("COMMIT")
    other.close()
    await asyncio.gather(*waiting)
    assert writer.log.missing([*(draft.ids for draft in drafts), bytes(16)]) == [bytes(16)]
    writer.close()


SCORE = b'{"outputs":[{"name":"score","datatype":"FP64","shape":[1],"data":[%d]}]}'
NO_EXTENSIONS, BINARY = b"{}", b'{"extensions":["binary_tensor_data"]}'


def http(body):
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Script:
    """A scorer that answers each request with the next bytes of a script; None: it ends the connection instead.

    Who asks for the model's metadata is told nothing.
    """

    def __init__(self, *replies):
        self.replies, self.asked, self.connections = list(replies), [], []

    async def __call__(self, reader, writer):
        self.connections.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                body = await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
                if head.startswith(b"get /v2/models/loan "):
                    writer.write(http(b"{}"))
                    continue
                self.asked.append((head, body))
                if not self.replies or (reply := self.replies.pop(0)) is None:
                    break
                writer.write(reply)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def scripted(*replies):
    script = Script(*replies)
    server = await asyncio.start_server(script, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    script.url = f"http://127.0.0.1:{port}"
    scorer = Scorer(msgspec.structs.replace(NUMBERS, url=script.url))
    try:
        yield scorer, script
    finally:
        scorer.close()
        server.close()
        for connection in script.connections:
            connection.cancel()
        await asyncio.gather(*script.connections, return_exceptions=True)


BLOCK = Block(NUMBERS, [infer(NUMBERS, one_input(b"[1,4]", b'"data":[1,2,3,4]'))])


async def test_a_scorer_that_was_replaced_at_its_address_is_asked_anew_what_it_takes():
    """By another that takes JSON only, on the same port: what the first one took is not sent to it for ever."""
    replies = http(BINARY), http(SCORE % 1), None, http(NO_EXTENSIONS), http(SCORE % 2)
    async with scripted(*replies) as (scorer, script):
        assert await scorer.infer(BLOCK) == [1.0]
        assert await scorer.infer(BLOCK) == [2.0]  # it went away in this very call, and its successor was asked first
        assert HEADER_LENGTH not in script.asked[-1][0]


@pytest.mark.parametrize("size", [1, 20_000], ids=["with the answer", "long after it"])
async def test_an_answer_that_nobody_asked_for_is_never_taken_for_the_next(size):
    unasked = http(SCORE % 666 + b" " * size)
    async with scripted(http(NO_EXTENSIONS), http(SCORE % 1) + unasked, http(NO_EXTENSIONS), http(SCORE % 2)) as (
        scorer,
        _,
    ):
        assert await scorer.infer(BLOCK) == [1.0]
        await asyncio.sleep(0.02)
        assert await scorer.infer(BLOCK) == [2.0]


async def test_an_answer_without_end_is_not_kept(monkeypatch):
    monkeypatch.setattr(scorer_module, "_MAX_ANSWER_BYTES", 100_000)
    endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"186a0\r\n" + b" " * 100_000 + b"\r\n1\r\n "
    async with scripted(http(NO_EXTENSIONS), endless, endless) as (scorer, _):
        with pytest.raises(ServiceUnavailableError, match="more than 100000 bytes"):
            await asyncio.wait_for(scorer.infer(BLOCK), 120)


WRONG = {
    "too few": b'{"outputs":[{"name":"score","datatype":"FP64","shape":[0],"data":[]}]}',
    "too many": b'{"outputs":[{"name":"score","datatype":"FP64","shape":[2],"data":[1,2]}]}',
    "twice": b'{"outputs":[{"name":"score","datatype":"FP64","shape":[1],"data":[1]},'
    b'{"name":"score","datatype":"FP64","shape":[1],"data":[2]}]}',
    "a binary tensor that is not there": b'{"outputs":[{"name":"score","datatype":"FP64","shape":[1],'
    b'"parameters":{"binary_data_size":8}}]}',
    "texts": b'{"outputs":[{"name":"score","datatype":"BYTES","shape":[1],"data":["1"]}]}',
    "not JSON": b"\xff",
    "nested without end": b'{"outputs":' + b"[" * 10_000,
    "half a text": b'{"outputs":[{"name":"\xff","datatype":"FP64","shape":[1],"data":[1]}]}',
    "no number": b'{"outputs":[{"name":"score","datatype":"FP64","shape":[1],"data":[1e999]}]}',
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_scorer_that_answers_something_else_is_named(what):
    async with scripted(http(NO_EXTENSIONS), http(WRONG[what])) as (scorer, _):
        with pytest.raises(ServiceUnavailableError, match="scorer of loan version 1"):
            await asyncio.wait_for(scorer.infer(BLOCK), 120)


@pytest.fixture(scope="module")
def scorer_app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact")
    return ScorerApp(Artifact.load(folder / make_artifact(folder)), "1")


def loan_tensors(income=b"[1]", region=b'["north"]', more=b""):
    tensors = (b"income", b"FP64", income), (b"age", b"INT64", b"[30]"), (b"region", b"BYTES", region)
    each = [b'{"name":"%b","shape":[1],"datatype":"%b","data":%b}' % tensor for tensor in tensors]
    return b'{"inputs":[%b,{"name":"employed","shape":[1],"datatype":"BOOL","data":[true]}]%b}' % (
        b",".join(each),
        more,
    )


UNREADABLE = {
    "nested without end in a field": loan_tensors(more=b',"x":' + b"[" * 20_000),
    "nested without end in data": loan_tensors(income=b"[" * 5000 + b"]" * 5000),
    "half a text": loan_tensors(region=b'["\xff"]'),
    "half a name": loan_tensors().replace(b"income", b"inc\xff"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_scorer_refuses_what_cannot_be_read(scorer_app, what):
    assert scorer_app.infer(loan_tensors())[1] is None
    with pytest.raises(BadRequestError) as refusal:
        scorer_app.infer(UNREADABLE[what])
    assert refusal.value.status == 400


@pytest.mark.parametrize("name", ["score", "version", "prediction_id"])
def test_a_route_whose_features_are_columns_of_the_log_is_refused(name):
    """Not one of its predictions could be logged."""
    with pytest.raises(RequestError, match=f"{name}.*columns of the log"):
        check_route("loan", msgspec.structs.replace(NUMBERS, features=(RouteFeature(name, "number"),)))


class Waiting:
    """A caller, and what it was told."""

    received_at = 0.0

    def __init__(self):
        self.told = None

    def answer(self, ids, scores):
        self.told = scores

    def refuse(self, error):
        self.told = error


async def test_a_stop_does_not_wait_for_a_scorer_that_hangs(tmp_path, monkeypatch):
    """Else each batch would take its half minute, when no caller is left."""
    monkeypatch.setattr(switchboard_module, "_LAST_WAIT_S", 0.05)
    async with scripted(b"") as (_, script):
        settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path)})
        route = msgspec.structs.replace(NUMBERS, url=script.url)
        save_routes(tmp_path / "routes.json", {"loan": route})
        switchboard = Switchboard(settings, None)
        switchboard.start()
        callers = [Waiting() for _ in range(3)]
        rows = infer(NUMBERS, one_input(b"[1,4]", b'"data":[1,2,3,4]'))
        switchboard.lane("loan").submit(rows, callers[0])
        await until(lambda: script.asked)
        for caller in callers[1:]:
            switchboard.lane("loan").submit(rows, caller)
        removal = asyncio.create_task(switchboard.change("loan", None))
        await until(lambda: switchboard.find("loan") is None)
        # Nor does any other change of routes.
        await asyncio.wait_for(switchboard.change("other", None), 120)
        assert not removal.done()
        await asyncio.wait_for(switchboard.stop(), 120)
        assert await removal == route
        await until(lambda: all(caller.told is not None for caller in callers))


async def test_one_answer_that_cannot_be_put_together_does_not_hold_back_the_others(tmp_path):
    class Odd(Waiting):
        def answer(self, ids, scores):
            raise ZeroDivisionError

    class Counts:
        def batch(self, *_):
            pass

    two = b'{"outputs":[{"name":"score","datatype":"FP64","shape":[2],"data":[1,2]}]}'
    async with scripted(http(NO_EXTENSIONS), http(two)) as (_, script):
        writer, route = LogWriter(tmp_path / "loan"), msgspec.structs.replace(NUMBERS, url=script.url)
        lane = Lane(route, writer, route.limits.within(Settings.from_env({})), Counts())
        callers = [Odd(), Waiting()]
        for caller in callers:
            lane.submit(infer(NUMBERS, one_input(b"[1,4]", b'"data":[1,2,3,4]')), caller)
        await asyncio.wait_for(lane.drain(), 120)
        assert isinstance(callers[0].told, ZeroDivisionError)
        assert callers[1].told == [2.0]
        lane.close()
        writer.close()


def test_as_many_connections_are_taken_as_leave_files_for_all_else(make_stack):
    """With few files to open, callers beyond are told so; and those within are served."""
    stack = make_stack()
    stack.start_gateway(preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 300)))
    url, _ = stack.scorer()
    with stack.client() as client, contextlib.ExitStack() as held:
        for _ in range(200):
            held.enter_context(socket.create_connection(("127.0.0.1", stack.port)))
        late = held.enter_context(socket.create_connection(("127.0.0.1", stack.port)))
        assert late.recv(100).startswith(b"HTTP/1.1 503 ")
        held.close()
        process_until(stack.answers, "there is room again")
        client.switch(stack.route(url))
        assert client.infer("loan", ROW)["score"] == [1.5]
