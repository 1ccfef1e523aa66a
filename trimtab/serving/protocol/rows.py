"""What a request becomes once it is checked; and what all forms of a request share."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from trimtab.errors import RequestError
from trimtab.predictions.schema import microseconds
from trimtab.serving.protocol.columns import shown
from trimtab.serving.tracing import TraceContext

T = TypeVar("T")
_EXPLAINED_BYTES = 1024 * 1024


class Asked(msgspec.Struct, frozen=True):
    """Which outputs a V2 request wants and how; ``names`` is None for all of them."""

    names: tuple[str, ...] | None = None
    binary: frozenset[str] = frozenset()


ALL_AS_JSON = Asked()


class Rows(msgspec.Struct):
    """A checked request.

    ``columns`` holds n values for each of the route's features, in their order: a list, or an array of float64 (NaN for
    null) or int64. Of a model that takes numbers alone, ``matrix`` may stand in its place: the values of all rows, row
    by row, as a list or as an array of float64. ``event_times`` are microseconds since 1970, of each row.
    """

    columns: list[Any]
    n: int
    event_times: list[int]
    matrix: Any = None
    request_id: str = ""
    caller: str = ""
    asked: Asked = ALL_AS_JSON
    trace: TraceContext | None = None


def decode(decoder: msgspec.json.Decoder[T], body: bytes, explain: Callable[[T], object] | None = None) -> T:
    """Decode a body, or refuse it.

    Parameters
    ----------
    decoder
        For the type that the body must have.
    body
        As received.
    explain
        Called with what a body means that holds NaN or Infinity, which are not JSON: it raises with their place. Not of
        a body beyond a megabyte: to read it again would hold up every other caller for most of a second.

    Raises
    ------
    RequestError
        400.
    """
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if explain is not None and len(body) <= _EXPLAINED_BYTES:
            _explain_numbers(decoder, body, explain)
        raise RequestError(400, f"the body is not the JSON that is asked for: {error}") from error


def _explain_numbers(decoder: msgspec.json.Decoder[T], body: bytes, explain: Callable[[T], object]) -> None:
    try:
        lenient = msgspec.convert(json.loads(body), decoder.type)
    except (ValueError, RecursionError):  # covers msgspec's, json's and Unicode's errors: it is no JSON at all
        return
    explain(lenient)


def parse_time(text: Any, where: str) -> int:
    """Microseconds since 1970 of an ISO 8601 time with a timezone.

    Raises
    ------
    RequestError
        400, naming the place and the value.
    """
    try:
        moment = datetime.fromisoformat(text)
        # A time that a timezone moves out of the calendar would be stored, and then be read by nothing.
        return microseconds(moment.astimezone(UTC) if moment.tzinfo else moment)
    except (ValueError, TypeError, OverflowError) as error:
        raise RequestError(
            400,
            f"{where} is {shown(text)}; it must be an ISO 8601 time with a timezone, such as 2024-01-31T12:00:00Z, "
            "and in UTC of the years 1 to 9999",
        ) from error


def event_times(given: Any, n: int, now_us: int) -> list[int]:
    """The event time of each of n rows: one for all, a list of one a row, or now.

    Raises
    ------
    RequestError
        400.
    """
    if given is None:
        return [now_us] * n
    if not isinstance(given, list):
        return [parse_time(given, "event_time")] * n
    if len(given) != n:
        raise RequestError(400, f"event_time has {len(given)} values; it must be one time, or one for each of {n} rows")
    return [parse_time(text, f"event_time, row {row}") for row, text in enumerate(given)]
