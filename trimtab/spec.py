"""ModelSpec: all that trimtab must know of a model, in one frozen value. `trimtab.models` reads it from a folder."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from trimtab.records import content_id

RESERVED_COLUMNS = frozenset(
    {
        "prediction_id",
        "request_id",
        "version",
        "release_id",
        "event_time",
        "logged_at",
        "caller",
        "score",
        "outcome",
        "observed_at",
    }
)
"""Columns that the prediction log adds; no feature may have such a name."""

MAXIMUM_CANDIDATES = 12
"""Trainers times training windows: each is trained, evaluated and gated at every retraining."""

_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_CRON_ITEM = re.compile(r"^(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9]\d?))?$", re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRON_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _WEEKDAYS),
)
"""What each field of a cron line is, its least and its greatest number, and the names of its numbers."""
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _unique(label: str, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{label} names {twice} more than once; each name must be there once")


def _as_span(value: Any) -> Any:
    if not isinstance(value, (timedelta, str)) or (isinstance(value, str) and not value.startswith(("P", "-P"))):
        raise ValueError("must be a timedelta, such as timedelta(days=7)")
    return value


Span = Annotated[timedelta, BeforeValidator(_as_span)]
"""A length of time; in JSON as ISO 8601. A bare number, which would count as seconds, is refused."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Feature(_Part):
    """One input of the model.

    ``number`` and ``integer`` are sent as numbers, ``category`` as strings, ``boolean`` as booleans. A category that
    was not seen at training is treated as missing. ``nullable`` says whether null is allowed in a request.
    """

    name: str = Field(min_length=1)
    type: Literal["number", "integer", "category", "boolean"]
    nullable: bool = True
    description: str = ""


class Target(_Part):
    """What is predicted. ``binary`` is 0 or 1 and the score is the probability of 1; ``regression`` is a number.

    ``multiclass`` is one of ``classes``, and the scores are the probability of each, in columns ``score.<class>``. It
    is measured and backtested; it cannot be trained and served yet (`trimtab.models` refuses such a folder).
    """

    name: str
    kind: Literal["binary", "multiclass", "regression"] = "binary"
    classes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_its_classes(self) -> Self:
        if self.kind == "multiclass" and len(set(self.classes)) != max(len(self.classes), 3):
            raise ValueError(f"classes is {self.classes}; a multiclass target needs three or more, each once")
        if self.kind != "multiclass" and self.classes:
            raise ValueError(f"classes is {self.classes}; a {self.kind} target has none")
        return self


class Trainer(_Part):
    """One way to make a candidate: a function ``(matrix, target, categorical, seed, **parameters) -> estimator``.

    ``matrix`` is float64 of shape (rows, features) with categories as codes and NaN for missing, ``categorical`` a
    boolean array of shape (features,); the estimator follows scikit-learn's ``predict_proba`` (binary) or ``predict``.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    function: str
    seed: int = 0
    parameters: dict[str, Any] = Field(default_factory=dict)

    _check_function = field_validator("function")(lambda value: _function_name(value))


class TrainingWindow(_Part):
    """Rows that a candidate is trained on, up to the slice that judges (trimtab/training/windows.py).

    ``span`` is a length of time, ``"all"`` (since ``training.earliest``), or ``"since_change"``: since the window from
    which on the serving release's performance or features were off; where that is not known or gives too few rows,
    ``training.window``.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    span: Literal["all", "since_change"] | Span

    @field_validator("span")
    @classmethod
    def _is_longer_than_zero(cls, value: Any) -> Any:
        if isinstance(value, timedelta) and value <= timedelta(0):
            raise ValueError(f"is {value}; it must be longer than zero")
        return value


class Training(_Part):
    """Which rows train and which judge: the slice up to ``as_of - label_maturity`` judges, the one before it trains.

    ``windows``: several that compete; each trainer makes a candidate on each, all are judged on the same slice, and the
    gates choose. Without them there is one, of length ``window``. ``earliest``: the first moment that there are rows
    of; a window of ``"all"`` needs it. At most `MAXIMUM_CANDIDATES` candidates a retraining.
    """

    window: Span = timedelta(days=90)
    windows: tuple[TrainingWindow, ...] = ()
    earliest: AwareDatetime | None = None
    evaluation_window: Span = timedelta(days=14)
    minimum_rows: int = Field(default=1_000, ge=20)

    @model_validator(mode="after")
    def _windows_hang_together(self) -> Self:
        _unique("training.windows", [window.name for window in self.windows])
        if self.earliest is None and (of_all := [window.name for window in self.windows if window.span == "all"]):
            raise ValueError(
                f"window {of_all[0]!r} is 'all' and earliest is not given; it must say since when there are rows, "
                "such as datetime(2024, 1, 1, tzinfo=UTC)"
            )
        return self


class Gates(_Part):
    """What a candidate must show to replace the champion (trimtab/gates.py).

    ``metric`` decides; ``minimum_gain`` is the least improvement over the champion in the metric's unit;
    ``confidence`` is that of the paired interval, whose lower end must be above ``minimum_gain``. ``floors`` and
    ``ceilings`` are absolute limits by metric. ``maximum_slice_loss`` bounds how much worse any slice may become.
    """

    metric: str = ""
    minimum_gain: float = 0.0
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    floors: dict[str, float] = Field(default_factory=dict)
    ceilings: dict[str, float] = Field(default_factory=dict)
    slices: tuple[str, ...] = ()
    maximum_slice_loss: float | None = None
    minimum_slice_rows: int = Field(default=200, ge=1)


class ExpectedLoss(_Part):
    """When performance that is only expected to be lost, before outcomes are known, retrains.

    ``persistence`` = (k, m): in k of the last m windows, more than for a loss that is seen since the estimate may err.
    """

    persistence: tuple[int, int] = (2, 3)

    _check_persistence = field_validator("persistence")(lambda value: _k_of_m(value))


class DriftRule(_Part):
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


FAULT_KINDS = ("frozen", "default", "units", "duplicates", "repeated_requests", "row_count", "stale")
"""The data faults that a rule can ask for; the first three are of one column each."""


class FaultRule(_Part):
    """When incoming rows count as broken (trimtab/decay/faults.py); None turns a kind off.

    ``frozen_share``: a value in so many of a number's rows, and in three times as many as any value in any span of the
    reference, is frozen; so is one in ``frozen_run`` consecutive rows, and a column of one value that had several
    before. ``default_share``: a default value that was rare and is in so many rows now. ``units_distance``: how far,
    in shares of rows, a window may be from the converted reference for the conversion to be believed.
    ``duplicate_share``: share of rows that are equal to an earlier one, and three times that of the reference.
    ``row_count_factor``: by what factor a window may have fewer or more rows than the spans before it. ``stale_share``:
    share of the window at its end without any row. ``null_odds``: besides rising by more than the policy's
    ``maximum_null_rise``, the odds of a missing value must have risen by this factor. ``ignore``: kinds by column that
    are natural there, such as ``{"discount": ("frozen", "default")}``; under ``"*"`` kinds that are of no column.
    """

    frozen_share: float | None = Field(default=0.1, gt=0, le=1)
    frozen_run: int | None = Field(default=50, ge=2)
    default_share: float | None = Field(default=0.05, gt=0, le=1)
    units_distance: float | None = Field(default=0.1, gt=0, le=0.3)
    duplicate_share: float | None = Field(default=0.05, gt=0, le=1)
    row_count_factor: float | None = Field(default=5.0, gt=1)
    stale_share: float | None = Field(default=0.5, gt=0, le=1)
    null_odds: float = Field(default=1.5, ge=1)
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


class AnomalyRule(_Part):
    """When single rows count as anomalies (trimtab/decay/anomalies.py).

    ``share``: the share of sound rows that is flagged all the same, at most; it sets the score from which a row is an
    anomaly.
    ``maximum_share``: a window with more of them, beyond what chance allows, is out of the ordinary; None: it never is.
    ``listed``: how many of the worst are listed.
    """

    share: float = Field(default=0.001, gt=0, le=0.1)
    maximum_share: float | None = Field(default=0.03, gt=0, le=1)
    listed: int = Field(default=50, ge=1, le=1_000)


class EstimateRule(_Part):
    """Performance that is foretold before outcomes arrive (trimtab/decay/estimation.py, loss_estimation.py).

    ``enabled``: whether it is. Its limit is the policy's ``performance_drop``.
    """

    enabled: bool = True


class SliceRule(_Part):
    """The policy metric on each value of ``gates.slices`` and ``protected`` (trimtab/decay/slice_performance.py).

    ``minimum_rows`` a slice needs, here and in the reference. ``drop``: by how much a slice may be worse than the same
    slice at evaluation; None: the policy's ``performance_drop``.
    """

    minimum_rows: int = Field(default=200, ge=20)
    drop: float | None = Field(default=None, gt=0)


class CalibrationRule(_Part):
    """``maximum_rise``: by how much the expected calibration error may be above the reference's, as a probability."""

    maximum_rise: float = Field(default=0.05, gt=0, le=1)


class FairnessRule(_Part):
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


class DecayPolicy(_Part):
    """When to act (trimtab/decay/policy/). Every number is a threshold that rulings quote.

    ``performance_drop``: a realised metric counts as lost when its whole interval is worse than the release's reference
    by more than this, in the metric's unit. ``drift_effect``: a feature counts as drifted only when its PSI is at
    least this *and* significant by ``drift``. ``significance`` is that of intervals that are looked at again and again.
    ``persistence`` = (k, m): k of the last m windows. ``maximum_null_rise``: by how much a feature's share of missing
    values may rise above the training reference before the window counts as broken; the rise must also be
    significant, and large against the reference's own share (``faults.null_odds``). ``probation``: for how long a new
    release is held against its predecessor; it is rolled back when it does worse by more than ``rollback_drop``.
    ``hysteresis``: what was breached stays so until it is back by this share of the way from its threshold to where it
    is calm. ``expected``: when an estimated loss retrains. ``cooldown`` after a retraining or a rollback; at most
    ``budget`` retrainings in any ``budget_period``; ``breaker`` retrainings in a row in vain, and none starts until a
    person closes the breaker.
    """

    metric: str = ""
    performance_drop: float = Field(default=0.03, gt=0)
    persistence: tuple[int, int] = (1, 1)
    minimum_outcomes: int = Field(default=300, ge=20)
    minimum_rows: int = Field(default=200, ge=20)
    significance: float = Field(default=0.01, gt=0, lt=0.5)
    drift_effect: float = Field(default=0.2, gt=0)
    drifted_share: float = Field(default=0.5, gt=0, le=1)
    retrain_on_drift: bool = False
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

    _check_persistence = field_validator("persistence")(lambda value: _k_of_m(value))


class Alert(_Part):
    """Who is told when a model's state changes: a Prefect notification block, as ``<block type>/<block name>``.

    They are told when an action of ``on`` comes, when what calls for it becomes other, and when it is over.
    """

    block: str = Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")
    on: tuple[Literal["BLOCK", "ROLLBACK", "RETRAIN", "ALERT"], ...] = Field(
        default=("BLOCK", "ROLLBACK", "RETRAIN", "ALERT"), min_length=1
    )


class Schedule(_Part):
    """When the model's flows run by themselves, as cron lines in UTC; None: never."""

    watch: str | None = "0 6 * * 1"
    retrain: str | None = None

    @field_validator("watch", "retrain")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        if value is not None:
            _check_cron(value)
        return value


class Limits(_Part):
    """What the gateway takes for this model, where it is less than its settings allow: None leaves it to them.

    ``max_rows`` in a request, ``max_queue_rows`` that wait unanswered, ``max_body_bytes`` of a request.
    """

    max_rows: int | None = Field(default=None, ge=1)
    max_queue_rows: int | None = Field(default=None, ge=1)
    max_body_bytes: int | None = Field(default=None, ge=1)


class Serving(_Part):
    """How a release runs. ``compiled`` asks for an ONNX artifact where parity holds; ``memory_mb`` limits it.

    ``log_policy``: under ``required`` a prediction that cannot be logged is not given; under ``available`` it is given
    all the same, and the gap is counted. ``limits`` are those of its callers.
    """

    runtime: Literal["default", "docker", "process"] = "default"
    compiled: bool = True
    memory_mb: int = Field(default=512, ge=128)
    start_timeout_s: float = Field(default=60, gt=0)
    decision_threshold: float = Field(default=0.5, ge=0, le=1)
    log_policy: Literal["required", "available"] = "required"
    limits: Limits = Limits()


class ModelSpec(_Part):
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
        if isinstance(value, _Part):
            raise ValueError(f"must be a tuple: ({type(value).__name__}(...),)")
        return value

    _check_source = field_validator("source")(lambda value: _function_name(value))

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        names = [feature.name for feature in self.features]
        _unique("features", names)
        _unique("trainers", [trainer.name for trainer in self.trainers])
        _unique("alerts", [alert.block for alert in self.alerts])
        candidates = len(self.trainers) * max(1, len(self.training.windows))
        if candidates > MAXIMUM_CANDIDATES:
            raise ValueError(
                f"{len(self.trainers)} trainers on {len(self.training.windows)} windows make {candidates} candidates; "
                f"at most {MAXIMUM_CANDIDATES} are trained at a time"
            )
        if taken := sorted(RESERVED_COLUMNS.intersection(names)):
            raise ValueError(f"features are named {taken}; these names belong to the prediction log: choose others")
        if self.target.name in names:
            raise ValueError(f"target {self.target.name!r} is also a feature: a model must not see what it predicts")
        for label, columns in (("protected", self.protected), ("gates.slices", self.gates.slices)):
            if unknown := [column for column in columns if column not in names]:
                raise ValueError(f"{label} names {unknown}; it must name features, one of {names}")
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
    def feature_names(self) -> list[str]:
        """Names of the features, in the order in which artifacts see them."""
        return [feature.name for feature in self.features]


METRICS: dict[str, tuple[str, ...]] = {
    "binary": ("log_loss", "roc_auc", "brier_loss", "accuracy"),
    "multiclass": ("log_loss", "roc_auc", "brier_loss", "accuracy"),
    "regression": ("root_mean_squared_error", "mean_absolute_error", "r2_score"),
}
"""The metrics that are computed for each kind of target; the first is the default for gates and policy."""


def _function_name(value: str) -> str:
    if not _FUNCTION.match(value):
        raise ValueError("must be 'module:function', looked up in the model's folder, such as 'data:load'")
    return value


def _k_of_m(value: tuple[int, int]) -> tuple[int, int]:
    k, m = value
    if not 1 <= k <= m:
        raise ValueError(f"persistence is {value}; it must be (k, m) with 1 <= k <= m")
    return value


def _check_cron(line: str) -> None:
    """Refuse what Prefect would refuse, and what never comes; Prefect itself is out of reach down here."""
    texts = line.split()
    remedy = "must be a cron line of five fields, such as '0 6 * * 1', or None"
    if len(texts) != len(_CRON_FIELDS):
        raise ValueError(remedy)
    numbers: list[set[int]] = []
    for text, (what, least, greatest, names) in zip(texts, _CRON_FIELDS, strict=True):
        try:
            numbers.append(set().union(*(_cron_numbers(item, least, greatest, names) for item in text.split(","))))
        except ValueError:
            wanted = f"its {what} is {text!r}; that goes from {least} to {greatest}"
            raise ValueError(f"{remedy}: {wanted}") from None
    _, _, days, months, _ = numbers
    if texts[4] == "*" and not any(day <= _LONGEST_MONTHS[month - 1] for day in days for month in months):
        raise ValueError(f"{remedy}: there is no such day in that month, so that it never comes")


def _cron_numbers(item: str, least: int, greatest: int, names: tuple[str, ...]) -> set[int]:
    match = _CRON_ITEM.match(item)
    if match is None:
        raise ValueError(item)

    def number(text: str) -> int:
        return names.index(text.lower()) + least if text.lower() in names else int(text)

    if match["first"] is None:
        first, last = least, greatest
    else:
        first = number(match["first"])
        last = number(match["last"]) if match["last"] else greatest if match["step"] else first
    if not (least <= first <= greatest and least <= last <= greatest):
        raise ValueError(item)
    # Prefect takes 22-6 as 22 to 6 of the next day.
    numbers = range(first, last + 1) if first <= last else (*range(first, greatest + 1), *range(least, last + 1))
    return set(numbers[:: int(match["step"] or 1)])
