"""ModelSpec: all that trimtab must know of a model, in one frozen value.

A model is a folder ``deployments/models/<folder>/`` whose ``spec.py`` holds ``SPEC = ModelSpec(...)``. Functions are
named as ``"module:function"``, looked up in the model's own folder. :func:`load_models` reads them all and refuses
what is wrong with the field, the value and what would be right, before anything runs.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from trimtab.errors import SpecError, UnknownModelError
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

_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_CRON = re.compile(r"^\S+( \S+){4}$")


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
    """What is predicted. ``binary`` is 0 or 1 and the score is the probability of 1; ``regression`` is a number."""

    name: str
    kind: Literal["binary", "regression"] = "binary"


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


class Training(_Part):
    """Which rows train and which judge: the slice up to ``as_of - label_maturity`` judges, the one before it trains."""

    window: timedelta = timedelta(days=90)
    evaluation_window: timedelta = timedelta(days=14)
    minimum_rows: int = Field(default=1_000, ge=20)


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


class DecayPolicy(_Part):
    """When to act (trimtab/decay/policy.py). Every number is a threshold that rulings quote.

    ``performance_drop``: a realised metric counts as lost when its whole interval is worse than the release's reference
    by more than this, in the metric's unit. ``drift_effect`` and ``significance``: a feature counts as drifted
    only when its distance is at least the effect *and* its corrected p-value is below the significance.
    ``persistence`` = (k, m): k of the last m windows. ``maximum_null_rise``: by how much a feature's share of missing
    values may rise above the training reference before the window counts as broken. ``probation``: for how long a new
    release is held against its predecessor; it is rolled back when it does worse by more than ``rollback_drop``.
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
    maximum_null_rise: float = Field(default=0.2, gt=0, le=1)
    maximum_missing_outcomes: float = Field(default=0.5, gt=0, le=1)
    cooldown: timedelta = timedelta(days=14)
    budget: int = Field(default=12, ge=0)
    budget_period: timedelta = timedelta(days=365)
    breaker: int = Field(default=3, ge=1)
    rollback_drop: float = Field(default=0.0, ge=0)
    probation: timedelta = timedelta(days=30)
    minimum_selection_ratio: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _k_of_m(self) -> Self:
        k, m = self.persistence
        if not 1 <= k <= m:
            raise ValueError(f"persistence is {self.persistence}; it must be (k, m) with 1 <= k <= m")
        return self


class Schedule(_Part):
    """When the model's flows run by themselves, as cron lines in UTC; None: never."""

    watch: str | None = "0 6 * * 1"
    retrain: str | None = None

    @field_validator("watch", "retrain")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        if value is not None and not _CRON.match(value):
            raise ValueError("must be a cron line of five fields, such as '0 6 * * 1', or None")
        return value


class Serving(_Part):
    """How a release runs. ``compiled`` asks for a treelite artifact where parity holds; ``memory_mb`` limits it."""

    runtime: Literal["default", "docker", "process"] = "default"
    compiled: bool = True
    memory_mb: int = Field(default=512, ge=128)
    start_timeout_s: float = Field(default=60, gt=0)
    decision_threshold: float = Field(default=0.5, ge=0, le=1)


class ModelSpec(_Part):
    """A model: where its rows come from, how it is trained, judged, served and watched."""

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
    window: timedelta = timedelta(days=7)
    label_maturity: timedelta = timedelta(days=1)
    policy: DecayPolicy = DecayPolicy()
    schedule: Schedule = Schedule()
    serving: Serving = Serving()

    _check_source = field_validator("source")(lambda value: _function_name(value))

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        names = [feature.name for feature in self.features]
        _unique("features", names)
        _unique("trainers", [trainer.name for trainer in self.trainers])
        if taken := sorted(RESERVED_COLUMNS.intersection(names)):
            raise ValueError(f"features are named {taken}; these names belong to the prediction log: choose others")
        if self.target.name in names:
            raise ValueError(f"target {self.target.name!r} is also a feature: a model must not see what it predicts")
        for label, columns in (("protected", self.protected), ("gates.slices", self.gates.slices)):
            if unknown := [column for column in columns if column not in names]:
                raise ValueError(f"{label} names {unknown}; it must name features, one of {names}")
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
    "regression": ("root_mean_squared_error", "mean_absolute_error", "r2_score"),
}
"""The metrics that are computed for each kind of target; the first is the default for gates and policy."""


class Model:
    """A spec and the folder that it came from, in which its functions are looked up.

    Parameters
    ----------
    spec : ModelSpec
    folder : Path
        The model's folder; a package of its own, so its modules may import each other relatively.
    """

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder

    def function(self, reference: str) -> Callable[..., Any]:
        """The function that ``"module:function"`` names in this model's folder.

        Raises
        ------
        SpecError
            If there is no such module or function.
        """
        module_name, function_name = reference.split(":")
        module = _import(self.folder, module_name)
        function = getattr(module, function_name, None)
        if not callable(function):
            raise SpecError(
                f"{self.folder.name}: {reference!r} names no function; "
                f"{module.__file__} has none called {function_name!r}"
            )
        return function  # type: ignore[no-any-return]


def load_models(models_dir: Path) -> dict[str, Model]:
    """Read every model folder, by model name.

    Raises
    ------
    SpecError
        If the folder is missing, or any spec in it is wrong; the message names folder, field, value and what would be
        right.
    """
    if not models_dir.is_dir():
        raise SpecError(
            f"models_dir is {str(models_dir)!r}; it must be a folder with one folder a model, each with a spec.py"
        )
    models: dict[str, Model] = {}
    for spec_file in sorted(models_dir.glob("*/spec.py")):
        model = _load(spec_file.parent)
        if model.spec.name in models:
            raise SpecError(
                f"{spec_file}: the name {model.spec.name!r} is taken by {models[model.spec.name].folder.name}: "
                "each model needs its own"
            )
        models[model.spec.name] = model
    return models


def load_model(models_dir: Path, name: str) -> Model:
    """The model of that name.

    Raises
    ------
    UnknownModelError
        If there is none; the message lists those that there are.
    SpecError
        As in :func:`load_models`.
    """
    models = load_models(models_dir)
    if name not in models:
        raise UnknownModelError(f"there is no model {name!r} in {models_dir}; there are {sorted(models) or 'none'}")
    return models[name]


def _load(folder: Path) -> Model:
    try:
        spec = getattr(_import(folder, "spec"), "SPEC", None)
    except ValidationError as error:
        raise SpecError(_explain(folder / "spec.py", error)) from error
    if not isinstance(spec, ModelSpec):
        raise SpecError(f"{folder / 'spec.py'}: SPEC is {type(spec).__name__}; it must be a trimtab.spec.ModelSpec")
    model = Model(spec, folder)
    for reference in (spec.source, *(trainer.function for trainer in spec.trainers)):
        model.function(reference)
    return model


def _import(folder: Path, module_name: str) -> ModuleType:
    """Import a module of a model's folder, afresh when its file has changed."""
    package = "trimtab_models_" + content_id("m", str(folder.absolute())).removeprefix("m-")
    if package not in sys.modules:
        root = ModuleType(package)
        root.__path__ = [str(folder)]
        sys.modules[package] = root
    name = f"{package}.{module_name}"
    path = folder.joinpath(*module_name.split(".")).with_suffix(".py")
    if not path.is_file():
        raise SpecError(f"{folder.name}: there is no module {module_name!r}; {path} does not exist")
    loaded = sys.modules.get(name)
    stamp = path.stat().st_mtime_ns
    if loaded is not None and getattr(loaded, "__trimtab_stamp__", None) == stamp:
        return loaded
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except (ValidationError, SpecError):
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise SpecError(f"{path} does not import: {type(error).__name__}: {error}") from error
    module.__trimtab_stamp__ = stamp  # type: ignore[attr-defined]
    return module


def _explain(path: Path, error: ValidationError) -> str:
    lines = [f"{path}: the spec is refused:"]
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "spec"
        value = (
            "" if problem["type"] in ("missing", "value_error") and not problem["loc"] else f" is {problem['input']!r}"
        )
        value = " is missing" if problem["type"] == "missing" else value
        lines.append(f"  {where}{value}: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def _function_name(value: str) -> str:
    if not _FUNCTION.match(value):
        raise ValueError("must be 'module:function', looked up in the model's folder, such as 'data:load'")
    return value


def _unique(label: str, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{label} names {twice} more than once; each name must be there once")
