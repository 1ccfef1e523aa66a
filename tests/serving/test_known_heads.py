"""A head that was parsed a moment ago is known again: what is handed over is what the parser would have handed over."""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.wire.connection import Connection
from trimtab.wire.http import Exchange, Limits, Request
from trimtab.wire.shared import Shared

HEAD = b"POST /score?a=%d HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


class Transport:
    """Takes what is written; always reads."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_reading(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class Served:
    """One connection of a server that answers at once with what it was handed."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.handed: list[tuple[str, str, str, list[tuple[bytes, bytes]], bytes]] = []
        self.server = Shared(self._answer, limits or Limits())
        self.transport = Transport()
        self.connection = Connection(self.server, cast(asyncio.AbstractEventLoop, _Clock()))
        self.connection.connection_made(cast(asyncio.BaseTransport, self.transport))

    def feed(self, *parts: bytes) -> None:
        for part in parts:
            if not self.transport.closed:
                self.connection.data_received(part)

    def _answer(self, request: Request, exchange: Exchange) -> None:
        head = request.head
        self.handed.append((head.method, head.path, head.query, list(head.headers), request.body))
        exchange.answer(200, b"{}")


class _Clock:
    def time(self) -> float:
        return 0.0


@pytest.fixture
def served() -> Served:
    return Served()


def what_is_parsed(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the parser is given from now on; it grows."""
    given: list[bytes] = []
    parse = served.connection._parse

    def noting(data: bytes) -> None:
        given.append(data)
        parse(data)

    monkeypatch.setattr(served.connection, "_parse", noting)
    return given


def test_the_same_head_is_parsed_once_whatever_its_body(served, monkeypatch):
    parsed = what_is_parsed(served, monkeypatch)
    head = HEAD % (1, 5)
    served.feed(head + b"hello", head + b"world", head + b"GET /")
    assert parsed == [head + b"hello"]
    assert [body for *_, body in served.handed] == [b"hello", b"world", b"GET /"]
    assert len({handed[:3] for handed in served.handed}) == 1
    assert served.server.buffered_bytes == 0


def test_a_known_head_says_nothing_of_a_body_that_is_not_all_there_or_has_more_behind_it(served, monkeypatch):
    head = HEAD % (1, 5)
    served.feed(head + b"hello")
    parsed = what_is_parsed(served, monkeypatch)
    served.feed(head + b"he", b"llo")
    served.feed(head + b"12345" + head + b"67890")
    assert len(parsed) == 3
    assert [body for *_, body in served.handed] == [b"hello", b"hello", b"12345", b"67890"]


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.0\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nx: " + b"y" * 3000 + b"\r\ncontent-length: 2\r\n\r\n",
    ],
    ids=["close", "1.0", "expect", "long"],
)
def test_heads_that_say_more_than_what_follows_are_not_learnt(served, head):
    served.feed(head + b"hi")
    assert [body for *_, body in served.handed] == [b"hi"]
    assert not served.server.heads


def test_chunks_are_not_learnt(served):
    served.feed(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    assert [body for *_, body in served.handed] == [b"hi"]
    assert not served.server.heads


def test_a_tunnel_is_not_learnt(served):
    """CONNECT has no body, whatever its head says (RFC 9110, 9.3.6): no size of one is known."""
    served.feed(b"CONNECT x:1 HTTP/1.1\r\ncontent-length: 4\r\n\r\n\r\n\r\n")
    assert [method for method, *_ in served.handed] == ["CONNECT"]
    assert not served.server.heads


def test_heads_do_not_gather(served):
    for number in range(3000):
        served.feed(HEAD % (number, 2) + b"hi")
        assert len(served.server.heads) <= 1024
    assert len(served.handed) == 3000


def test_the_limit_on_bodies_in_memory_holds_for_known_heads():
    served = Served(Limits(buffered_bytes=8))
    head = HEAD % (1, 5)
    served.feed(head + b"hello")
    served.server.buffered_bytes = 4  # of others
    served.feed(head + b"hello")
    assert served.transport.written[-1].startswith(b"HTTP/1.1 429 ")
    assert served.server.buffered_bytes == 4
    assert len(served.handed) == 1


REQUESTS = st.sampled_from(
    [
        HEAD % (1, 0),
        HEAD % (1, 5) + b"hello",
        HEAD % (2, 5) + b"\r\n\r\nx",
        HEAD % (1, 21) + b"GET / HTTP/1.1\r\nx: y\r\n",
        b"GET /v2 HTTP/1.1\r\n\r\n",
        b"\r\nGET /v2 HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi",
        b"POST / HTTP/1.1\r\nupgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nhi",
        b"CONNECT x:1 HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
        b"CONNECT x:1 HTTP/1.1\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
        b"POST / HTTP/1.1\ncontent-length: 6\n\n\r\n\r\nhi",
        b"POST / HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi",
        b"POST / HTTP/1.1\r\ncontent-length: +2\r\n\r\nhi",
        b"\r\n\r\n",
        b"nonsense\r\n\r\n",
    ]
)


@given(st.lists(REQUESTS, min_size=1, max_size=12), st.data())
def test_what_is_handed_over_is_the_same_as_without(requests, data):
    """However the bytes of requests are cut into pieces, and whichever heads were learnt before."""
    sent = b"".join(requests)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=8)))
    # Requests that arrive whole are those that are known again.
    ends = [len(b"".join(requests[:count])) for count in range(len(requests) + 1)]
    places = sorted({*cuts, *data.draw(st.sets(st.sampled_from(ends))), 0, len(sent)})
    parts = [sent[start:end] for start, end in itertools.pairwise(places)]
    warm, cold = Served(), Served()
    for part in parts:
        warm.feed(part)
        cold.feed(part)
        cold.server.heads.forget()
    assert warm.handed == cold.handed
    assert undated(warm.transport.written) == undated(cold.transport.written)
    assert warm.transport.closed == cold.transport.closed
    assert warm.server.buffered_bytes == cold.server.buffered_bytes


def undated(written: list[bytes]) -> list[bytes]:
    """Answers without their date: between one and the other a second may turn."""
    return [re.sub(rb"\r\ndate: [^\r]+", b"", part) for part in written]
