"""The demo's traffic, against a real server."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from demo.errors import DemoError
from demo.replay import Step
from demo.traffic import Pace, Traffic


class Gateway:
    """Answers as the gateway does, or refuses from the request of some number on."""

    def __init__(self, refuse_from: int | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.handlers: list[asyncio.Task[None]] = []
        self._refuse_from = refuse_from

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handlers.append(asyncio.current_task())  # type: ignore[arg-type]
        while head := await self._head(reader):
            length = int(re.search(rb"Content-Length: (\d+)", head).group(1))  # type: ignore[union-attr]
            status, answer = self._answer(head.split()[1].decode(), json.loads(await reader.readexactly(length)))
            body = json.dumps(answer).encode()
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        writer.close()
        await writer.wait_closed()

    @staticmethod
    async def _head(reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return b""

    def _answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path.endswith("/outcomes"):
            self.told += body["outcomes"]
            return 200, {"accepted": len(body["outcomes"])}
        if self._refuse_from is not None and len(self.asked) >= self._refuse_from:
            return 503, {"error": "the log cannot be written"}
        self.asked.append(body)
        outputs = [
            {"name": "score", "datatype": "FP64", "shape": [1], "data": [0.5]},
            {"name": "prediction_id", "datatype": "BYTES", "shape": [1], "data": [f"id-{body['id']}"]},
        ]
        return 200, {"model_name": "m", "model_version": "1", "outputs": outputs}


def flights(rows: int) -> Any:
    return SimpleNamespace(
        model=SimpleNamespace(spec=SimpleNamespace(name="m")),
        event_time=np.arange(rows),
        known_at=np.arange(rows) + 10,
        late=np.arange(rows) % 2 * 1.0,
        bodies=lambda some: [json.dumps({"id": str(row)}).encode() for row in some],
    )


@asynccontextmanager
async def traffic(gateway: Gateway, rows: int) -> AsyncIterator[Traffic]:
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Traffic(f"http://127.0.0.1:{port}", flights(rows)) as sent:
        yield sent
    await asyncio.gather(*gateway.handlers)
    server.close()
    await server.wait_closed()


async def test_every_flight_is_asked_about_and_its_outcome_told_under_its_id() -> None:
    """Each row of a step is one request; outcomes go out under the ids that the answers gave."""
    gateway = Gateway()
    async with traffic(gateway, 300) as sent:
        await sent.step(Step(0, range(300), np.array([], dtype=int)))
        await sent.step(Step(500, range(0), np.array([3, 8])))
    assert sorted(int(one["id"]) for one in gateway.asked) == list(range(300))
    assert sent.prediction_ids == [f"id-{row}" for row in range(300)]
    assert [(one["prediction_id"], one["value"]) for one in gateway.told] == [("id-3", 1.0), ("id-8", 0.0)]
    assert (sent.asked, sent.told, sent.versions) == (300, 2, {"1": 300})


async def test_a_refusal_ends_the_replay_with_the_gateways_words() -> None:
    """Whatever the gateway refuses is an error that says what it said."""
    async with traffic(Gateway(refuse_from=5), 20) as sent:
        with pytest.raises(DemoError, match=r"503.*the log cannot be written"):
            await sent.step(Step(0, range(20), np.array([], dtype=int)))


async def test_a_slow_pace_holds_requests_back_until_it_is_lifted() -> None:
    """At ten a second three requests take a fifth of a second; lifted, those that wait go at once."""
    pace = Pace()
    pace.slow(10)
    began = time.monotonic()
    for _ in range(3):
        await pace.turn()
    assert time.monotonic() - began >= 0.2
    pace.slow(0.01)
    waiting = asyncio.create_task(pace.turn())
    await asyncio.sleep(0)
    pace.full()
    await asyncio.wait_for(waiting, 20)
