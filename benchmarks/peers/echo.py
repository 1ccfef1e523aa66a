"""``python -m benchmarks.peers.echo --port N``: the gateway's own server with nothing behind it, the limit of HTTP.

It reads each request whole and answers with as many bytes as a prediction of that many rows has.
"""

from __future__ import annotations

import argparse
import asyncio

import uvloop

from trimtab.wire.http import Exchange, Limits, Request, Server, listen, stop_signal

_ANSWER = b'{"model_name":"bench","model_version":"1","outputs":[]}' + b" " * 300


async def _serve(port: int) -> None:
    def answer(request: Request, exchange: Exchange) -> None:
        exchange.answer(200, _ANSWER)

    server = Server(answer, Limits())
    await server.start(listen("127.0.0.1", port))
    await stop_signal()
    await server.stop(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(parser.parse_args().port))
