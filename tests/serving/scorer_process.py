"""A real V2 scorer, as small as can be: its score is the row's ``income`` plus an offset.

So a test sees whose answer is whose. Prints its port. ``--delay-s`` makes each call slow; income -666 is refused with
400, income -999 scores null.
"""

import argparse
import asyncio
import socket

import msgspec
import uvicorn


class Scorer:
    def __init__(self, offset: float, delay_s: float) -> None:
        self.offset, self.delay_s, self.calls = offset, delay_s, 0

    async def __call__(self, scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        status, answer = await self.answer(scope["path"], body)
        content = msgspec.json.encode(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def answer(self, path, body):
        if not path.endswith("/infer"):
            return 200, {"platform": "test", "artifact_digest": f"digest-{self.offset:g}", "calls": self.calls}
        inputs = {tensor["name"]: tensor["data"] for tensor in msgspec.json.decode(body)["inputs"]}
        self.calls += 1
        await asyncio.sleep(self.delay_s)
        if -666 in inputs["income"]:
            return 400, {"error": "income -666 is not taken"}
        scores = [None if x == -999 else (x or 0.0) + self.offset for x in inputs["income"]]
        outputs = [{"name": "score", "datatype": "FP64", "shape": [len(scores)], "data": scores}]
        return 200, {"model_name": "m", "model_version": "1", "outputs": outputs}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--offset", type=float, default=0.0)
    parser.add_argument("--delay-s", type=float, default=0.0)
    arguments = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    app = Scorer(arguments.offset, arguments.delay_s)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="error")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
