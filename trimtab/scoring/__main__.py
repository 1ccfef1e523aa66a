"""``python -m trimtab.scoring``: serve one artifact until SIGTERM."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
from pathlib import Path

# Before numpy is imported: a second thread costs latency under load and wins nothing on single rows.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

SHUTDOWN_TIMEOUT_S = 10


def main(arguments: list[str] | None = None) -> int:
    """Load the artifact, listen, say so in the ready file, and serve.

    Returns
    -------
    int
        1 if the artifact cannot be loaded or the address is taken (said on stderr), else 0 after SIGTERM or SIGINT.
    """
    options = _parse(arguments)
    from trimtab.scoring.model import Artifact, ArtifactError

    try:
        artifact = Artifact.load(options.artifact, options.expected_digest)
        listener = _listen(options.host, options.port)
    except (ArtifactError, OSError) as error:
        sys.stderr.write(f"the scorer does not start: {error}\n")
        return 1
    host, port = listener.getsockname()[:2]
    ready = {"pid": os.getpid(), "url": f"http://{host}:{port}", "model": artifact.manifest.model}
    _serve(artifact, options.version, listener, options.ready_file, json.dumps({**ready, "version": options.version}))
    return 0


def _serve(artifact: object, version: str, listener: socket.socket, ready_file: Path | None, statement: str) -> None:
    import uvicorn

    from trimtab.scoring.app import ScorerApp

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if ready_file is not None:
                whole = ready_file.with_suffix(".tmp")
                whole.write_text(statement)
                whole.replace(ready_file)

    config = uvicorn.Config(
        ScorerApp(artifact, version),  # type: ignore[arg-type]
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )
    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.setblocking(False)
    return listener


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trimtab.scoring", description="Serve one artifact (V2).")
    parser.add_argument("--artifact", type=Path, required=True, help="folder of the artifact")
    parser.add_argument("--version", default="", help="model version that answers name")
    parser.add_argument("--expected-digest", help="refuse an artifact with another digest")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0: any free port")
    parser.add_argument("--ready-file", type=Path, help="JSON file that is written once the scorer listens")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
