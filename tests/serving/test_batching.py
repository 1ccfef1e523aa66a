"""Which requests share a batch, on a lane whose scorer is held and let go by the test."""

import asyncio

import msgspec
import numpy as np
import pytest

from tests.serving.test_attacks import NUMBERS, infer, one_input
from trimtab.serving.batching import Lane
from trimtab.serving.log_writer import LogWriter
from trimtab.settings import Settings

TURNS = 6


class Batches(list):
    """How many requests each batch had."""

    def batch(self, _lane, requests, *_):
        self.append(requests)


class Returning:
    """A caller who asks again as soon as he is answered, so many times; as a socket would, a turn of the loop later."""

    received_at = 0.0

    def __init__(self, lane, times):
        self.lane, self.left, self.done = lane, times, asyncio.get_running_loop().create_future()

    def ask(self):
        self.left -= 1
        self.lane.submit(infer(NUMBERS, one_input(b"[1,4]", b'"data":[1,2,3,4]')), self)

    def answer(self, ids, scores):
        if self.left:
            asyncio.get_running_loop().call_soon(self.ask)
        else:
            self.done.set_result(None)

    def refuse(self, error):
        self.done.set_exception(error)


@pytest.fixture
def batches():
    return Batches()


@pytest.fixture
def lane(tmp_path, batches):
    writer, route = LogWriter(tmp_path / "loan"), msgspec.structs.replace(NUMBERS, url="http://127.0.0.1:1")
    lane = Lane(route, writer, route.limits.within(Settings.from_env({})), batches)
    yield lane
    writer.close()


def hold_scorer(lane):
    """Let no batch be scored until the event that this returns is set."""
    scored = asyncio.Event()

    async def infer(block, _headers):
        await scored.wait()
        return np.zeros(block.n)

    lane.scorer.infer = infer
    return scored


async def test_callers_who_come_back_at_once_make_one_batch_not_two_in_turn(lane, batches):
    scored = hold_scorer(lane)
    callers = [Returning(lane, TURNS) for _ in range(4)]
    for early in callers[:2]:
        early.ask()
    while lane.unanswered_rows < 2 or lane._waiting:
        await asyncio.sleep(0)
    for late in callers[2:]:
        late.ask()
    scored.set()
    await asyncio.wait_for(asyncio.gather(*(caller.done for caller in callers)), 120)
    assert batches[:2] == [2, 4]
    assert sum(batches) == 4 * TURNS
    assert len(batches) == TURNS + 1


async def test_one_caller_alone_is_scored_at_once_each_time(lane, batches):
    hold_scorer(lane).set()
    caller = Returning(lane, TURNS)
    caller.ask()
    await asyncio.wait_for(caller.done, 120)
    assert batches == [1] * TURNS
