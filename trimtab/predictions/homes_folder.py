"""Segments in a folder, by default the one beside the spool."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from trimtab.errors import PredictionLogError


@dataclass(frozen=True, slots=True)
class FolderHome:
    """Files in a folder, made by the first that is put there; see :class:`trimtab.predictions.homes.SegmentHome`."""

    folder: Path

    @property
    def stored_as(self) -> str:
        """Beside the spool: the log's folder may move."""
        return ""

    @property
    def is_remote(self) -> bool:
        return False

    def uri(self, name: str) -> str:
        return self.path(name).absolute().as_uri()

    def path(self, name: str) -> Path:
        """Where the file is."""
        return self.folder / name

    def put(self, name: str, source: Path, digest: str) -> None:
        with self._translated(name):
            if self.path(name).exists():
                if (found := self.digest(name)) != digest:
                    raise PredictionLogError(
                        f"{self.path(name)} holds other content (digest {found}) than what is to be kept there "
                        f"({digest}); nothing was replaced: put it back from a copy, or move it away"
                    )
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob("*.part"):
                left.unlink()
            sync(source)
            try:
                source.replace(self.path(name))
            except OSError as error:
                # The folder may be a link to another disk.
                if error.errno != errno.EXDEV:
                    raise
                aside = self.path(f"{name}.part")
                shutil.copyfile(source, aside)
                sync(aside)
                aside.replace(self.path(name))
            sync(self.folder)

    def has(self, name: str) -> bool:
        with self._translated(name):
            return self.path(name).exists()

    def open(self, name: str, size_bytes: int | None = None) -> pa.NativeFile:
        with self._translated(name):
            # Not mapped into memory: a file that is cut off under a map kills the process that reads it.
            return pa.OSFile(str(self.path(name)), "rb")

    def digest(self, name: str) -> str:
        with self._translated(name):
            return file_digest(self.path(name))

    def names(self) -> list[str]:
        with self._translated(""):
            return sorted(path.name for path in self.folder.glob("*.parquet"))

    def delete(self, name: str) -> None:
        with self._translated(name):
            self.path(name).unlink(missing_ok=True)
            if self.folder.exists():
                sync(self.folder)

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise PredictionLogError(
                f"segment {self.path(name)} is gone; put it back from a copy: its digest is in the ledger"
            ) from error
        except OSError as error:
            raise PredictionLogError(f"segment {self.path(name)} cannot be used: {error}") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
