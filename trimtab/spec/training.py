"""How a model is trained: its target and features, its trainers, the rows, and the gates."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from trimtab.spec.parts import Part, Span, function_name, require_unique

MAXIMUM_CANDIDATES = 12
"""Trainers times training windows: each is trained, evaluated and gated at every retraining."""


class Feature(Part):
    """One input of the model.

    ``number`` and ``integer`` are sent as numbers, ``category`` as strings, ``boolean`` as booleans. A category that
    was not seen at training is treated as missing. ``nullable`` says whether null is allowed in a request.
    """

    name: str = Field(min_length=1)
    type: Literal["number", "integer", "category", "boolean"]
    nullable: bool = True
    description: str = ""


class Target(Part):
    """What is predicted. ``binary`` is 0 or 1 and the score is the probability of 1; ``regression`` is a number.

    ``multiclass`` is one of ``classes``, as the text that the source returns (whole numbers as their digits), and the
    scores are the probability of each, in columns ``score.<class>``; ``label`` is the likeliest. Outcomes are kept by
    the place of their class: once a model has served, classes are added at the end, never moved or taken away.
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
        if not all(self.classes):
            raise ValueError(f"classes is {self.classes}; each must have a name")
        return self


class Trainer(Part):
    """One way to make a candidate: a function ``(matrix, target, categorical, seed, **parameters) -> estimator``.

    ``matrix`` is float64 of shape (rows, features) with categories as codes and NaN for missing, ``categorical`` a
    boolean array of shape (features,); the estimator follows scikit-learn's ``predict_proba`` (binary, multiclass) or
    ``predict``. A multiclass ``target`` is the place of the class, 0 for the first, int64.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    function: str
    seed: int = 0
    parameters: dict[str, Any] = Field(default_factory=dict)

    _check_function = field_validator("function")(lambda value: function_name(value))


class TrainingWindow(Part):
    """Rows that a candidate is trained on, up to the slice that judges (trimtab/training/windows.py).

    ``span`` is a length of time, ``"all"`` (since ``training.earliest``), or ``"since_change"``: since the window from
    which on the serving release's performance, answers or features were off; where that is not known or gives too few
    rows, ``training.window``.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    span: Literal["all", "since_change"] | Span

    @field_validator("span")
    @classmethod
    def _is_longer_than_zero(cls, value: Any) -> Any:
        if isinstance(value, timedelta) and value <= timedelta(0):
            raise ValueError(f"is {value}; it must be longer than zero")
        return value


class Training(Part):
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
        require_unique("training.windows", [window.name for window in self.windows])
        if self.earliest is None and (of_all := [window.name for window in self.windows if window.span == "all"]):
            raise ValueError(
                f"window {of_all[0]!r} is 'all' and earliest is not given; it must say since when there are rows, "
                "such as datetime(2024, 1, 1, tzinfo=UTC)"
            )
        return self


class Gates(Part):
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
