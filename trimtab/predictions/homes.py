"""Where sealed segments live: the port, and the one place where its implementation is chosen.

``homes_folder.py`` keeps them beside the spool, ``homes_s3.py`` in S3. A segment's row in the spool says where it is:
the settings decide only where the next one goes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pyarrow as pa

from trimtab.predictions.homes_folder import FolderHome
from trimtab.settings import Settings

BESIDE_THE_SPOOL = ""
"""What a segment's row says of a home that is the folder ``segments`` beside the spool."""


class SegmentHome(Protocol):
    """Keeps files that are written once and never changed. Safe for threads and for many processes; blocks.

    Contract (``tests/contracts/test_segment_homes.py``), the same for each home:

    - A name holds what was first put there until it is deleted. Nothing is overwritten; that no two different segments
      ever ask for one name follows from the names (ids and digest), that a segment counts only once follows from its
      row in the spool. So no home needs conditional writes.
    - Every failure is a ``PredictionLogError`` that names the file's address; whoever repeats the call loses nothing.
    """

    @property
    def stored_as(self) -> str:
        """What a segment's row in the spool says of this home: :func:`home_at` makes it again from that."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether each read is a request over a network: readers then fetch a few long ranges rather than many."""
        ...

    def uri(self, name: str) -> str:
        """The file's address, as records state it."""
        ...

    def put(self, name: str, source: Path, digest: str) -> None:
        """Keep the file at ``source`` under a name: when this returns, it survives a loss of power.

        Idempotent: where the same content (``digest``, SHA-256 in hex) stands under that name, nothing is done; where
        other content does, it is refused. ``source`` may be gone afterwards. Cut short, the name is absent or whole.
        """
        ...

    def has(self, name: str) -> bool:
        """Whether a whole file of that name is there."""
        ...

    def open(self, name: str, size_bytes: int | None = None) -> pa.NativeFile:
        """A random-access file; a read fetches what is asked for, not the whole. The caller closes it.

        ``size_bytes`` spares a remote home from asking for it.
        """
        ...

    def digest(self, name: str) -> str:
        """SHA-256, in hex, of the bytes that are there now (read, not remembered)."""
        ...

    def names(self) -> list[str]:
        """The names of all files that are there, in order, whole ones only; empty if there is nothing."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file with every older version that the home may keep of it; one that is not there is no error."""
        ...


def home_for(folder: Path, settings: Settings) -> SegmentHome:
    """The home into which the log in that folder seals now, as the settings say.

    Under ``s3://bucket/prefix`` each log has the prefix ``prefix/<name of its folder>``.
    """
    base = settings.segments_url.rstrip("/")
    return home_at(folder, f"{base}/{folder.absolute().name}" if base else BESIDE_THE_SPOOL, settings)


def home_at(folder: Path, stored_as: str, settings: Settings) -> SegmentHome:
    """The home that a segment's row names.

    Parameters
    ----------
    folder
        The log's folder.
    stored_as
        ``SegmentHome.stored_as``.
    settings
        How S3 is reached.
    """
    if stored_as == BESIDE_THE_SPOOL:
        return FolderHome(folder / "segments")
    # boto3 takes a third of a second to import: only those who use it pay for it.
    from trimtab.predictions.homes_s3 import S3Home

    return S3Home(stored_as, settings.s3_endpoint_url)
