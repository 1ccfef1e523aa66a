"""The file of rows that a load sets aside: beside its target until the load ends, then there if it holds anything."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trimtab.errors import OutcomeFileError


@contextmanager
def rejects_file(path: Path, header: Sequence[str]) -> Iterator[Callable[[Sequence[Any]], None]]:
    """A function that takes a row for a CSV file.

    Afterwards the file holds those rows; if there are none and all went well, a file of an earlier load is removed.

    Raises
    ------
    OutcomeFileError
        If the file cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    rows = 0
    try:
        with _open(aside, path) as stream:
            writer = csv.writer(stream)
            writer.writerow(header)

            def reject(row: Sequence[Any]) -> None:
                nonlocal rows
                rows += 1
                try:
                    writer.writerow(row)
                except OSError as error:
                    raise _refused(path, error) from error

            try:
                yield reject
            finally:
                stream.flush()
                if rows:
                    aside.replace(path)
        if not rows:
            path.unlink(missing_ok=True)
    finally:
        aside.unlink(missing_ok=True)


def _open(aside: Path, path: Path) -> Any:
    try:
        return aside.open("w", newline="", encoding="utf-8")
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> OutcomeFileError:
    return OutcomeFileError(f"rejected rows cannot be written to {path}: {error}; name another file for them")
