"""``python -m trimtab.serving``: run the gateway until SIGTERM or Ctrl-C; what is under way is answered first."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import resource
import socket
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import uvloop

from trimtab.errors import TrimtabError
from trimtab.predictions.arrow import leave_out_pandas
from trimtab.serving import logs
from trimtab.serving.access import refuse_to_be_open
from trimtab.serving.files import only_gateway_of
from trimtab.serving.gateway import Gateway
from trimtab.serving.health import small_blocks
from trimtab.serving.sealing import Sealing
from trimtab.serving.tls import tls_context
from trimtab.settings import Settings
from trimtab.wire.heap import keep_freed_memory
from trimtab.wire.http import Limits, Server, listen, stop_signal

_DRAIN_S = 30.0
_OTHER_FILES = 256
_logger = logging.getLogger("trimtab.serving")


def main() -> int:
    """Run the gateway under the settings of the environment.

    Returns
    -------
    int
        1 if it cannot start (said in the log), else 0 once it has stopped.
    """
    leave_out_pandas()
    keep_freed_memory()
    settings = Settings.from_env()
    parser = argparse.ArgumentParser(prog="python -m trimtab.serving", description=__doc__)
    parser.add_argument("--host", default=settings.host, help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=urlsplit(settings.gateway_url).port or 80, help="default: %(default)s"
    )
    arguments = parser.parse_args()
    logs.configure(settings)
    try:
        gateway = Gateway(settings)
        refuse_to_be_open(gateway.access, settings, arguments.host)
        with only_gateway_of(settings.home) as say_stopping:
            listener = listen(arguments.host, arguments.port)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(settings, gateway, listener, say_stopping))
    except (TrimtabError, OSError) as error:
        _logger.error("the gateway does not start: %s", error)
        return 1
    return 0


async def _serve(
    settings: Settings, gateway: Gateway, listener: socket.socket, say_stopping: Callable[[], None]
) -> None:
    tls = tls_context(settings)
    gateway.start()
    server = Server(gateway, Limits(body_bytes=settings.max_body_bytes, connections=_connections()))
    gateway.watch(server)
    sealing = Sealing(settings, gateway.models)
    await server.start(listener, tls)
    sealing.start()
    # What is there now stays: to look through all of it now and then would hold up who is being answered.
    gc.freeze()
    host, port = listener.getsockname()[:2]
    _logger.info("listening on %s port %d, %s; models: %s", host, port, "TLS" if tls else "plain", gateway.models())
    if reason := small_blocks(settings.home):
        _logger.warning(reason)
    signal = await stop_signal()
    _logger.info("%s: stopping", signal.name)
    say_stopping()
    gateway.drain()
    server.draining = True
    # Whoever shares out the traffic learns that this gateway is not ready before it takes no more.
    await sealing.stop()
    await asyncio.sleep(settings.drain_delay_s)
    await server.stop(_DRAIN_S)
    await gateway.stop()
    _logger.info("stopped")


def _connections() -> int:
    """How many connections to take, so that logs, scorers and readers find files to open; the limit is raised first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    most = Limits().connections
    return most if soft == resource.RLIM_INFINITY else min(most, max(soft - _OTHER_FILES, soft // 2))


if __name__ == "__main__":
    sys.exit(main())
