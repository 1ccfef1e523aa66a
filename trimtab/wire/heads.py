"""Heads that are known again: a caller sends the same one with each request, and it need be parsed but once."""

from __future__ import annotations

from trimtab.wire.exchange import Head

_END = b"\r\n\r\n"
_MOST = 1024
_MOST_BYTES = 2048
_NOT_LEARNT = (b"expect", b"transfer-encoding")
"""Headers by which more is asked for than that so many bytes follow."""


class KnownHeads:
    """Heads of late, as they were sent, with the size of body that each announces.

    What is the same to the byte means the same; and where all of a request came in one piece, as long as its head says,
    nothing is left for a parser to tell.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Head, int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """Head and body of what came from the beginning of a request on; None if it is to be parsed."""
        end = data.find(_END) + len(_END)
        known = self._known.get(data[:end])
        if known is None or len(data) != end + known[1]:
            return None
        return known[0], data[end:]

    def learn(self, head: Head, data: bytes) -> None:
        """Know a head again, if it and its body are all that came."""
        end, size = data.find(_END) + len(_END), head.header(b"content-length")
        if end > _MOST_BYTES or not head.keep_alive or any(map(head.header, _NOT_LEARNT)):
            return
        if len(data) == end + int(size or 0):
            if len(self._known) == _MOST:
                self._known.clear()
            self._known[data[:end]] = head, len(data) - end

    def forget(self) -> None:
        """Know none any more."""
        self._known.clear()
