"""What a listing asks for, and whether a row is it: no reading in here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.predictions.schema import id_bytes, microseconds
from trimtab.predictions.snapshot import FIRST_ID, FIRST_TIME, LAST_ID, LAST_TIME, Bounds

LIMIT = 1000
"""The most predictions that one page may hold."""

_LAST = int.from_bytes(LAST_ID)


@dataclass(frozen=True, slots=True)
class Query:
    """Which predictions, in which order; what is left out asks for nothing.

    Parameters
    ----------
    model : str, optional
        Only this model's.
    start, end : datetime, optional
        Event time in [start, end), timezone-aware.
    version, release_id, caller, request_id : str, optional
        Exactly this value.
    newest_first : bool
        In descending order of prediction ids, which is that of the times at which they were given.
    limit : int
        At most this many, 1 to ``LIMIT``.
    after : str, optional
        Only what comes after this prediction id in that order: the id that the page before ended with.

    Raises
    ------
    ValueError
        If the limit is none, a time has no timezone, the start is not before the end, or a text cannot be stored.
    UnknownPredictionError
        If ``after`` is no id.
    """

    model: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    version: str | None = None
    release_id: str | None = None
    caller: str | None = None
    request_id: str | None = None
    newest_first: bool = True
    limit: int = 100
    after: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= LIMIT:
            raise ValueError(f"the limit is {self.limit}; it must be 1 to {LIMIT}: ask for the next page with `after`")
        for name, value in self.values().items():
            if not _is_text(value):
                raise ValueError(f"{name} is {value!r}; it must be text that UTF-8 can hold")
        bounds = self.bounds()
        if self.start and self.end and bounds.start >= bounds.end:
            raise ValueError(
                f"the start {self.start.isoformat()} is not before the end {self.end.isoformat()}, which is the first "
                "moment that is not asked for"
            )

    def bounds(self) -> Bounds:
        """The ids and event times among which all answers are."""
        first, last = FIRST_ID, LAST_ID
        if self.after is not None:
            cursor = int.from_bytes(id_bytes(self.after))
            if self.newest_first:
                last = max(cursor - 1, 0).to_bytes(16)
            else:
                first = min(cursor + 1, _LAST).to_bytes(16)
        return Bounds(
            first,
            last,
            FIRST_TIME if self.start is None else microseconds(self.start),
            LAST_TIME if self.end is None else microseconds(self.end),
        )

    def values(self) -> dict[str, str]:
        """The columns that must have one value, with it."""
        wanted = {name: getattr(self, name) for name in ("version", "release_id", "caller", "request_id")}
        return {name: value for name, value in wanted.items() if value is not None}

    def matches(self, rows: pa.Table) -> npt.NDArray[np.intp]:
        """Which rows are asked for, by number; they need only have the columns that the query names, and the id."""
        bounds = self.bounds()
        ids = pc.cast(rows["prediction_id"], pa.binary())
        mask = pc.and_(
            pc.greater_equal(ids, pa.scalar(bounds.first_id, pa.binary())),
            pc.less_equal(ids, pa.scalar(bounds.last_id, pa.binary())),
        )
        if (bounds.start, bounds.end) != (FIRST_TIME, LAST_TIME):
            times = pc.cast(rows["event_time"], pa.int64())
            mask = pc.and_(mask, pc.and_(pc.greater_equal(times, bounds.start), pc.less(times, bounds.end)))
        for name, value in self.values().items():
            mask = pc.and_(mask, pc.equal(rows[name], value))
        found: npt.NDArray[np.intp] = np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))
        return found


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
