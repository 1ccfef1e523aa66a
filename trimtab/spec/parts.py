"""What every part of a spec is: frozen, without unknown fields; and the checks that several share."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


def _as_span(value: Any) -> Any:
    if not isinstance(value, (timedelta, str)) or (isinstance(value, str) and not value.startswith(("P", "-P"))):
        raise ValueError("must be a timedelta, such as timedelta(days=7)")
    return value


Span = Annotated[timedelta, BeforeValidator(_as_span)]
"""A length of time; in JSON as ISO 8601. A bare number, which would count as seconds, is refused."""


def in_words(span: timedelta) -> str:
    """A length of time for people: ``21 days``, ``1 day``, ``12 hours``; others with hours, minutes, seconds."""
    for unit, name in ((timedelta(days=1), "day"), (timedelta(hours=1), "hour")):
        if span >= unit and span % unit == timedelta(0):
            count = span // unit
            return f"{count} {name}" if count == 1 else f"{count} {name}s"
    return str(span)


class Part(BaseModel):
    """A frozen value; a field that it does not have is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def require_unique(label: str, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{label} names {twice} more than once; each name must be there once")


def function_name(value: str) -> str:
    if not _FUNCTION.match(value):
        raise ValueError("must be 'module:function', looked up in the model's folder, such as 'data:load'")
    return value


def k_of_m(value: tuple[int, int]) -> tuple[int, int]:
    k, m = value
    if not 1 <= k <= m:
        raise ValueError(f"persistence is {value}; it must be (k, m) with 1 <= k <= m")
    return value
