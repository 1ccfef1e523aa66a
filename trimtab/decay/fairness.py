"""How groups of people fare beside each other: by protected attribute, and by two of them at once.

Selection rates and their ratio need no outcomes; true and false positive rates (equalised odds: Hardt, Price & Srebro
2016) and calibration (mean outcome minus mean score) do. A group with fewer rows than the spec's ``minimum_group_rows``
is left out. Intervals are 95 % for all pairs of groups at once (Bonferroni), because the two that lie farthest apart
are picked after the fact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from trimtab.decay.slices import Groups
from trimtab.records import Value

MAXIMUM_GROUPS = 50
TRUE_POSITIVE_RATE, FALSE_POSITIVE_RATE, CALIBRATION = "true_positive_rate", "false_positive_rate", "calibration"


class GroupRate(Value):
    """Share of a group that is selected (label 1), with its interval (Wilson 1927)."""

    group: str
    rows: int
    selected: int
    rate: float
    low: float
    high: float


class Selection(Value):
    """Selection rates of the groups of one column.

    ``ratio`` is the lowest rate over the highest (the four-fifths rule of the EEOC's Uniform Guidelines, 1978, asks for
    0.8), with its interval on the log scale (Katz et al. 1978); None with fewer than two groups or none selected.
    """

    column: str
    groups: tuple[GroupRate, ...]
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int = 0


class GroupMean(Value):
    """A measure of one group, over that many rows, with its interval."""

    group: str
    rows: int
    value: float
    low: float
    high: float


class Gap(Value):
    """By how much a measure differs between the two groups that are farthest apart: ``value``, with its interval.

    ``groups`` by falling value; of a rate the interval is Newcombe's hybrid score (1998).
    """

    measure: str
    column: str
    groups: tuple[GroupMean, ...]
    value: float
    low: float
    high: float
    rows: int


def selection(column: str, groups: Groups, selected: np.ndarray, minimum_rows: int) -> Selection:
    """Selection rates by group.

    Parameters
    ----------
    column
        The protected attribute, or two of them.
    groups
        Each row's group; the `MAXIMUM_GROUPS` with the most rows are looked at.
    selected
        Whether each row's label is 1, bool of shape (rows,).
    minimum_rows
        A group needs.
    """
    rates, z = _rates(groups, selected, minimum_rows)
    return _with_ratio(column, tuple(sorted(rates, key=lambda rate: rate.group)), z)


def gaps(
    column: str, groups: Groups, scores: np.ndarray, outcomes: np.ndarray, selected: np.ndarray | None, minimum: int
) -> Iterator[Gap]:
    """What differs between groups once outcomes are known.

    Parameters
    ----------
    column, groups, minimum
        As for :func:`selection`.
    scores, outcomes
        Float64 of shape (rows,).
    selected
        Whether each row's label is 1, bool of shape (rows,); None where there is no such label: only calibration, the
        mean of outcome minus score, is compared then.
    """
    groups = groups.largest(MAXIMUM_GROUPS)
    if selected is not None:
        for measure, outcome in ((TRUE_POSITIVE_RATE, 1), (FALSE_POSITIVE_RATE, 0)):
            of_outcome = Groups(groups.names, np.where(outcomes == outcome, groups.codes, -1))
            rates, _ = _rates(of_outcome, selected, minimum)
            means = [GroupMean(group=r.group, rows=r.rows, value=r.rate, low=r.low, high=r.high) for r in rates]
            yield from _gap(measure, column, means)
    yield from _gap(CALIBRATION, column, _means(groups, outcomes - scores, minimum))


def _rates(groups: Groups, selected: np.ndarray, minimum: int) -> tuple[list[GroupRate], float]:
    groups = groups.largest(MAXIMUM_GROUPS)
    # Codes from -1 are counted from 0: what is in no group is the first count.
    counts = np.bincount((groups.codes + 1) * 2 + selected, minlength=2 * len(groups.names) + 2).reshape(-1, 2)[1:]
    enough = np.flatnonzero(counts.sum(axis=1) >= minimum)
    z = _quantile(len(enough))
    return [_rate(groups.names[at], int(counts[at].sum()), int(counts[at, 1]), z) for at in enough], z


def _means(groups: Groups, values: np.ndarray, minimum: int) -> list[GroupMean]:
    at, size = groups.codes + 1, len(groups.names) + 1
    counts = np.bincount(at, minlength=size)[1:]
    # About the mean of all: squares of values far from zero would lose the digits of their spread.
    centre = float(values.mean()) if len(values) else 0.0
    sums, squares = (np.bincount(at, (values - centre) ** power, size)[1:] for power in (1, 2))
    enough = np.flatnonzero(counts >= minimum)
    z = _quantile(len(enough))
    found = []
    for one in enough:
        mean = sums[one] / counts[one]
        margin = z * math.sqrt(max(0.0, squares[one] / counts[one] - mean**2) / (counts[one] - 1))
        value = float(mean) + centre
        found.append(
            GroupMean(
                group=groups.names[one], rows=int(counts[one]), value=value, low=value - margin, high=value + margin
            )
        )
    return found


def _gap(measure: str, column: str, groups: list[GroupMean]) -> Iterator[Gap]:
    if len(groups) < 2:
        return
    ordered = sorted(groups, key=lambda group: (-group.value, group.group))
    most, least = ordered[0], ordered[-1]
    value = most.value - least.value
    yield Gap(
        measure=measure,
        column=column,
        groups=tuple(ordered),
        value=value,
        low=max(0.0, value - math.hypot(most.value - most.low, least.high - least.value)),
        high=value + math.hypot(most.high - most.value, least.value - least.low),
        rows=sum(group.rows for group in groups),
    )


def _quantile(groups: int) -> float:
    pairs = max(1, groups * (groups - 1) // 2)
    return NormalDist().inv_cdf(1 - 0.025 / pairs)


def _rate(group: str, rows: int, selected: int, z: float) -> GroupRate:
    rate = selected / rows
    centre = (rate + z**2 / (2 * rows)) / (1 + z**2 / rows)
    margin = z / (1 + z**2 / rows) * math.sqrt(rate * (1 - rate) / rows + z**2 / (4 * rows**2))
    return GroupRate(
        group=group,
        rows=rows,
        selected=selected,
        rate=rate,
        low=max(0.0, min(rate, centre - margin)),
        high=min(1.0, max(rate, centre + margin)),
    )


def _with_ratio(column: str, rates: tuple[GroupRate, ...], z: float) -> Selection:
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
        low=min(ratio, math.exp(middle - z * spread)),
        high=max(ratio, math.exp(middle + z * spread)),
        rows=rows,
    )
