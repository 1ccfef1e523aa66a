"""The rules of the decay policy, one for each family of signals."""

from __future__ import annotations

from pydantic import Field, field_validator

from trimtab.spec.parts import Part, k_of_m

FAULT_KINDS = ("frozen", "default", "units", "duplicates", "repeated_requests", "row_count", "stale", "stuck_outcomes")
"""The data faults that a rule can ask for; the first three are of one column each."""


class ExpectedLoss(Part):
    """When performance that is only expected to be lost, before outcomes are known, retrains.

    ``persistence`` = (k, m): in k of the last m windows, more than for a loss that is seen since the estimate may err.
    """

    persistence: tuple[int, int] = (2, 3)

    _check_persistence = field_validator("persistence")(lambda value: k_of_m(value))


class DriftRule(Part):
    """When drift is there (trimtab/decay/null_windows.py, sequential.py, multivariate.py).

    ``false_alarm_rate``: the chance that a window in which nothing has changed alarms at all, over all features, the
    score and the detectors together. Half of it goes to columns one by one (a column must also be as far as
    ``DecayPolicy.drift_effect``, and farther than the reference's own windows were), four tenths to all features
    together, the last tenth to slow drift, whose first false alarm comes after ``10 / false_alarm_rate`` windows on
    average, or later. ``tolerated_effect``: the PSI up to which a column may stay away from the reference for ever;
    0.04 is a fifth of a standard deviation, a small effect by Cohen (1988). ``multivariate``: whether all features are
    judged together; ``multivariate_effect`` is the least AUC that alarms.
    """

    false_alarm_rate: float = Field(default=0.01, gt=0, lt=0.5)
    tolerated_effect: float = Field(default=0.04, ge=0)
    multivariate: bool = True
    multivariate_effect: float = Field(default=0.6, gt=0.5, lt=1)

    @property
    def column_level(self) -> float:
        """The level of all columns' adjusted p-values in one window."""
        return 0.5 * self.false_alarm_rate

    @property
    def multivariate_level(self) -> float:
        """The level of the p-value of all features together."""
        return 0.4 * self.false_alarm_rate

    @property
    def run_length(self) -> float:
        """Mean number of null windows before slow drift is seen falsely, at least."""
        return 10 / self.false_alarm_rate


class FaultRule(Part):
    """When incoming rows count as broken (trimtab/decay/faults.py); None turns a kind off.

    ``frozen_share``: a value in so many of a number's rows, and in three times as many as any value in any span of the
    reference, is frozen; so is one in ``frozen_run`` consecutive rows, and a column of one value that had several
    before. ``default_share``: a default value that was rare and is in so many rows now. ``units_distance``: how far,
    in shares of rows, a window may be from the converted reference for the conversion to be believed.
    ``duplicate_share``: share of rows that are equal to an earlier one, and three times that of the reference.
    ``row_count_factor``: by what factor a window may have fewer or more rows than the spans before it. ``stale_share``:
    share of the window at its end without any row. ``null_odds``: besides rising by more than the policy's
    ``maximum_null_rise``, the odds of a missing value must have risen by this factor. ``outcome_chance``: outcomes that
    are one value in so long a run of mature rows that this is its chance at most, even after the odds of that value
    rose by the factor ``outcome_odds`` since the reference, stand still (trimtab/decay/stuck_outcomes.py), unless the
    run is less than ``outcome_share`` of the mature rows or three times the reference's longest; of a regression so
    does a value that was rare and is in half of the rows, three times as many as any had. ``ignore``: kinds by column
    that are natural there, such as ``{"discount": ("frozen", "default")}``; under ``"*"`` kinds that are of no feature.
    """

    frozen_share: float | None = Field(default=0.1, gt=0, le=1)
    frozen_run: int | None = Field(default=50, ge=2)
    default_share: float | None = Field(default=0.05, gt=0, le=1)
    units_distance: float | None = Field(default=0.1, gt=0, le=0.3)
    duplicate_share: float | None = Field(default=0.05, gt=0, le=1)
    row_count_factor: float | None = Field(default=5.0, gt=1)
    stale_share: float | None = Field(default=0.5, gt=0, le=1)
    null_odds: float = Field(default=1.5, ge=1)
    outcome_chance: float | None = Field(default=1e-6, gt=0, lt=0.01)
    outcome_odds: float = Field(default=5.0, ge=1)
    outcome_share: float = Field(default=0.1, gt=0, le=1)
    ignore: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    def asks(self, kind: str, column: str = "*") -> bool:
        """Whether faults of that kind are looked for in that column."""
        return kind not in self.ignore.get(column, ())

    @field_validator("ignore")
    @classmethod
    def _are_kinds(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if unknown := sorted({kind for kinds in value.values() for kind in kinds}.difference(FAULT_KINDS)):
            raise ValueError(f"names {unknown}; it must name kinds of data faults, of {list(FAULT_KINDS)}")
        return value


class AnomalyRule(Part):
    """When single rows count as anomalies (trimtab/decay/anomalies.py).

    ``share``: the share of sound rows that is flagged all the same, at most; it sets the score from which a row is an
    anomaly.
    ``maximum_share``: a window with more of them, beyond what chance allows, is out of the ordinary; None: it never is.
    ``listed``: how many of the worst are listed.
    """

    share: float = Field(default=0.001, gt=0, le=0.1)
    maximum_share: float | None = Field(default=0.03, gt=0, le=1)
    listed: int = Field(default=50, ge=1, le=1_000)


class EstimateRule(Part):
    """Performance that is foretold before outcomes arrive (trimtab/decay/estimation.py, loss_estimation.py).

    ``enabled``: whether it is. Its limit is the policy's ``performance_drop``.
    """

    enabled: bool = True


class SliceRule(Part):
    """The policy metric on each value of ``gates.slices`` and ``protected`` (trimtab/decay/slice_performance.py).

    ``minimum_rows`` a slice needs, here and in the reference. ``drop``: by how much a slice may be worse than the same
    slice at evaluation; None: the policy's ``performance_drop``.
    """

    minimum_rows: int = Field(default=200, ge=20)
    drop: float | None = Field(default=None, gt=0)


class CalibrationRule(Part):
    """``maximum_rise``: by how much the expected calibration error may be above the reference's, as a probability."""

    maximum_rise: float = Field(default=0.05, gt=0, le=1)


class FairnessRule(Part):
    """How far apart protected groups may be (trimtab/decay/fairness.py); None: it is measured, and alarms on nothing.

    ``maximum_true_positive_rate_gap`` and ``maximum_false_positive_rate_gap`` are differences of rates between two
    groups. ``maximum_calibration_gap`` is the difference between two groups' mean outcome minus mean score: of a
    regression in the target's unit. ``minimum_group_rows`` a group needs for a rate. ``intersections``: whether pairs
    of protected attributes form groups too.
    """

    maximum_true_positive_rate_gap: float | None = Field(default=None, gt=0, le=1)
    maximum_false_positive_rate_gap: float | None = Field(default=None, gt=0, le=1)
    maximum_calibration_gap: float | None = Field(default=None, gt=0)
    minimum_group_rows: int = Field(default=50, ge=10)
    intersections: bool = True
