"""What was answered is in the log exactly once: gateway killed, routes switched, disk full."""

import asyncio
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serving.stack import ROW, infer_body, load, scoring, until
from trimtab.errors import ServiceUnavailableError, UnknownPredictionError
from trimtab.predictions import PredictionLog
from trimtab.predictions.gaps import read_gaps
from trimtab.predictions.schema import id_text
from trimtab.serving.batching import Lane
from trimtab.serving.log_writer import LogWriter
from trimtab.serving.metrics import Metrics
from trimtab.serving.protocol import Rows
from trimtab.serving.routes import ModelLimits

START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def logged(stack):
    """What the log holds, by prediction id: (request id, version, score); each id must be there once."""
    columns = ["prediction_id", "request_id", "version", "score"]
    rows = PredictionLog(stack.settings.predictions_dir / "loan").read(START, END, columns).to_pylist()
    found = {row["prediction_id"].hex(): (row["request_id"], row["version"], row["score"]) for row in rows}
    assert len(found) == len(rows), "a prediction is in the log twice"
    return found


def answered(answers):
    """What callers were told, by prediction id, in the same form; all must be 200."""
    assert Counter(answer.status for answer in answers).keys() <= {200}, [a.body for a in answers if a.status != 200][
        :3
    ]
    found = {}
    for answer in answers:
        outputs = {output["name"]: output["data"][0] for output in answer.body["outputs"]}
        told = (answer.request_id, answer.body["model_version"], outputs["score"])
        found[outputs["prediction_id"].replace("-", "")] = told
    assert len(found) == len(answers), "a prediction id was given twice"
    return found


@contextmanager
def sealing(stack):
    """Seal the log over and over, in a thread."""
    log, ended = PredictionLog(stack.settings.predictions_dir / "loan"), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: [log.seal() for _ in iter(lambda: ended.wait(0.05), True)])
        try:
            yield
        finally:
            ended.set()
            future.result()
    log.close()


KILLS = 60


@contextmanager
def nursery(stack):
    """A function that starts a gateway of the stack and gives its process id, and one that waits for its end."""
    environment = {**os.environ, **stack.settings.as_env()}
    with (stack.home / "gateway.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            **{"env": environment, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log, "text": True},
        )
    stack.processes.append(process)

    def start():
        process.stdin.write("start\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    def wait():
        return os.waitstatus_to_exitcode(int(process.stdout.readline()))

    yield start, wait
    process.stdin.close()
    assert process.wait(timeout=120) == 0
    process.stdout.close()


async def load_until_killed(port, pid, after_answers, delay_s):
    """Load a gateway from its first moment on and kill it so long after so many answers."""

    async def listening():
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            except ConnectionError:
                await asyncio.sleep(0.002)

    def kill():
        # Once: the process is waited for before the next one starts, so the id is still its own.
        if not killed:
            killed.append(True)
            os.kill(pid, signal.SIGKILL)

    def stop(answers):
        if len(answers) >= after_answers and not killed:
            loop.call_later(delay_s, kill)
        return False

    killed = []
    loop = asyncio.get_running_loop()
    if after_answers == 0:
        loop.call_later(delay_s, kill)
        with suppress(TimeoutError):
            await asyncio.wait_for(listening(), delay_s + 1)
        if killed:
            return []
    else:
        await asyncio.wait_for(listening(), 120)
    return await load(port, 16, stop, on_lost="end")


def test_what_was_answered_before_a_kill_is_in_the_log_exactly_once(served):
    """Killed at random moments, while it starts or under load, again and again, while the log is being sealed."""
    seed = int(os.environ.get("TRIMTAB_TEST_SEED", time.time_ns() % 2**32))
    print(f"TRIMTAB_TEST_SEED={seed}")
    moments = random.Random(seed)
    served.kill_gateway()
    told = {}
    with nursery(served) as (start, wait), sealing(served):
        for round_ in range(KILLS):
            # Now and then before the first answer: a start that is cut short must harm nothing either.
            starting = round_ % 10 == 9
            after = 0 if starting else moments.randint(1, 120)
            delay_s = moments.uniform(0, 0.05 if starting else 0.004)
            answers = asyncio.run(load_until_killed(served.port, start(), after, delay_s))
            assert wait() == -signal.SIGKILL
            new = answered(answers)
            assert not told.keys() & new.keys()
            told |= new
    served.start_gateway()
    in_log = logged(served)
    print(f"{KILLS} kills, {len(told)} answered, {len(in_log)} logged")
    assert told.items() <= in_log.items()
    # What was logged and not answered was under way when the gateway died: at most a request a connection and round.
    assert len(in_log) - len(told) <= KILLS * 16
    with served.client() as client:
        assert client.ready("loan"), "the routes came back"


def test_no_request_fails_while_routes_switch_and_each_is_logged_once(served):
    """Versions alternate under load; each answer is wholly of the version that it names."""
    urls = {str(version): served.scorer(offset=version * 1e6)[0] for version in (2, 3)}
    done = threading.Event()
    seen, switched = [0], []

    def until_answered(more):
        wanted = seen[0] + more
        until(lambda: seen[0] >= wanted, "requests are answered between switches")

    def stop(answers):
        seen[0] = len(answers)
        return done.is_set()

    def switch():
        until_answered(40)
        with served.client() as client:
            for turn in range(10):
                version = str(2 + turn % 2)
                before = client.switch(served.route(urls[version], version=version))
                # The old route has answered its last when switch returns, so nothing of it is logged later.
                switched.append((before.version, before.release_id))
                until_answered(40)
        done.set()

    thread = threading.Thread(target=switch)
    thread.start()
    answers = asyncio.run(load(served.port, 16, stop))
    thread.join()
    told = answered(answers)
    assert told == logged(served)
    assert [version for version, _ in switched] == ["1", *["2", "3"] * 4, "2"]
    offsets = {"1": 0.0, "2": 2e6, "3": 3e6}
    assert all(score == float(request_id) + offsets[version] for request_id, version, score in told.values())
    assert set(Counter(version for _, version, _ in told.values())) == {"1", "2", "3"}


def test_a_switch_returns_when_the_old_routes_requests_are_answered(stack):
    slow, _ = stack.scorer(delay_s=0.5)
    fast, _ = stack.scorer(offset=5)
    with stack.client() as client, stack.client() as other:
        client.switch(stack.route(slow))
        answers = []
        thread = threading.Thread(target=lambda: answers.append(other.infer("loan", ROW)))
        thread.start()
        until(lambda: scoring(slow), "the request is with the old scorer")
        client.switch(stack.route(fast, version="2"))
        assert len(logged(stack)) == 1, "the old route's request is logged before the switch returns"
        thread.join()
    assert answers[0]["model_version"] == "1"


def test_a_switch_to_a_scorer_that_is_not_there_changes_nothing(served):
    with served.client() as client:
        with pytest.raises(ServiceUnavailableError, match=r"version 2 at http://127\.0\.0\.1:9 does not answer"):
            client.switch(served.route("http://127.0.0.1:9", version="2"))
        assert client.infer("loan", ROW)["model_version"] == "1"
        assert client.routes()["loan"].version == "1"


def test_on_sigterm_what_is_under_way_is_answered(stack):
    url, _ = stack.scorer(delay_s=0.7)
    with stack.client() as client:
        client.switch(stack.route(url))
        answers = []
        thread = threading.Thread(target=lambda: answers.append(client.infer("loan", ROW)))
        thread.start()
        until(lambda: scoring(url), "the request is with the scorer")
        stack.kill_gateway(signal.SIGTERM)
        thread.join()
    assert answers[0]["score"] == [1.5]
    assert len(logged(stack)) == 1


def test_a_log_that_cannot_grow_fails_closed_and_recovers(make_stack):
    """With a limit on the size of files (as a full disk) nothing is answered that is not logged."""
    stack = make_stack()
    stack.start_gateway()
    url, _ = stack.scorer()
    with stack.client() as client:
        client.switch(stack.route(url))
        told = [client.infer("loan", ROW)["prediction_id"][0] for _ in range(3)]
        unlimited = resource.prlimit(stack.gateway.pid, resource.RLIMIT_FSIZE)
        # The kernel kills a process that passes the limit unless it ignores the signal; Python ignores it.
        resource.prlimit(stack.gateway.pid, resource.RLIMIT_FSIZE, (1, unlimited[1]))
        with pytest.raises(ServiceUnavailableError, match=r"not logged and is therefore not given: .*spool\.sqlite"):
            client.infer("loan", ROW)
        resource.prlimit(stack.gateway.pid, resource.RLIMIT_FSIZE, unlimited)
        told.append(client.infer("loan", ROW)["prediction_id"][0])
    assert sorted(logged(stack)) == sorted(key.replace("-", "") for key in told)


def test_overload_is_told_to_come_again_and_takes_no_memory(make_stack):
    """Far more than a slow scorer takes: what is beyond the queue is refused at once, and nothing heaps up."""
    stack = make_stack(TRIMTAB_MAX_QUEUE_ROWS="64")
    stack.start_gateway()
    url, _ = stack.scorer(delay_s=0.2)
    with stack.client() as client:
        client.switch(stack.route(url))
        client.infer("loan", ROW)
    process = psutil.Process(stack.gateway.pid)
    before = process.memory_info().rss
    body = infer_body({name: values * 16 for name, values in ROW.items()}, request_id="x" * 200)
    head = b"POST /v2/models/loan/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)

    async def one(answers):
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        for _ in range(25):
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            answers.append((int(answer[9:12]), b"retry-after: 1" in answer.lower()))
        writer.close()

    async def flood():
        answers = []
        await asyncio.gather(*(one(answers) for _ in range(100)))
        return Counter(answers)

    answers = asyncio.run(flood())
    assert set(answers) == {(200, False), (429, True)}
    assert answers.total() == 2500
    assert answers[429, True] > answers[200, False], "most came while the queue was full"
    # 2,500 requests of 16 rows are 3 MB as they came; what Python and Arrow keep for the first ones is in there too.
    assert process.memory_info().rss - before < 48e6
    assert len(logged(stack)) == 1 + 16 * answers[200, False]


def test_a_model_may_choose_to_answer_without_its_log_and_the_gap_is_counted(served):
    """Under ``log_policy=available`` a log that cannot be written refuses nobody; what it lost is on record later."""
    folder = served.settings.predictions_dir / "loan"
    with served.client() as client:
        route = client.routes()["loan"]
        client.switch(served.route(route.url, version="2", log_policy="available"))
        told = [client.infer("loan", ROW)["prediction_id"][0]]
        unlimited = resource.prlimit(served.gateway.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(served.gateway.pid, resource.RLIMIT_FSIZE, (1, unlimited[1]))
        lost = [client.infer("loan", ROW)["prediction_id"][0] for _ in range(3)]
        assert read_gaps(folder) == [], "the disk takes the record of the gap no more than the log"
        resource.prlimit(served.gateway.pid, resource.RLIMIT_FSIZE, unlimited)
        told.append(client.infer("loan", ROW)["prediction_id"][0])
        (gap,) = read_gaps(folder)
        assert (gap.rows, gap.version, gap.release_id) == (3, "2", "release-2")
        assert (gap.first_id, gap.last_id) == (lost[0], lost[-1])
        assert "spool.sqlite" in gap.reason
        metrics = httpx.get(f"{served.url}/metrics").text
        assert re.search(r'^trimtab_\w*unlogged\w*\{model="loan"\} 3(\.0)?$', metrics, re.MULTILINE), metrics
        for key in lost:
            with pytest.raises(UnknownPredictionError, match="3 predictions were answered and not logged between"):
                client.prediction(key)
    assert sorted(logged(served)) == sorted(key.replace("-", "") for key in told)


def test_a_log_removed_under_the_gateway_is_answered_with_503_until_it_is_back(served, tmp_path):
    folder = served.settings.predictions_dir / "loan"
    with served.client() as client:
        told = client.infer("loan", ROW)["prediction_id"]
        for path in folder.glob("spool.sqlite*"):
            path.rename(tmp_path / path.name)
        for _ in range(2):
            with pytest.raises(ServiceUnavailableError, match=r"spool\.sqlite .*was removed or replaced while in use"):
                client.infer("loan", ROW)
        for path in tmp_path.glob("spool.sqlite*"):
            path.rename(folder / path.name)
        told += client.infer("loan", ROW)["prediction_id"]
    assert sorted(logged(served)) == sorted(key.replace("-", "") for key in told)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_fails_closed_and_recovers(make_stack, tmp_path):
    """On a disk of 4 MB, requests are answered and logged until it is full, refused then, answered again after."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no mount allowed here: {mounted.stderr.decode()}")
    stack = make_stack()
    try:
        (stack.home / "predictions").symlink_to(disk)
        stack.start_gateway()
        url, _ = stack.scorer()
        with stack.client() as client:
            client.switch(stack.route(url))
            (disk / "ballast").write_bytes(b"x" * 2_000_000)
            rows = {name: values * 200 for name, values in ROW.items()}
            told, refusal = [], None
            for _ in range(200):
                try:
                    told.extend(client.infer("loan", rows)["prediction_id"])
                except ServiceUnavailableError as error:
                    refusal = str(error)
                    break
            assert refusal is not None
            assert "not logged" in refusal
            assert "full" in refusal or "disk" in refusal
            assert sorted(logged(stack)) == sorted(key.replace("-", "") for key in told)
            full = threading.Event()

            def stop(answers):
                """Callers go on while the disk is full; when ten were refused there is room again, for fifty more."""
                refused = [i for i, answer in enumerate(answers) if answer.status != 200]
                if len(refused) >= 10 and not full.is_set():
                    full.set()
                    (disk / "ballast").unlink()
                return full.is_set() and len(answers) > refused[-1] + 50

            answers = asyncio.run(load(stack.port, 8, stop))
        assert {answer.status for answer in answers} == {200, 503}
        assert all("not logged" in answer.body["error"] for answer in answers if answer.status == 503)
        told += answered([answer for answer in answers if answer.status == 200])
        assert sorted(logged(stack)) == sorted(key.replace("-", "") for key in told)
    finally:
        stack.stop()
        subprocess.run(["umount", str(disk)], check=True)


def test_a_request_that_cannot_be_logged_does_not_fail_its_neighbours(stack):
    """Rows that no check let through make Arrow refuse the batch; those beside them are answered and logged."""
    url, _ = stack.scorer()
    folder = stack.settings.predictions_dir / "loan"

    class Caller:
        received_at = 0.0

        def __init__(self):
            self.told = asyncio.get_running_loop().create_future()

        def answer(self, ids, scores):
            self.told.set_result((ids.decode(), scores.tolist()))

        def refuse(self, error):
            self.told.set_exception(error)

    async def answers():
        writer = LogWriter(folder)
        lane = Lane(stack.route(url), writer, ModelLimits(100, 1000, 10_000), observer=Metrics(lambda _: "1"))
        columns = [[[x], [30], ["a"], [True]] for x in (1.0, 2.0, 3.0, 4.0)]
        # A lone surrogate is no text that Arrow takes, a text is no number.
        asked = [Rows(given, 1, [10**15]) for given in columns]
        asked[1].request_id = "\ud800"
        asked[2].columns[0] = ["three"]
        callers = [Caller() for _ in asked]
        try:
            for rows, caller in zip(asked, callers, strict=True):
                lane.submit(rows, caller)
            return await asyncio.gather(*(caller.told for caller in callers), return_exceptions=True)
        finally:
            await asyncio.wait_for(lane.drain(), 120)
            lane.close()
            writer.close()

    one, *bad, two = asyncio.run(answers())
    assert all(isinstance(error, ValueError) for error in bad)
    assert (one[1], two[1]) == ([1.0], [4.0])
    rows = PredictionLog(folder).read(datetime(2001, 1, 1, tzinfo=UTC), END, ["prediction_id", "score"]).to_pylist()
    assert {id_text(row["prediction_id"]): row["score"] for row in rows} == {one[0]: 1.0, two[0]: 4.0}


def test_a_caller_that_hangs_up_harms_nobody(served):
    """A connection that ends inside its request, or before its answer, leaves the gateway well."""
    body = infer_body()
    for part in (body[:20], body):
        with socket.create_connection(("127.0.0.1", served.port)) as caller:
            head = b"POST /v2/models/loan/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
            caller.sendall(head + part)
    until(lambda: len(logged(served)) == 1, "the whole request is logged")
    assert httpx.post(f"{served.url}/v2/models/loan/infer", content=body).status_code == 200
    assert "Traceback" not in (served.home / "gateway.log").read_text()
