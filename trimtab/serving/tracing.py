"""W3C Trace Context: whose trace a request belongs to, read from its headers and passed on.

The gateway records no spans. So it forwards what came, as https://www.w3.org/TR/trace-context/ asks of one that does
not take part: the scorer's span hangs below the caller's, and the answer and the log lines name the trace. What is
malformed counts as absent, as the specification asks; it never fails a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_KNOWN_FLAGS = 0x03  # sampled, and (level 2) random trace id; a sender sets all others to zero
_SAMPLED = 0x01
_MAX_MEMBERS = 32
_MAX_STATE_BYTES = 8192  # the specification asks for at least 512; a header of any length is not passed on
_NO_TRACE = b"0" * 32
_NO_PARENT = b"0" * 16

_KEY = rb"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
_VALUE = rb"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rb"(" + _KEY + rb")=(" + _VALUE + rb")")


class TraceContext(msgspec.Struct, frozen=True):
    """The trace that a request belongs to, and the span that sent it.

    ``trace_id`` has 32, ``parent_id`` 16 lower-case hexadecimal digits; ``state`` is a sound ``tracestate`` or empty.
    """

    trace_id: bytes
    parent_id: bytes
    flags: int
    state: bytes = b""

    @property
    def sampled(self) -> bool:
        """Whether the caller records this trace."""
        return bool(self.flags & _SAMPLED)

    @property
    def traceparent(self) -> bytes:
        """The header's value, in version 00, the one that is written here."""
        return b"00-%b-%b-%02x" % (self.trace_id, self.parent_id, self.flags)


def read_trace(traceparents: Sequence[bytes], tracestates: Sequence[bytes] = ()) -> TraceContext | None:
    """The trace that headers name, or None.

    Parameters
    ----------
    traceparents
        Every ``traceparent`` of the request; two of them are as malformed as none.
    tracestates
        Every ``tracestate``, in their order; they count as one list.
    """
    if len(traceparents) != 1:
        return None
    found = _TRACEPARENT.fullmatch(traceparents[0].strip(b" \t"))
    if found is None:
        return None
    version, trace_id, parent_id, flags, rest = found.groups()
    # A later version may say more after what is known; version 00 may not, and ff is never one.
    if version == b"ff" or (version == b"00" and rest is not None):
        return None
    if trace_id == _NO_TRACE or parent_id == _NO_PARENT:
        return None
    return TraceContext(trace_id, parent_id, int(flags, 16) & _KNOWN_FLAGS, _sound_state(tracestates))


def batch_headers(traces: Iterable[TraceContext | None]) -> bytes:
    """Header lines for the one call of a scorer that serves a whole batch; empty if no request has a trace.

    Headers can name one parent, and no links to others. It is the first sampled trace of the batch: that one is being
    recorded, so the scorer's span shows up in it. The others do not see the scorer's span; their own ids stand in the
    gateway's log lines and answers all the same. Where none is sampled the first is named, so that a scorer does not
    begin a trace of its own.
    """
    chosen = None
    for trace in traces:
        if trace is not None and (chosen is None or trace.sampled):
            chosen = trace
            if trace.sampled:
                break
    if chosen is None:
        return b""
    state = b"tracestate: %b\r\n" % chosen.state if chosen.state else b""
    return b"traceparent: %b\r\n%b" % (chosen.traceparent, state)


def _sound_state(headers: Sequence[bytes]) -> bytes:
    """The list of all headers as one, or nothing if any of it is malformed."""
    if sum(map(len, headers)) > _MAX_STATE_BYTES:
        return b""
    # Empty members are allowed, and dropped.
    members = [member for header in headers for part in header.split(b",") if (member := part.strip(b" \t"))]
    matches = [_MEMBER.fullmatch(member) for member in members]
    keys = {match[1] for match in matches if match is not None}
    if len(members) > _MAX_MEMBERS or len(keys) != len(members):
        return b""
    return b",".join(members)
