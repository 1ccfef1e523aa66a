"""``text/csv`` at ``/invocations``, as `mlflow models serve` and SageMaker take it.

The first line names the columns, unless the content type says ``header=absent`` (RFC 4180): then a row's values stand
in the order of the model's features. An empty cell is null.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from typing import Any

from trimtab.errors import RequestError
from trimtab.serving.protocol.columns import check_columns
from trimtab.serving.protocol.rows import Rows, event_times
from trimtab.serving.routes import Route, RouteFeature

_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MOST_DIGITS = 400  # of a whole number that is still a float; more take Python long to read
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def is_csv(content_type: bytes | None) -> bool:
    """Whether a ``Content-Type`` says that the body is CSV."""
    return content_type is not None and content_type.lower().lstrip().startswith(b"text/csv")


def parse_csv(body: bytes, content_type: bytes, route: Route, max_rows: int, now_us: int) -> Rows:
    """Check a CSV request against a route.

    Parameters
    ----------
    body
        As received.
    content_type
        The header; its parameters ``charset`` (utf-8) and ``header`` count.
    route, max_rows, now_us
        What answers, the most rows in a request, and the event time that rows get (microseconds).

    Raises
    ------
    RequestError
        400, 413 or 415.
    """
    parameters = _parameters(content_type)
    charset = parameters.get("charset", "utf-8")
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise RequestError(415, f"the charset is {charset!r}; it must be utf-8")
    header = parameters.get("header", "present")
    if header not in ("present", "absent"):
        raise RequestError(415, f"header is {header!r}; it must be present or absent")
    lines = _lines(body, max_rows + 2)
    names = [feature.name for feature in route.features] if header == "absent" else lines.pop(0) if lines else []
    if len(lines) > max_rows:
        raise RequestError(
            413, f"the request has over {max_rows} rows; at most {max_rows} are taken at once: send several"
        )
    first = 1 if header == "absent" else 2
    for number, line in enumerate(lines, first):
        if len(line) != len(names):
            raise RequestError(400, f"line {number} has {len(line)} values; it must have {len(names)}, one a column")
    features = {feature.name: feature for feature in route.features}
    given = [(name, [_value(features.get(name), line[i]) for line in lines]) for i, name in enumerate(names)]
    columns, n = check_columns(route, given, max_rows)
    return Rows(columns, n, event_times(None, n, now_us))


def _parameters(content_type: bytes) -> dict[str, str]:
    pairs = (part.partition("=") for part in content_type.decode("latin-1").split(";")[1:])
    return {name.strip().lower(): value.strip().strip('"').lower() for name, _, value in pairs}


def _lines(body: bytes, most: int) -> list[list[str]]:
    """The cells of each line that is not blank; not of all, if there are more than that."""
    try:
        text = io.StringIO(body.decode("utf-8-sig"), newline="")
        return list(itertools.islice(filter(None, csv.reader(text, strict=True)), most))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(400, f"the body is not CSV in UTF-8: {error}") from error


def _value(feature: RouteFeature | None, cell: str) -> Any:
    """What a cell means for its feature; as it is where it means nothing, so that the check can show it."""
    if cell == "":
        return None
    if feature is None or feature.type == "category":
        return cell
    if feature.type == "boolean":
        return _BOOLEANS.get(cell, cell)
    if len(cell) <= _MOST_DIGITS and _WHOLE.fullmatch(cell):
        return int(cell)
    return float(cell) if _NUMBER.fullmatch(cell) else cell
