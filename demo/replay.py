"""Which flights are asked about, and which outcomes are told, in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from trimtab.predictions.schema import microseconds

STEP = timedelta(hours=6)
"""Outcomes are told this often in event time."""


@dataclass(frozen=True, slots=True)
class Step:
    """At ``clock`` these outcomes are known and are told; meanwhile these flights are asked about.

    ``flights`` is a range of rows, ``outcomes`` an array of row numbers whose flights were all in earlier steps.
    """

    clock: int
    flights: range
    outcomes: np.ndarray


class Calendar:
    """The order of a replay.

    Parameters
    ----------
    event_time : int64 array of shape (rows,)
        Microseconds since 1970, rising.
    known_at : int64 array of shape (rows,)
        When the outcome became known; 0 where it never did.
    """

    def __init__(self, event_time: np.ndarray, known_at: np.ndarray) -> None:
        if np.any(np.diff(event_time) < 0):
            raise ValueError("event_time must not fall: flights are replayed in their order")
        self._event_time = event_time
        # An outcome can be told once it is known, and once its flight was asked about.
        tellable = np.where(known_at > 0, np.maximum(known_at, event_time + 1), np.iinfo(np.int64).max)
        self._order = np.argsort(tellable, kind="stable")
        self._tellable = tellable[self._order]

    def steps(self, start: datetime, end: datetime, step: timedelta = STEP) -> Iterator[Step]:
        """The steps of [start, end); the last one has no flights, and tells the outcomes that are known at ``end``."""
        first, last, width = microseconds(start), microseconds(end), step // timedelta(microseconds=1)
        told = first
        for clock in range(first, last, width):
            yield Step(clock, self.flights(clock, min(clock + width, last)), self.outcomes(told, clock))
            told = clock
        yield Step(last, range(0), self.outcomes(told, last))

    def flights(self, start: int, end: int) -> range:
        """Rows with event_time in [start, end)."""
        first, last = np.searchsorted(self._event_time, [start, end], side="left")
        return range(int(first), int(last))

    def outcomes(self, after: int, until: int) -> np.ndarray:
        """Rows whose outcome came to be told in (after, until]."""
        first, last = np.searchsorted(self._tellable, [after, until], side="right")
        return self._order[first:last]
