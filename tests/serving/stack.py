"""Real processes for the tests of the gateway: it, and scorers, on free ports; and a client that loads it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec

from trimtab.serving.client import GatewayClient
from trimtab.serving.routes import Route, RouteFeature
from trimtab.serving.tls import client_tls
from trimtab.settings import Settings

FEATURES = (
    RouteFeature("income", "number"),
    RouteFeature("age", "integer", nullable=False),
    RouteFeature("region", "category"),
    RouteFeature("employed", "boolean"),
)
ROW = {"income": [1.5], "age": [30], "region": ["north"], "employed": [True]}
_DATATYPES = {"income": "FP64", "age": "INT64", "region": "BYTES", "employed": "BOOL"}


def until(holds: Callable[[], bool], what: str, deadline_s: float = 120) -> None:
    """Wait for a condition; fail if it does not come to hold."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, f"after {deadline_s} s still not: {what}"
        time.sleep(0.02)


def scoring(url: str) -> bool:
    """Whether a scorer was ever called to score."""
    return httpx.get(f"{url}/v2/models/loan").json()["calls"] > 0


def infer_body(columns: dict[str, list] | None = None, request_id: str = "", **parameters: object) -> bytes:
    """A V2 request."""
    columns = columns or ROW
    inputs = [
        {"name": name, "shape": [len(values)], "datatype": _DATATYPES.get(name, "FP64"), "data": values}
        for name, values in columns.items()
    ]
    return msgspec.json.encode({"id": request_id, "inputs": inputs, "parameters": parameters})


@dataclass
class Stack:
    """A gateway's home, and the processes started for it."""

    home: Path
    extra: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen] = field(default_factory=list)
    gateway: subprocess.Popen | None = None

    def __post_init__(self) -> None:
        # Bound, it is given to nobody else until the gateway listens on it, nor while that is dead.
        self._keeper = socket.socket()
        self._keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._keeper.bind(("127.0.0.1", 0))
        self.port = self._keeper.getsockname()[1]
        self.url = f"{'https' if 'TRIMTAB_TLS_CERT' in self.extra else 'http'}://127.0.0.1:{self.port}"
        self.settings = Settings.from_env(
            {"TRIMTAB_HOME": str(self.home), "TRIMTAB_GATEWAY_URL": self.url, **self.extra}
        )

    def scorer(self, offset: float = 0.0, delay_s: float = 0.0, *more: str) -> tuple[str, subprocess.Popen]:
        """Start a scorer; its address and process. ``more`` goes to it."""
        script = Path(__file__).with_name("scorer_process.py")
        arguments = [sys.executable, str(script), f"--offset={offset}", f"--delay-s={delay_s}", *more]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        return f"http://127.0.0.1:{int(process.stdout.readline())}", process

    def start_gateway(self, preexec: Callable[[], None] | None = None) -> None:
        """Start the gateway and wait until it answers."""
        environment = {**os.environ, **self.settings.as_env()}
        with (self.home / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(
                [sys.executable, "-m", "trimtab.serving"], env=environment, stdout=log, stderr=log, preexec_fn=preexec
            )
        self.processes.append(self.gateway)
        until(self.answers, f"the gateway answers; its log says {(self.home / 'gateway.log').read_text()[-2000:]}")

    def serve_loan(self) -> None:
        """Let a scorer answer for model loan, version 1."""
        url, _ = self.scorer()
        with self.client() as client:
            client.switch(self.route(url))

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ping", verify=client_tls(self.settings)).status_code == 200
        except httpx.TransportError:
            return False

    def kill_gateway(self, number: int = signal.SIGKILL) -> None:
        self.gateway.send_signal(number)
        self.gateway.wait(timeout=120)

    def client(self) -> GatewayClient:
        return GatewayClient(self.settings)

    def route(self, url: str, version: str = "1", **changes: object) -> Route:
        values = {
            "model": "loan",
            "version": version,
            "release_id": f"release-{version}",
            "url": url,
            "artifact_digest": "digest",
            "kind": "binary",
            "features": FEATURES,
        }
        return Route(**{**values, **changes})

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        self._keeper.close()


@dataclass
class Answered:
    """What the load client was told: request id, status, body."""

    request_id: str
    status: int
    body: dict


async def load(
    port: int,
    connections: int,
    stop: Callable[[list[Answered]], bool],
    on_lost: str = "raise",
    columns: dict | None = None,
) -> list[Answered]:
    """Post single rows over kept-alive connections until ``stop(answers)``; each row's income is its number.

    With ``on_lost="end"`` a connection that breaks, or that nobody takes any more, ends its part; its open request is
    not among the answers.
    """
    answers: list[Answered] = []
    numbers = iter(range(10**9))

    async def one() -> None:
        writer = None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while not stop(answers):
                number = next(numbers)
                body = infer_body({**(columns or ROW), "income": [float(number)]}, request_id=str(number))
                writer.write(
                    b"POST /v2/models/loan/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
                )
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                content = await reader.readexactly(length)
                answers.append(Answered(str(number), int(head[9:12]), msgspec.json.decode(content)))
        except (ConnectionError, asyncio.IncompleteReadError):
            if on_lost == "raise":
                raise
        finally:
            if writer is not None:
                writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return answers
