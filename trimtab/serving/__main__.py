"""``python -m trimtab.serving``: run the gateway until SIGTERM or Ctrl-C; what is under way is answered first."""

from __future__ import annotations

import argparse
import logging
from urllib.parse import urlsplit

import uvicorn

from trimtab.serving.gateway import Gateway
from trimtab.settings import Settings

_DRAIN_S = 30
_KEEP_ALIVE_S = 75


def main() -> None:
    """Run the gateway under the settings of the environment."""
    settings = Settings.from_env()
    parser = argparse.ArgumentParser(prog="python -m trimtab.serving", description=__doc__)
    parser.add_argument("--host", default=settings.host, help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=urlsplit(settings.gateway_url).port or 80, help="default: %(default)s"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        Gateway(settings),
        host=arguments.host,
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_DRAIN_S,
    )


if __name__ == "__main__":
    main()
