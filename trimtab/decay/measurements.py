"""What was measured on a window of one release: the values that signals, and from them a ruling, follow from."""

from __future__ import annotations

from pydantic import AwareDatetime

from trimtab.decay.distance import Distance
from trimtab.decay.fairness import Selection
from trimtab.decay.performance import Performance
from trimtab.records import Validation, Value


class Measurements(Value):
    """All that was measured on a window of one release.

    Features, data faults and selection are those of the rows in [start, end); performance is that of the rows before,
    whose outcomes are mature.
    """

    start: AwareDatetime
    end: AwareDatetime
    as_of: AwareDatetime
    rows: int
    validation: Validation | None = None
    distances: tuple[Distance, ...] = ()
    performance: Performance = Performance()
    selections: tuple[Selection, ...] = ()
