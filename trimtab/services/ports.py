"""On which ports of this machine the services of a stack listen: free ones, kept for them while the stack is up."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

from trimtab.services.prefect_api import is_local
from trimtab.settings import Settings

_TITLES = {"prefect_url": "Prefect", "mlflow_url": "MLflow", "gateway_url": "the gateway", "reports_url": "the reports"}
"""Who listens, by the setting that says where."""


def settle_ports(settings: Settings, say: Callable[[str], None]) -> Settings:
    """Settings whose addresses on this machine are all free: a taken port, or port 0, is replaced, and that is said."""
    urls: dict[str, str] = {}
    taken: set[int] = set()
    for name, title in _TITLES.items():
        url = str(getattr(settings, name)).rstrip("/")
        if is_local(url):
            parts = urlsplit(url)
            host, wanted = parts.hostname or settings.host, parts.port or 0
            port = wanted if wanted not in taken and _is_free(host, wanted) else _free_port(host, taken)
            if wanted not in (0, port):
                say(f"port {wanted} is taken: {title} listens on {port} instead")
            taken.add(port)
            url = f"{parts.scheme}://{host}:{port}"
        urls[name] = url
    return dataclasses.replace(settings, **urls)  # type: ignore[arg-type]


def hold_ports(settings: Settings) -> list[socket.socket]:
    """Bound sockets that keep this machine's addresses for the stack until they are closed.

    A free port is soon somebody else's: the system hands it to whoever asks for any. One that is bound it does not;
    the service, which allows the address to be used again as every server does, listens on it all the same. Only Linux
    allows both: elsewhere nothing is held.
    """
    held: list[socket.socket] = []
    for url in (str(getattr(settings, name)) for name in _TITLES):
        if sys.platform == "linux" and is_local(url):
            host, port = str(urlsplit(url).hostname), urlsplit(url).port or 0
            keeper = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.append(keeper)
            # Taken this very moment: the service will say so.
            with contextlib.suppress(OSError):
                keeper.bind((host, port))
    return held


def _is_free(host: str, port: int) -> bool:
    if port == 0:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _free_port(host: str, taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
