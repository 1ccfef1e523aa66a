"""Values as people read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trimtab.answers import number_text
from trimtab.records import Metric


def said(value: Any) -> str:
    """Times to the second, numbers in full, ``missing`` for None."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC" if value.utcoffset() is not None else f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return number_text(value)
    return "missing" if value is None else str(value)


def number(value: float | None) -> str:
    """To four digits."""
    return "none" if value is None else f"{value:.4g}"


def against(value: float | None, threshold: float | None) -> str:
    """``0.49 against 0.1; ``, as far as there are such numbers."""
    if value is None:
        return ""
    return f"{number(value)}; " if threshold is None else f"{number(value)} against {number(threshold)}; "


def interval(metric: Metric) -> str:
    """A metric with its interval and the rows that it stands on."""
    return f"{metric.value:.4f} (95 % interval {metric.low:.4f} to {metric.high:.4f}, {metric.rows:,} rows)"
