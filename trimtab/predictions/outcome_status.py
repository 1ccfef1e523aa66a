"""How far outcomes have come in, day by day of event time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc

from trimtab.predictions.log import PredictionLog
from trimtab.predictions.outcomes import Outcomes
from trimtab.predictions.snapshot import Bounds
from trimtab.predictions.window import read_window

DAY = timedelta(days=1)
_SPOOL_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class DayStatus:
    """One day's predictions: how many there are, are mature, have an outcome, are both; and have a corrected one."""

    day: datetime
    predictions: int
    mature: int
    known: int
    mature_known: int
    corrected: int

    def __add__(self, other: DayStatus) -> DayStatus:
        """Both days' predictions, under the first day."""
        return DayStatus(
            self.day,
            self.predictions + other.predictions,
            self.mature + other.mature,
            self.known + other.known,
            self.mature_known + other.mature_known,
            self.corrected + other.corrected,
        )


def days_of(folder: Path) -> tuple[datetime, datetime] | None:
    """The first day of event time in a model's log, and the end of its last, in UTC; None if the log is empty."""
    times: list[datetime] = []
    with PredictionLog(folder).snapshot() as snapshot:
        for span in snapshot.spans(Bounds()):
            times += (span.min_event_time, span.max_event_time)
        for rows in snapshot.stream(Bounds(), ["event_time"], _SPOOL_ROWS):
            times += pc.min_max(rows["event_time"]).as_py().values()
    if not times:
        return None
    return _day(min(times)), _day(max(times)) + DAY


def outcome_status(
    folder: Path, start: datetime, end: datetime, as_of: datetime, maturity: timedelta
) -> list[DayStatus]:
    """Each day in [start, end) that has predictions, as was known at ``as_of``; memory is a day's.

    Parameters
    ----------
    folder
        The model's log folder.
    start, end
        Event time; the first and the last day may be parts of one.
    as_of
        Outcomes observed later are not seen.
    maturity
        A prediction is mature from its event time plus this on.
    """
    outcomes, found = Outcomes(folder), []
    while start < end:
        until = min(_day(start) + DAY, end)
        rows = read_window(folder, start, until, as_of, ["prediction_id"], maturity=maturity)
        if len(rows):
            ids = rows["prediction_id"]
            corrected = pc.is_in(ids, value_set=outcomes.corrected(as_of, ids[0].as_py(), ids[-1].as_py()))
            known = pc.is_valid(rows["outcome"])
            counts = (rows["mature"], known, pc.and_(rows["mature"], known), corrected)
            found.append(DayStatus(_day(start), len(rows), *(pc.sum(mask).as_py() for mask in counts)))
        start = until
    return found


def _day(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
