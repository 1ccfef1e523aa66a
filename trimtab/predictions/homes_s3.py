"""Segments in S3, or in any server that speaks it (Ceph's radosgw, MinIO).

Credentials, region and proxies are boto3's own affair (environment, profile, role): trimtab takes and keeps none.
Checksums go as Content-MD5, which every server checks; the SHA-256 stands in the object's metadata.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pyarrow as pa
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from trimtab.errors import PredictionLogError
from trimtab.predictions.homes_folder import file_digest

_ABSENT = ("404", "NoSuchKey", "NotFound")
_CHUNK_BYTES = 1024 * 1024
_LONE_READS = 3
_BLOCK_BYTES = 4 * 1024 * 1024
_BLOCKS_KEPT = 16


@dataclass(frozen=True, slots=True)
class S3Home:
    """Objects under one prefix of a bucket; see :class:`trimtab.predictions.homes.SegmentHome`.

    Parameters
    ----------
    url : str
        ``s3://bucket/prefix``; the bucket must exist.
    endpoint_url : str
        Address of the server; empty: Amazon's, or what boto3's own variables say.
    """

    url: str
    endpoint_url: str = ""

    @property
    def stored_as(self) -> str:
        """The bucket and the prefix; the server's address may change."""
        return self.url

    @property
    def is_remote(self) -> bool:
        return True

    def uri(self, name: str) -> str:
        return f"{self.url}/{name}"

    def put(self, name: str, source: Path, digest: str) -> None:
        with self._translated(name):
            if (found := self._head(name)) is not None:
                if (stated := found["Metadata"].get("sha256", "unstated")) == digest:
                    return
                raise PredictionLogError(
                    f"{self.uri(name)} holds other content (digest {stated}) than what is to be kept there ({digest}); "
                    "nothing was replaced: put it back from a copy, or move it away"
                )
            if file_digest(source) != digest:
                raise PredictionLogError(f"{source} changed before it could be put to {self.uri(name)}")
            with source.open("rb") as body:
                # In one request: a put that is cut short leaves nothing.
                self._client.put_object(
                    **self._at(name),
                    Body=body,
                    ContentMD5=_md5(source),
                    ContentType="application/vnd.apache.parquet",
                    Metadata={"sha256": digest},
                )
            found = self._head(name)
            if found is None or found["Metadata"].get("sha256") != digest:
                raise PredictionLogError(f"{self.uri(name)} was put and acknowledged, but is not there; put it again")

    def has(self, name: str) -> bool:
        with self._translated(name):
            return self._head(name) is not None

    def open(self, name: str, size_bytes: int | None = None) -> pa.NativeFile:
        if size_bytes is None:
            with self._translated(name):
                size_bytes = int(self._client.head_object(**self._at(name))["ContentLength"])
        return pa.PythonFile(_Ranges(self, name, size_bytes), mode="r")

    def digest(self, name: str) -> str:
        digest = hashlib.sha256()
        with self._translated(name):
            for chunk in self._client.get_object(**self._at(name))["Body"].iter_chunks(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def names(self) -> list[str]:
        bucket, prefix = self._place
        with self._translated(""):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=f"{prefix}/", Delimiter="/"
            )
            found = [entry["Key"].removeprefix(f"{prefix}/") for page in pages for entry in page.get("Contents", ())]
        return sorted(name for name in found if name.endswith(".parquet"))

    def delete(self, name: str) -> None:
        with self._translated(name):
            at = self._at(name)
            pages = self._client.get_paginator("list_object_versions").paginate(Bucket=at["Bucket"], Prefix=at["Key"])
            # In a versioned bucket a plain delete only hides what retention says must go.
            for page in pages:
                for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                    if version["Key"] == at["Key"]:
                        self._client.delete_object(**at, VersionId=version["VersionId"])

    def read(self, name: str, start: int, size_bytes: int) -> bytes:
        """Bytes [start, start + size_bytes) of a file, in one request."""
        with self._translated(name):
            asked = f"bytes={start}-{start + size_bytes - 1}"
            found: bytes = self._client.get_object(**self._at(name), Range=asked)["Body"].read()
        if len(found) != size_bytes:
            raise PredictionLogError(
                f"segment {self.uri(name)} gave {len(found)} of {size_bytes} bytes; put it back from a copy"
            )
        return found

    def _head(self, name: str) -> Any:
        try:
            return self._client.head_object(**self._at(name))
        except ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                return None
            raise

    @property
    def _place(self) -> tuple[str, str]:
        parts = urlsplit(self.url)
        return parts.netloc, parts.path.strip("/")

    def _at(self, name: str) -> dict[str, str]:
        bucket, prefix = self._place
        return {"Bucket": bucket, "Key": f"{prefix}/{name}"}

    @property
    def _client(self) -> Any:
        return _client(self.endpoint_url, os.getpid())

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _ABSENT:
                raise PredictionLogError(
                    f"segment {self.uri(name)} is gone; put it back from a copy: its digest is in the ledger"
                ) from error
            raise PredictionLogError(f"segment {self.uri(name)} cannot be used: {error}") from error
        except (BotoCoreError, OSError) as error:
            raise PredictionLogError(f"segment {self.uri(name)} cannot be used: {error}") from error


class _Ranges(io.RawIOBase):
    """An object as a file that Arrow reads at random.

    The first few reads are requests for just these bytes: a look-up needs no more. Who reads on is scanning, and gets
    blocks, which serve the reads that follow in whatever order they come: a request takes as long as a megabyte.
    """

    def __init__(self, home: S3Home, name: str, size_bytes: int) -> None:
        super().__init__()
        self._home, self._name, self._size_bytes = home, name, size_bytes
        self._position = self._requests = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(self._size_bytes - self._position, 0)
        wanted = left if size < 0 else min(size, left)
        found = self._bytes(self._position, wanted) if wanted else b""
        self._position += len(found)
        return found

    def _bytes(self, start: int, wanted: int) -> bytes:
        first, last = start // _BLOCK_BYTES, (start + wanted - 1) // _BLOCK_BYTES
        if self._requests < _LONE_READS or wanted > _BLOCK_BYTES:
            self._requests += 1
            return self._home.read(self._name, start, wanted)
        found = b"".join(self._block(number) for number in range(first, last + 1))
        return found[start - first * _BLOCK_BYTES :][:wanted]

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            start = number * _BLOCK_BYTES
            length = min(_BLOCK_BYTES, self._size_bytes - start)
            self._blocks[number] = self._home.read(self._name, start, length)
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]


@functools.lru_cache(maxsize=8)
def _client(endpoint_url: str, process_id: int) -> Any:
    """One client an endpoint and process, for all threads: connections are kept, and do not survive a fork."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url or None,
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"mode": "standard", "max_attempts": 3},
            max_pool_connections=32,
            # What newer clients add by themselves, servers other than Amazon's do not all understand.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if endpoint_url else {},
        ),
    )


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode()
