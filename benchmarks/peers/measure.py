"""One round of one server: started, asked in each of its forms at each number of connections, weighed, stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.peers import wrk
from benchmarks.peers.environments import PeerError
from benchmarks.peers.forms import Form
from benchmarks.peers.processes import Memory, Server, await_first_answer, check_answer
from benchmarks.peers.subject import Subject

SINGLE_CONNECTIONS = (1, 16, 64)
_WARM_UP_S = 1.0
_Samples = list[tuple[np.ndarray, np.ndarray]]


class Contender(Protocol):
    """What takes part."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def setup(self) -> str: ...

    @property
    def forms(self) -> tuple[Form, ...]: ...

    def prepare(self, subject: Subject, scratch: Path) -> None:
        """Install, and save the model in its own format. Raises PeerError."""
        ...

    def start(self, subject: Subject, scratch: Path, server: Server) -> str:
        """Start its processes; returns its base address."""
        ...


@dataclass(frozen=True, order=True)
class Point:
    """What was asked: whom, in which form, so many rows a request, over so many connections."""

    contender: str
    form: str
    rows: int
    connections: int


@dataclass(frozen=True)
class Effort:
    """How long each point is measured, and over which numbers of connections batches are tried."""

    seconds: int = 4
    batch_connections: tuple[int, ...] = (1, 2, 4, 8)


@dataclass(frozen=True)
class Found:
    """One measurement at a point, and the processor time of all the server's processes for each request."""

    load: wrk.Load
    cpu_us: float


@dataclass(frozen=True)
class Round:
    """One server's round. ``failed`` says of a form why it could not be asked."""

    start_s: float
    memory: Memory
    found: dict[Point, Found]
    failed: dict[str, str]
    rows_answered: int


def measure(
    contender: Contender,
    subject: Subject,
    scratch: Path,
    effort: Effort,
    after: Callable[[int], None] = lambda answered: None,
) -> Round:
    """Run one round.

    Parameters
    ----------
    after
        Called with the number of rows that were answered at least, once the server has stopped.

    Raises
    ------
    PeerError
        If the server does not start, or answers none of its forms rightly.
    """
    server = Server(scratch / f"{contender.name}.log")
    found: dict[Point, Found] = {}
    failed: dict[str, str] = {}
    answered, memory = 0, Memory(0, 0, 0)
    try:
        begun = time.perf_counter()
        url = contender.start(subject, scratch, server)
        await_first_answer(server, url, contender.forms[0], *subject.singles()[0])
        start_s = time.perf_counter() - begun
        for form in contender.forms:
            try:
                for samples, connections in (
                    (subject.singles(), SINGLE_CONNECTIONS),
                    (subject.batches(), effort.batch_connections),
                ):
                    for point, each, rows in _series(
                        contender.name, form, samples, connections, url, server, scratch, effort.seconds
                    ):
                        found[point] = each
                        answered += rows
                        memory = max(memory, server.memory(), key=lambda held: held.pss_mib)
            except (PeerError, RuntimeError, ValueError) as error:
                failed[form.name] = str(error)
    finally:
        server.stop()
    if not found:
        raise PeerError("; ".join(f"{form}: {why}" for form, why in failed.items()))
    after(answered)
    return Round(start_s, memory, found, failed, answered)


def _series(
    name: str,
    form: Form,
    samples: _Samples,
    connections: tuple[int, ...],
    url: str,
    server: Server,
    scratch: Path,
    seconds: float,
) -> Iterator[tuple[Point, Found, int]]:
    """The same requests at each number of connections, each warmed up for; with each the rows that were answered."""
    check_answer(url, form, *samples[1])
    authority = url.removeprefix("http://")
    file = scratch / "requests"
    wrk.write_requests(file, [form.request(rows, authority) for rows, _ in samples])
    rows_each = len(samples[0][0])
    for count in connections:
        warm = wrk.load(authority, file, count, _WARM_UP_S)
        before = server.cpu_s()
        load = wrk.load(authority, file, count, seconds)
        cpu_us = (server.cpu_s() - before) / load.requests * 1e6 if load.requests else float("nan")
        server.check_alive()
        rows = (warm.requests + load.requests) * rows_each
        yield Point(name, form.name, rows_each, count), Found(load, cpu_us), rows
