"""All of a model in one value, and what must hang together in it."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from trimtab.answers import answer_names, is_taken
from trimtab.records import content_id
from trimtab.spec.parts import Part, Span, function_name, require_unique
from trimtab.spec.policy import Alert, DecayPolicy
from trimtab.spec.serving import Schedule, Serving
from trimtab.spec.training import MAXIMUM_CANDIDATES, Feature, Gates, Target, Trainer, Training

RESERVED_COLUMNS = frozenset(
    {
        "prediction_id",
        "request_id",
        "version",
        "release_id",
        "event_time",
        "logged_at",
        "caller",
        "outcome",
        "observed_at",
    }
)
"""Columns that the prediction log adds beside what the model said; no feature may have such a name."""

METRICS: dict[str, tuple[str, ...]] = {
    "binary": ("log_loss", "roc_auc", "brier_loss", "accuracy"),
    "multiclass": ("log_loss", "roc_auc", "brier_loss", "accuracy"),
    "regression": ("root_mean_squared_error", "mean_absolute_error", "r2_score"),
}
"""The metrics that are computed for each kind of target; the first is the default for gates and policy."""


class ModelSpec(Part):
    """A model: where its rows come from, how it is trained, judged, served and watched.

    ``retention_days``: for how long its predictions and their outcomes are kept after the newest of their event time
    and the time they were logged; None: for ever. A legal hold keeps them longer (trimtab/predictions/retention.py).
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    description: str = ""
    owner: str = ""
    source: str
    event_time: str = "event_time"
    key: str | None = None
    target: Target
    features: tuple[Feature, ...] = Field(min_length=1)
    protected: tuple[str, ...] = ()
    suite: str
    trainers: tuple[Trainer, ...] = Field(min_length=1)
    training: Training = Training()
    gates: Gates = Gates()
    window: Span = timedelta(days=7)
    label_maturity: Span = timedelta(days=1)
    retention_days: int | None = Field(default=None, ge=1)
    policy: DecayPolicy = DecayPolicy()
    schedule: Schedule = Schedule()
    serving: Serving = Serving()
    alerts: tuple[Alert, ...] = ()

    @field_validator("features", "trainers", "alerts", mode="before")
    @classmethod
    def _is_several(cls, value: Any) -> Any:
        # Pydantic would go through the fields of a lone part, as if they were the parts.
        if isinstance(value, Part):
            raise ValueError(f"must be a tuple: ({type(value).__name__}(...),)")
        return value

    _check_source = field_validator("source")(lambda value: function_name(value))

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        names = [feature.name for feature in self.features]
        require_unique("features", names)
        require_unique("trainers", [trainer.name for trainer in self.trainers])
        require_unique("alerts", [alert.block for alert in self.alerts])
        candidates = len(self.trainers) * max(1, len(self.training.windows))
        if candidates > MAXIMUM_CANDIDATES:
            raise ValueError(
                f"{len(self.trainers)} trainers on {len(self.training.windows)} windows make {candidates} candidates; "
                f"at most {MAXIMUM_CANDIDATES} are trained at a time"
            )
        if taken := [name for name in names if name in RESERVED_COLUMNS or is_taken(name, self.target.classes)]:
            raise ValueError(f"features are named {taken}; these names belong to the prediction log: choose others")
        if self.target.name in names:
            raise ValueError(f"target {self.target.name!r} is also a feature: a model must not see what it predicts")
        for label, columns in (("protected", self.protected), ("gates.slices", self.gates.slices)):
            if unknown := [column for column in columns if column not in names]:
                raise ValueError(f"{label} names {unknown}; it must name features, one of {names}")
        if self.target.kind == "multiclass":
            self._needs_no_selection()
        if unknown := [column for column in self.policy.faults.ignore if column not in ("*", *names)]:
            raise ValueError(f"policy.faults.ignore names {unknown}; it must name features, one of {names}, or '*'")
        known = METRICS[self.target.kind]
        for label, metric in (("gates.metric", self.gates.metric), ("policy.metric", self.policy.metric)):
            if metric and metric not in known:
                raise ValueError(f"{label} is {metric!r}; for a {self.target.kind} target it must be one of {known}")
        for label, limits in (("gates.floors", self.gates.floors), ("gates.ceilings", self.gates.ceilings)):
            if unknown := [metric for metric in limits if metric not in known]:
                raise ValueError(f"{label} names {unknown}; it must name metrics, of {known}")
        for label, span in (
            ("window", self.window),
            ("training.window", self.training.window),
            ("training.evaluation_window", self.training.evaluation_window),
        ):
            if span <= timedelta(0):
                raise ValueError(f"{label} is {span}; it must be longer than zero")
        if self.label_maturity < timedelta(0):
            raise ValueError(f"label_maturity is {self.label_maturity}; it must not be negative")
        needed = self.window + self.label_maturity
        if self.retention_days is not None and timedelta(days=self.retention_days) < needed:
            days = math.ceil(needed / timedelta(days=1))
            raise ValueError(
                f"retention_days is {self.retention_days}; it must be at least {days}: the watch reads a window of "
                f"{self.window} once its outcomes are {self.label_maturity} old"
            )
        return self

    def _needs_no_selection(self) -> None:
        rule = self.policy.fairness
        for field, limit in (
            ("minimum_selection_ratio", self.policy.minimum_selection_ratio),
            ("fairness.maximum_true_positive_rate_gap", rule.maximum_true_positive_rate_gap),
            ("fairness.maximum_false_positive_rate_gap", rule.maximum_false_positive_rate_gap),
        ):
            if limit is not None:
                raise ValueError(
                    f"policy.{field} is {limit}; of several classes none is the one that is selected, so that it is "
                    "not defined: leave it out (fairness.maximum_calibration_gap is)"
                )

    @property
    def digest(self) -> str:
        """Identifies this very spec."""
        return content_id("spec", self.model_dump(mode="json"))

    @property
    def policy_digest(self) -> str:
        """Identifies the decay policy that a ruling was made under."""
        return content_id("policy", self.policy.model_dump(mode="json"), str(self.window), str(self.label_maturity))

    @property
    def gate_metric(self) -> str:
        """The metric that decides between candidates."""
        return self.gates.metric or METRICS[self.target.kind][0]

    @property
    def policy_metric(self) -> str:
        """The metric whose loss is decay."""
        return self.policy.metric or METRICS[self.target.kind][0]

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Columns of what the model says: ``score``, or of several classes a score each and ``label``."""
        return answer_names(self.target.classes)

    @property
    def columns(self) -> list[str]:
        """The columns of a snapshot: event time, key if there is one, features, target."""
        return [self.event_time, *([self.key] if self.key else []), *self.feature_names, self.target.name]

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, in the order in which artifacts see them."""
        return [feature.name for feature in self.features]
