"""When to act on decay, and whom to tell."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator

from trimtab.spec.parts import Part, Span, k_of_m
from trimtab.spec.rules import (
    AnomalyRule,
    CalibrationRule,
    DriftRule,
    EstimateRule,
    ExpectedLoss,
    FairnessRule,
    FaultRule,
    SliceRule,
)


class DecayPolicy(Part):
    """When to act (trimtab/decay/policy/). Every number is a threshold that rulings quote.

    ``performance_drop``: a realised metric counts as lost when its whole interval is worse than the release's reference
    by more than this, in the metric's unit; None: by more than a tenth of what the release was better at its evaluation
    than the best constant answer, which suits every unit and every base rate. ``drift_effect``: a feature counts as
    drifted only when its PSI is at least this *and* significant by ``drift``. ``retrain_without_skill``: a model that
    does worse than one constant answer is retrained too, whatever it was at evaluation. ``significance`` is that of
    intervals that are looked at again and again. ``persistence`` = (k, m): k of the last m windows.
    ``maximum_null_rise``: by how much a feature's share of missing values may rise above the training reference before
    the window counts as broken; the rise must also be significant, and large against the reference's own share
    (``faults.null_odds``). ``probation``: for how long a new release is held against its predecessor; it is rolled back
    when it does worse by more than ``rollback_drop``. ``hysteresis``: what was breached stays so until it is back by
    this share of the way from its threshold to where it is calm. ``expected``: when an estimated loss retrains.
    ``cooldown`` after a retraining or a rollback; at most ``budget`` retrainings in any ``budget_period``; ``breaker``
    retrainings in a row in vain, and none starts until a person closes the breaker.
    """

    metric: str = ""
    performance_drop: float | None = Field(default=None, gt=0)
    persistence: tuple[int, int] = (1, 1)
    minimum_outcomes: int = Field(default=300, ge=20)
    minimum_rows: int = Field(default=200, ge=20)
    significance: float = Field(default=0.01, gt=0, lt=0.5)
    drift_effect: float = Field(default=0.2, gt=0)
    drifted_share: float = Field(default=0.5, gt=0, le=1)
    retrain_on_drift: bool = False
    retrain_without_skill: bool = True
    maximum_null_rise: float = Field(default=0.05, gt=0, le=1)
    maximum_missing_outcomes: float = Field(default=0.5, gt=0, le=1)
    cooldown: Span = timedelta(days=14)
    budget: int = Field(default=12, ge=0)
    budget_period: Span = timedelta(days=365)
    breaker: int = Field(default=3, ge=1)
    rollback_drop: float = Field(default=0.0, ge=0)
    probation: Span = timedelta(days=30)
    minimum_selection_ratio: float | None = Field(default=None, gt=0, le=1)
    hysteresis: float = Field(default=0.1, ge=0, lt=1)
    expected: ExpectedLoss = ExpectedLoss()
    drift: DriftRule = DriftRule()
    faults: FaultRule = FaultRule()
    anomalies: AnomalyRule = AnomalyRule()
    estimate: EstimateRule = EstimateRule()
    slices: SliceRule = SliceRule()
    calibration: CalibrationRule = CalibrationRule()
    fairness: FairnessRule = FairnessRule()

    _check_persistence = field_validator("persistence")(lambda value: k_of_m(value))


class Alert(Part):
    """Who is told when a model's state changes: a Prefect notification block, as ``<block type>/<block name>``.

    They are told when an action of ``on`` comes, when what calls for it becomes other, and when it is over. ``FAILED``
    among them: of each run of the model's flows that failed, so that no retraining fails unseen.
    """

    block: str = Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")
    on: tuple[Literal["BLOCK", "ROLLBACK", "RETRAIN", "ALERT", "FAILED"], ...] = Field(
        default=("BLOCK", "ROLLBACK", "RETRAIN", "ALERT", "FAILED"), min_length=1
    )
