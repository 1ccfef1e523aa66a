"""A spec from a few lines of TOML, and thresholds to try on any spec."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
from pydantic import BaseModel, Field, ValidationError

from trimtab.answers import SCORE, score_names
from trimtab.backtest import trainers
from trimtab.backtest.files import (
    class_names,
    infer_features,
    is_feature,
    require_binary,
    require_columns,
    target_kind,
    with_positive,
)
from trimtab.errors import SpecError
from trimtab.records import Value
from trimtab.spec import ModelSpec

_SPAN = re.compile(r"^(\d+(?:\.\d+)?)\s*([smhdw])$")
USUAL_MATURITY = "1d"
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
FUNCTIONS = {
    "binary": ("trainers:boosting_classifier", trainers.boosting_classifier),
    "multiclass": ("trainers:boosting_classifier", trainers.boosting_classifier),
    "regression": ("trainers:boosting_regressor", trainers.boosting_regressor),
}
"""The trainer of each kind of target, by the name that a spec gives it."""


class SmallSpec(Value):
    """What must be known of a file to backtest it; a column is named by its heading.

    ``kind`` is what the target's values say if left out (`trimtab.backtest.files.target_kind`). ``positive`` is the
    value of a binary target that counts as 1, where its two values are not 0 and 1. ``features`` are all
    other columns if left out, but for those that name the row. ``classes`` of a multiclass
    target are those that the file holds if left out, sorted. ``score`` is what a deployed model said; of several
    classes the columns ``<score>.<class>``. ``window`` and ``maturity`` are spans such as ``7d`` or ``12h``; a maturity
    that is left out is `USUAL_MATURITY`, a window
    that is left out is as long as the rows ask for (`trimtab.backtest.prepare.usual_window`). ``parameters`` go to the
    trainer, scikit-learn's HistGradientBoosting. ``policy``, ``training``, ``gates`` and ``serving`` hold fields of the
    parts of `trimtab.spec.ModelSpec` of that name.
    """

    name: str = ""
    time: str = ""
    target: str = ""
    kind: str = ""
    positive: str = ""
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    score: str = ""
    window: str = ""
    maturity: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    policy: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    gates: dict[str, Any] = Field(default_factory=dict)
    serving: dict[str, Any] = Field(default_factory=dict)


def read_small_spec(path: Path | None, given: Mapping[str, Any]) -> SmallSpec:
    """The small spec of a TOML file, with what was given besides in place of what it says.

    Raises
    ------
    SpecError
        If there is no such file, it is no TOML, or a field is wrong.
    """
    fields: dict[str, Any] = {}
    if path is not None:
        try:
            fields = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise SpecError(f"there is no file {path}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SpecError(f"{path} is not TOML: {error}") from error
    fields |= {name: value for name, value in given.items() if value}
    try:
        small = SmallSpec.model_validate(fields)
    except ValidationError as error:
        raise SpecError(_explain(str(path or "the spec"), error, SmallSpec)) from error
    for name, option in (("time", "--time"), ("target", "--target")):
        if not getattr(small, name):
            raise SpecError(f"no {name} column is named; {option} or {name} = ... in the spec must name one")
    if small.kind and small.kind not in FUNCTIONS:
        raise SpecError(f"kind is {small.kind!r}; it must be one of {sorted(FUNCTIONS)}")
    if small.positive and small.kind not in ("", "binary"):
        raise SpecError(f"kind is {small.kind!r}, and only a binary target has a positive value; leave one of them out")
    return small


def with_target(small: SmallSpec, table: pa.Table) -> pa.Table:
    """The table with its target as 0 and 1, if the spec says which value is the positive one.

    Raises
    ------
    SpecError
        If the table lacks the target, or it holds no such two values.
    """
    if not small.positive:
        return table
    require_columns(table, {small.target: "target"})
    return with_positive(table, small.target, small.positive)


def model_spec(small: SmallSpec, name: str, table: pa.Table) -> tuple[ModelSpec, tuple[str, ...]]:
    """The whole spec of a file's model, and what a reader should know of it.

    Raises
    ------
    SpecError
        If the table lacks a column, or a field is wrong.
    """
    purposes = {small.time: "time", small.target: "target"}
    require_columns(table, purposes)
    kind, notes = small.kind, []
    if not kind:
        kind = "multiclass" if small.classes else target_kind(table[small.target])
        if kind != "binary":
            notes.append(f"--kind is left out: by its values {small.target!r} is of kind {kind}")
    classes = small.classes
    if kind != "regression":
        require_binary(small.target, table[small.target])
    if kind == "multiclass" and not classes:
        classes = class_names(table[small.target])
    said = [small.score + name.removeprefix(SCORE) for name in score_names(classes)] if small.score else []
    purposes |= dict.fromkeys(said, "score")
    require_columns(table, purposes | dict.fromkeys(small.features, "feature"))
    names = list(small.features)
    if not names:
        others = [column for column in table.column_names if column not in purposes]
        left_out = [column for column in others if not column or not is_feature(table[column])]
        names = [column for column in others if column not in left_out]
        if not names:
            raise SpecError(
                f"no column is left to be a feature: {left_out} name the row, differing in each, or hold none of "
                "numbers, texts and truth values; --features takes those that it names"
            )
        besides = f"; left out, as they name the row or hold none of numbers, texts and truth values: {left_out}"
        notes.append(f"the features are {', '.join(names)}" + (besides if left_out else ""))
    window = small.window or "7d"
    trainer = {"name": "boosting", "function": FUNCTIONS[kind][0], "parameters": small.parameters}
    fields = {
        "name": re.sub(r"[^a-z0-9-]+", "-", (small.name or name).lower()).strip("-0123456789") or "file",
        "source": "file:rows",
        "event_time": small.time,
        "target": {"name": small.target, "kind": kind, "classes": classes},
        "features": infer_features(table, names),
        "protected": small.protected,
        "suite": "none",
        "trainers": [trainer],
        "window": window,
        "label_maturity": small.maturity or USUAL_MATURITY,
        "policy": small.policy,
        "gates": small.gates,
        "serving": small.serving,
        "training": {"evaluation_window": window, "minimum_rows": 200, **small.training},
    }
    return _validated(fields, "the spec"), tuple(notes)


def with_settings(spec: ModelSpec, settings: Sequence[str]) -> ModelSpec:
    """The spec with some fields set: ``policy.performance_drop=0.01``, ``window=14d``, ``policy.persistence=[2,3]``.

    Raises
    ------
    SpecError
        If there is no such field, or the value is none for it.
    """
    fields = spec.model_dump()
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise SpecError(f"{setting!r} sets nothing; it must be FIELD=VALUE, such as policy.performance_drop=0.01")
        *parts, last = path.strip().split(".")
        at: Any = fields
        for part in parts:
            at = at.get(part) if isinstance(at, dict) else None
        if not isinstance(at, dict) or last not in at:
            close = get_close_matches(last, at if isinstance(at, dict) else fields, n=1)
            hint = f"; did you mean {'.'.join([*parts, close[0]])!r}?" if close else ""
            raise SpecError(f"{path!r} is no field of the spec{hint}")
        try:
            at[last] = json.loads(text)
        except ValueError:
            at[last] = text
    return _validated(fields, "--set")


def _validated(fields: dict[str, Any], where: str) -> ModelSpec:
    try:
        return ModelSpec.model_validate(_with_spans(ModelSpec, fields))
    except ValidationError as error:
        raise SpecError(_explain(where, error, ModelSpec)) from error


def _with_spans(part: type[BaseModel], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with texts such as ``7d`` as spans of time, where the part has spans; a time without a zone is in UTC."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        annotation = part.model_fields[name].annotation if name in part.model_fields else None
        inner = _part_of(annotation)
        if inner is not None and isinstance(value, Mapping):
            found[name] = _with_spans(inner, value)
        elif inner is not None and isinstance(value, list | tuple):
            found[name] = [_with_spans(inner, one) if isinstance(one, Mapping) else one for one in value]
        elif isinstance(value, str) and "timedelta" in str(annotation) and (match := _SPAN.match(value)):
            found[name] = timedelta(**{_UNITS[match[2]]: float(match[1])})
        elif isinstance(value, datetime) and value.tzinfo is None:
            found[name] = value.replace(tzinfo=UTC)
        else:
            found[name] = value
    return found


def _part_of(annotation: Any) -> type[BaseModel] | None:
    inner = (annotation, *get_args(annotation))
    return next((one for one in inner if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _explain(where: str, error: ValidationError, part: type[BaseModel]) -> str:
    lines = []
    for problem in error.errors():
        path = ".".join(str(step) for step in problem["loc"])
        if problem["type"] == "extra_forbidden":
            close = get_close_matches(str(problem["loc"][-1]), part.model_fields, n=1)
            lines.append(f"{path}: there is no such field" + (f"; did you mean {close[0]!r}?" if close else ""))
            continue
        value = f" is {problem['input']!r}" if not isinstance(problem["input"], dict) else ""
        message = problem["msg"].removeprefix("Value error, ").replace("such as timedelta(days=7)", "such as 7d or 12h")
        # What several fields do together has no place of its own, and names them.
        lines.append(f"{path}{value}: {message}" if path else message)
    return f"{where} is refused: " + "; ".join(lines)
