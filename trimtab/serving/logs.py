"""The gateway's log lines on standard error: text for people, or one JSON object a line for machines.

Nothing of a request's values stands in them unless ``TRIMTAB_LOG_REQUESTS`` is true. So what an exception says is left
out as well, but for those of the operating system and the database: a library's message may quote what it was given.
Its type and the places in the code are always there.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

from trimtab.errors import SpecError
from trimtab.settings import Settings

FIELDS = (
    "model",
    "version",
    "request_id",
    "trace_id",
    "prediction_id",
    "caller",
    "status",
    "duration_ms",
    "rows",
)
"""What ``extra=`` of a logging call may say; any of it stands in the line where it is known."""

_HARMLESS = (OSError, sqlite3.Error, SpecError)
_WITHHELD = "(what it says is left out: it may hold a request's values; TRIMTAB_LOG_REQUESTS=true shows it)"
_SHOWN_CHARACTERS = 200
_requests = logging.getLogger("trimtab.requests")


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every log line of this process to standard error, in the form that the settings ask for."""
    form = JsonFormatter if settings.log_format == "json" else TextFormatter
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(form(show_messages=settings.log_requests))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    _requests.setLevel(logging.INFO if settings.log_requests else logging.WARNING)
    # A warning of a library is a log line like any other.
    logging.captureWarnings(True)


def log_request(
    model: str,
    version: str,
    status: int,
    duration_ms: float,
    rows: int,
    caller: str = "",
    request_id: str = "",
    prediction_id: str = "",
    trace_id: str = "",
) -> None:
    """One line for one request; to be called where ``settings.log_requests`` holds.

    Parameters
    ----------
    prediction_id
        Of the first row.
    """
    said = {"status": status, "duration_ms": round(duration_ms, 3), "rows": rows}
    named = {"caller": caller, "request_id": request_id, "prediction_id": prediction_id, "trace_id": trace_id}
    _requests.info("request", extra={"model": model, "version": version, **said, **named})


class _Formatter(logging.Formatter):
    """What both forms share: UTC, and exceptions without what they say."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, show_messages: bool) -> None:
        super().__init__()
        self._show_messages = show_messages

    def formatException(self, info: Any) -> str:  # noqa: N802 (the name is logging's)
        """The exceptions from the first cause to the last, with their places in the code."""
        return "".join(self._explained(info[1], set())).rstrip("\n") if info[1] is not None else ""

    def _explained(self, error: BaseException, seen: set[int]) -> Iterator[str]:
        seen.add(id(error))
        earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if earlier is not None and id(earlier) not in seen:
            yield from self._explained(earlier, seen)
            how = "caused" if error.__cause__ is not None else "was being handled when there came"
            yield f"which {how}:\n"
        yield from traceback.format_tb(error.__traceback__)
        words = str(error) if self._show_messages or isinstance(error, _HARMLESS) else _WITHHELD
        kind = type(error)
        yield f"{kind.__module__}.{kind.__qualname__}: {words}\n"
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from self._explained(part, seen)


class TextFormatter(_Formatter):
    """A line for people: time, level, logger, message, and what is known as ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; further ones only for an exception."""
        known = "".join(f" {name}={_plain(value)}" for name, value in _known(record))
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {_one_line(record.getMessage())}{known}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(_Formatter):
    """One JSON object, in one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        said.update(_known(record))
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        # ASCII only: no reader of lines takes U+2028 for the end of one, and half a surrogate can be written.
        return json.dumps(said, default=str)


def _known(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    for name in FIELDS:
        value = getattr(record, name, None)
        if value is not None and value != "":
            # What a caller says of itself can be as long as a header.
            yield name, value[:_SHOWN_CHARACTERS] if isinstance(value, str) else value


def _one_line(message: str) -> str:
    """The message without line breaks, which an address that a caller asked for may hold."""
    return message if message.isprintable() else json.dumps(message)


def _plain(value: Any) -> str:
    """As in the message of a person's line: quoted where it could be taken for something else."""
    text = str(value)
    return text if text.isprintable() and not set(text) & set(' "=') else json.dumps(text)
