"""A real V2 scorer, as small as can be: its score is the row's ``income`` plus an offset.

So a test sees whose answer is whose. Prints its port. ``--delay-s`` makes each call slow, ``--held-by`` lets none be
answered while a file is there; income -666 is refused with 400, income -999 scores null.
"""

import argparse
import asyncio
from pathlib import Path

import msgspec
import uvloop

from trimtab.wire.http import Server, listen


class Scorer:
    def __init__(self, offset: float, delay_s: float, digest: str, held_by: Path | None) -> None:
        self.offset, self.delay_s, self.digest, self.held_by, self.calls = offset, delay_s, digest, held_by, 0
        self.tasks = set()
        self.trace = ""

    def __call__(self, request, exchange):
        if request.head.path.endswith("/infer"):
            self.trace = b"|".join(request.head.all(b"traceparent") + request.head.all(b"tracestate")).decode()

        async def work():
            status, answer = await self.answer(request.head.path, request.body)
            exchange.answer(status, msgspec.json.encode(answer))

        task = asyncio.get_running_loop().create_task(work())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def answer(self, path, body):
        if not path.endswith("/infer"):
            return 200, {"platform": "test", "artifact_digest": self.digest, "calls": self.calls, "trace": self.trace}
        inputs = {tensor["name"]: tensor["data"] for tensor in msgspec.json.decode(body)["inputs"]}
        self.calls += 1
        await asyncio.sleep(self.delay_s)
        while self.held_by is not None and self.held_by.exists():
            await asyncio.sleep(0.01)
        if -666 in inputs["income"]:
            return 400, {"error": "income -666 is not taken"}
        scores = [None if x == -999 else (x or 0.0) + self.offset for x in inputs["income"]]
        outputs = [{"name": "score", "datatype": "FP64", "shape": [len(scores)], "data": scores}]
        return 200, {"model_name": "m", "model_version": "1", "outputs": outputs}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--offset", type=float, default=0.0)
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--digest", default="digest", help="of the artifact that it says it serves")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--held-by", type=Path)
    arguments = parser.parse_args()
    listener = listen("127.0.0.1", arguments.port)
    print(listener.getsockname()[1], flush=True)

    async def serve():
        scorer = Scorer(arguments.offset, arguments.delay_s, arguments.digest, arguments.held_by)
        await Server(scorer).start(listener)
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
