"""``python3 -m trimtab.scoring.health PORT``: is the scorer on that port of this machine ready? Exit code 0 if so.

The health check of model images: it imports next to nothing, for it runs every few seconds beside the scorer.
"""

from __future__ import annotations

import socket
import sys

TIMEOUT_S = 3.0
_REQUEST = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def why_not_ready(port: int) -> str:
    """What is wrong with the scorer on that port; empty if it is ready."""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
            connection.sendall(_REQUEST)
            status, _, _ = connection.recv(256).partition(b"\r\n")
    except OSError as error:
        return f"no answer on port {port}: {error}"
    return "" if status.split(b" ")[1:2] == [b"200"] else f"not ready: {status.decode(errors='replace')}"


def main(arguments: list[str]) -> int:
    """Say on stderr what is wrong, if anything is; returns the exit code."""
    reason = why_not_ready(int(arguments[0]))
    if reason:
        sys.stderr.write(f"{reason}\n")
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
