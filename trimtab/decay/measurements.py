"""What was measured on a window of one release: the values that signals, and from them a ruling, follow from."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from trimtab.decay.anomalies import Anomalies
from trimtab.decay.atoms import Fault
from trimtab.decay.distance import Distance
from trimtab.decay.fairness import Gap, Selection
from trimtab.decay.multivariate import Separation
from trimtab.decay.performance import Performance
from trimtab.decay.slice_performance import SlicePerformance
from trimtab.records import Metric, Validation, Value


class Shift(Value):
    """What `Distance` does not say of a column: ``deviate`` is how far it is beyond what is tolerated, as a standard
    normal deviate of windows that are just as far as that. ``tolerated`` and ``usual`` are PSI; ``usual`` is the
    largest of the reference's own windows, 0 where that is unknown."""

    column: str
    deviate: float
    tolerated: float
    usual: float = 0.0


class Measurements(Value):
    """All that was measured on a window of one release.

    Features, data faults, selection and the policy metric as it is ``estimated`` are those of the rows in [start, end);
    performance, also by slice, and gaps between groups are those of the rows before, whose outcomes are mature. The
    p-values of ``distances`` are those that null windows give their PSI. ``usual_auc`` is the largest ``separation`` of
    the reference's own windows, ``importance`` that of the features to the release's model (adding up to 1; empty where
    it is not known).
    """

    start: AwareDatetime
    end: AwareDatetime
    as_of: AwareDatetime
    rows: int
    validation: Validation | None = None
    distances: tuple[Distance, ...] = ()
    performance: Performance = Performance()
    selections: tuple[Selection, ...] = ()
    shifts: tuple[Shift, ...] = ()
    separation: Separation | None = None
    usual_auc: float = 0.5
    importance: dict[str, float] = Field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    anomalies: Anomalies | None = None
    estimated: Metric | None = None
    slices: tuple[SlicePerformance, ...] = ()
    gaps: tuple[Gap, ...] = ()
