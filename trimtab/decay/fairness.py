"""How groups of people fare: selection rates by protected group, and the four-fifths ratio."""

from __future__ import annotations

import math

import numpy as np

from trimtab.records import Value

MINIMUM_GROUP_ROWS = 50
_Z = 1.959963984540054


class GroupRate(Value):
    """Share of a group that is selected (label 1), with its 95 % interval (Wilson 1927)."""

    group: str
    rows: int
    selected: int
    rate: float
    low: float
    high: float


class Selection(Value):
    """Selection rates of the groups of one column; groups of fewer than `MINIMUM_GROUP_ROWS` rows are left out.

    ``ratio`` is the lowest rate over the highest (the four-fifths rule of the EEOC's Uniform Guidelines, 1978, asks for
    0.8), with its 95 % interval on the log scale (Katz et al. 1978); None with fewer than two groups or none selected.
    """

    column: str
    groups: tuple[GroupRate, ...]
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int = 0


def selection(column: str, groups: np.ndarray, selected: np.ndarray) -> Selection:
    """Selection rates by group.

    Parameters
    ----------
    column
        The protected attribute.
    groups
        Each row's group, strings of shape (rows,); "null" is none.
    selected
        Whether each row's label is 1, bool of shape (rows,).
    """
    rates = []
    for group in sorted(set(groups) - {"null"}):
        rows = groups == group
        if (size := int(rows.sum())) >= MINIMUM_GROUP_ROWS:
            rates.append(_rate(str(group), size, int(selected[rows].sum())))
    return _with_ratio(column, tuple(rates))


def _rate(group: str, rows: int, selected: int) -> GroupRate:
    rate = selected / rows
    centre = (rate + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    margin = _Z / (1 + _Z**2 / rows) * math.sqrt(rate * (1 - rate) / rows + _Z**2 / (4 * rows**2))
    return GroupRate(
        group=group,
        rows=rows,
        selected=selected,
        rate=rate,
        low=max(0.0, min(rate, centre - margin)),
        high=min(1.0, max(rate, centre + margin)),
    )


def _with_ratio(column: str, rates: tuple[GroupRate, ...]) -> Selection:
    rows = sum(rate.rows for rate in rates)
    if len(rates) < 2 or not any(rate.selected for rate in rates):
        return Selection(column=column, groups=rates, rows=rows)
    least, most = min(rates, key=lambda rate: rate.rate), max(rates, key=lambda rate: rate.rate)
    ratio = least.rate / most.rate
    # Half a row is added to the counts, so that a group of which none is selected has an interval too.
    a, b = least.selected + 0.5, most.selected + 0.5
    spread = math.sqrt(max(0.0, 1 / a - 1 / (least.rows + 0.5) + 1 / b - 1 / (most.rows + 0.5)))
    middle = math.log(a / (least.rows + 0.5)) - math.log(b / (most.rows + 0.5))
    return Selection(
        column=column,
        groups=rates,
        ratio=ratio,
        low=min(ratio, math.exp(middle - _Z * spread)),
        high=max(ratio, math.exp(middle + _Z * spread)),
        rows=rows,
    )
