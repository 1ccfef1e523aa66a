"""Debian's docker-registry on a free port of this machine, for tests that push and pull."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

_PROGRAM = "docker-registry"
_ATTEMPTS, _START_TIMEOUT_S = 5, 60


@contextmanager
def docker_registry(folder: Path) -> Iterator[str]:
    """Run a registry that keeps its images under that folder; yields its host and port, skips where there is none.

    Engines take a registry on the loopback interface without TLS.
    """
    if shutil.which(_PROGRAM) is None:
        pytest.skip("there is no registry to push to: Debian's package docker-registry is not installed")
    for _ in range(_ATTEMPTS):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            host = f"127.0.0.1:{probe.getsockname()[1]}"
        config = folder / "config.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{host}'}}\n"
            f"storage: {{filesystem: {{rootdirectory: '{folder}/data'}}, delete: {{enabled: true}}}}\n"
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([_PROGRAM, "serve", str(config)], stdout=log, stderr=log)
        try:
            if _answers(process, host):
                yield host
                return
        finally:
            process.terminate()
            process.wait()
    raise AssertionError(f"{_PROGRAM} does not start: {(folder / 'log').read_text()[-2000:]}")


def _answers(process: subprocess.Popen[bytes], host: str) -> bool:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"http://{host}/v2/", trust_env=False).is_success:
                return True
        except httpx.TransportError:
            time.sleep(0.05)
    return False
