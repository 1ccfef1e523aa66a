"""S3 servers for tests: moto's, as a process of its own, and whatever ``TRIMTAB_TEST_S3_URL`` names."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import boto3
import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
"""What moto takes, as it takes any; boto3 wants to have some."""


@contextmanager
def moto_server(folder: Path) -> Iterator[str]:
    """A moto server on a free port, ended at the end; yields its address."""
    log = folder / "moto.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-u", "-m", "moto.server", "-p", "0"], stdout=output, stderr=output, cwd=folder
        )
    try:
        yield _address(server, log)
    finally:
        server.kill()
        server.wait()


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    waited = threading.Event()
    while not (found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text())):
        assert server.poll() is None, log.read_text()
        waited.wait(0.05)
    return found[1]


def real_server() -> str:
    """The address of the S3 server that the tester names; its credentials stand where boto3 looks for them."""
    if not (url := os.environ.get("TRIMTAB_TEST_S3_URL", "")):
        pytest.skip("TRIMTAB_TEST_S3_URL names no S3 server (infra/radosgw.sh starts Ceph's)")
    return url


@contextmanager
def credentials(kind: str) -> Iterator[None]:
    """What boto3 needs for a server of that kind (``moto`` or ``real``)."""
    with pytest.MonkeyPatch.context() as patch:
        if kind == "moto":
            for name, value in KEYS.items():
                patch.setenv(name, value)
        yield


@contextmanager
def new_bucket(endpoint_url: str, versioned: bool = False) -> Iterator[str]:
    """The ``s3://`` address of a bucket of a test's own, emptied and removed afterwards."""
    client = boto3.client("s3", endpoint_url=endpoint_url)
    name = f"trimtab-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    if versioned:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    try:
        yield f"s3://{name}"
    finally:
        bucket = boto3.resource("s3", endpoint_url=endpoint_url).Bucket(name)
        bucket.object_versions.delete()
        bucket.delete()


class Wire:
    """A relay in front of a server that can break connections: ``ask`` or ``answer`` is cut after so many bytes.

    Attributes
    ----------
    url : str
        Its address.
    cut_ask_after, cut_answer_after : int or None
        Bytes of each connection that pass before it breaks; None: all.
    answered_bytes : int
        What came from the server so far.
    """

    def __init__(self, endpoint_url: str) -> None:
        host, port = endpoint_url.removeprefix("http://").split(":")
        self._to = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut_ask_after: int | None = None
        self.cut_answer_after: int | None = None
        self.answered_bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                server = socket.create_connection(self._to)
                for pair, asks in (((caller, server), True), ((server, caller), False)):
                    threading.Thread(target=self._pass, args=(*pair, asks), daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket, asks: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(65536):
                limit = self.cut_ask_after if asks else self.cut_answer_after
                if limit is not None and passed + len(data) > limit:
                    to.sendall(data[: limit - passed])
                    break
                to.sendall(data)
                passed += len(data)
                self.answered_bytes += 0 if asks else len(data)
        for end in (source, to):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
