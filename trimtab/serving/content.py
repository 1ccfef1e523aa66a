"""What kind of body a request has, by its headers, and which parser takes it."""

from __future__ import annotations

from trimtab.errors import RequestError
from trimtab.serving.batching import Lane
from trimtab.serving.protocol import Rows
from trimtab.serving.protocol.csv_rows import is_csv, parse_csv
from trimtab.wire.http import Request

_JSON = (b"application/json", b"application/x-www-form-urlencoded")
"""The second is what curl says of whatever it is told to send."""


def parse_invocation(request: Request, lane: Lane, now_us: int) -> Rows:
    """The rows of a call of ``/invocations``: JSON, unless its content type says that it is CSV.

    Raises
    ------
    RequestError
        400, 413 or 415.
    """
    content_type = request.head.header(b"content-type")
    if is_csv(content_type):
        return parse_csv(request.body, content_type or b"", lane.route, lane.limits.max_rows, now_us)
    if content_type is not None and not content_type.lower().startswith(_JSON):
        raise RequestError(
            415, f"the content type is {content_type.decode('latin-1')!r}; it must be application/json or text/csv"
        )
    return lane.parser.invocation(request.body, now_us)


def explain(error: RequestError, request: Request) -> RequestError:
    """The error as it came, or 415 if the body could not be read because it is compressed.

    Looked at only then: no request that is answered pays for it.
    """
    encoding = (request.head.header(b"content-encoding") or b"identity").decode("latin-1")
    if error.status != 400 or encoding == "identity":
        return error
    return RequestError(415, f"the body is sent with content-encoding {encoding!r}; send it as it is, not compressed")
