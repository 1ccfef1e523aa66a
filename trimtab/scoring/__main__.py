"""``python -m trimtab.scoring``: serve one artifact until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from trimtab.wire.heap import keep_freed_memory
from trimtab.wire.http import Limits, Server, listen, stop_signal

if TYPE_CHECKING:
    from trimtab.scoring.model import Artifact

# Before numpy is imported: a second thread costs latency under load and wins nothing on single rows.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

SHUTDOWN_TIMEOUT_S = 10
# The gateway keeps its connection for as long as it has the route.
_LIMITS = Limits(idle_s=3600.0)


def main(arguments: list[str] | None = None) -> int:
    """Load the artifact, listen, say so in the ready file, and serve.

    Returns
    -------
    int
        1 if the artifact cannot be loaded or the address is taken (said on stderr), else 0 after SIGTERM or SIGINT.
    """
    options = _parse(arguments)
    keep_freed_memory()
    from trimtab.scoring.large_batches import serve_large_batches
    from trimtab.scoring.model import Artifact, ArtifactError

    try:
        artifact = serve_large_batches(Artifact.load(options.artifact, options.expected_digest))
        listener = listen(options.host, options.port)
    except (ArtifactError, OSError) as error:
        sys.stderr.write(f"the scorer does not start: {error}\n")
        return 1
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(artifact, options.version, listener, options.ready_file))
    return 0


async def _serve(artifact: Artifact, version: str, listener: socket.socket, ready_file: Path | None) -> None:
    from trimtab.scoring.app import ScorerApp

    server = Server(ScorerApp(artifact, version), _LIMITS)
    await server.start(listener)
    # What is there now stays: to look through all of it now and then would hold up who is being answered.
    gc.freeze()
    if ready_file is not None:
        host, port = listener.getsockname()[:2]
        statement = {
            **{"pid": os.getpid(), "url": f"http://{host}:{port}"},
            **{"model": artifact.manifest.model, "version": version},
        }
        whole = ready_file.with_suffix(".tmp")
        whole.write_text(json.dumps(statement))
        whole.replace(ready_file)
    await stop_signal()
    await server.stop(SHUTDOWN_TIMEOUT_S)


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
