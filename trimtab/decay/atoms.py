"""Values that stand out of a column: a default that upstream puts where it knows none, and one that stands still."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from trimtab.decay.rows import Coded, longest_run
from trimtab.decay.soundness import ColumnSoundness, Soundness
from trimtab.records import Value
from trimtab.spec import FaultRule

SHARE_ROWS = 100_000
"""Values of a column that shares are counted on, evenly spaced in event time."""

DEFAULT_NUMBERS = frozenset(
    {
        *(0.0, -1.0, 1e9, 1900.0, 1970.0, 9999.0, 99999999.0, 19000101.0, 19700101.0, 99991231.0),
        *(sign * (10.0**digits - 1) for digits in range(2, 10) for sign in (1, -1)),
        *(2.0**31 - 1, -(2.0**31), 2.0**63, -(2.0**63)),
        -2208988800.0,
    }
)
"""Numbers that stand for none in many systems; the last is 1900-01-01 in seconds since 1970."""

_DEFAULT_TEXT = re.compile(
    r"(?i)^(|[-?.x]+|n/?a|nan|none|null|nil|unknown|undefined|unspecified|not (known|available|specified)|missing|"
    r"default|empty|tbd|to be determined|(0001-01-01|1900-01-01|1970-01-01|9999-12-31)([t ].*)?|-?9{2,}|-1|0+)$"
)
_STANDS_OUT = 3.0
_RARE = 0.01
_WHOLE, _MIXED = 0.999, 0.8
"""A column is one value from the first share on; a value that had the second in a span may honestly fill another."""
_EDGE = 0.005


class Fault(Value):
    """One thing that is broken. ``value`` is past ``threshold``; ``column`` is None where all columns are."""

    kind: str
    column: str | None = None
    value: float
    threshold: float
    rows: int
    detail: str


class Atoms:
    """The values of a window by their share, the largest first, and what share each had in the reference."""

    def __init__(self, column: Coded, values: np.ndarray, theirs: np.ndarray) -> None:
        self.column, self.rows, self.theirs = column, len(values), theirs
        distinct, counts = np.unique(values, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:SHARE_ROWS]
        self.values, self.shares = distinct[order], counts[order] / len(values)

    def before(self, value: float) -> float:
        """Share of the reference's values that are this one."""
        return float(np.mean(self.theirs == value)) if len(self.theirs) else 0.0

    def isdefault(self, value: float) -> bool:
        """Whether the value is one that stands for none."""
        if self.column.labels is None:
            return value in DEFAULT_NUMBERS
        return bool(_DEFAULT_TEXT.match(self.column.labels[int(value)].strip()))

    def at_the_edge(self, value: float) -> bool:
        """Whether the reference has a heap of it at its end, as where values are capped."""
        if self.column.labels is not None or not len(self.theirs):
            return False
        return value in (self.theirs.min(), self.theirs.max()) and self.before(value) >= _EDGE


def default(rule: FaultRule, name: str, atoms: Atoms) -> Iterator[Fault]:
    """Default values that were rare in the reference and now are not, while no other new value is as common."""
    if rule.default_share is None:
        return
    # Values are looked at as far as they are common: those that follow are rarer still.
    common = [
        (float(value), float(share))
        for value, share in zip(atoms.values[:64], atoms.shares[:64], strict=True)
        if share >= rule.default_share / _STANDS_OUT
    ]
    new = [(value, share, was) for value, share in common if (was := atoms.before(value)) <= _RARE]
    others = max((share for value, share, _ in new if not atoms.isdefault(value)), default=0.0)
    for value, share, was in new:
        least = max(rule.default_share, 10 * was, _STANDS_OUT * others)
        if atoms.isdefault(value) and share >= least:
            yield Fault(
                kind="default",
                column=name,
                value=share,
                threshold=least,
                rows=atoms.rows,
                detail=f"{atoms.column.name(value)} in {was:.2%} → {share:.1%} of rows",
            )


def frozen(
    rule: FaultRule, name: str, known: ColumnSoundness, sound: Soundness, atoms: Atoms, column: Coded
) -> Iterator[Fault]:
    """One value in far more rows than any in the reference's spans, in all rows, or in too many consecutive ones."""
    value, share = float(atoms.values[0]), float(atoms.shares[0])
    second = float(atoms.shares[1]) if len(atoms.shares) > 1 else 0.0
    was, least = atoms.before(value), _WHOLE
    if column.labels is None and rule.frozen_share is not None and not atoms.at_the_edge(value):
        least = min(_WHOLE, max(rule.frozen_share, _STANDS_OUT * known.top_share, 10 * was, _STANDS_OUT * second))
    whole = share >= _WHOLE and known.top_share <= _MIXED
    if rule.frozen_share is not None and (whole or _WHOLE > least <= share):
        yield Fault(
            kind="frozen",
            column=name,
            value=share,
            threshold=least,
            rows=atoms.rows,
            detail=f"{column.name(value)} in {was:.2%} → {share:.1%} of rows; no value had more than "
            f"{known.top_share:.1%} in any span of the reference",
        )
        return
    if column.labels is None and rule.frozen_run is not None and known.top_share <= 1 / _STANDS_OUT:
        yield from _stuck(rule.frozen_run, name, known, sound, atoms, column)


def _stuck(
    least_run: int, name: str, known: ColumnSoundness, sound: Soundness, atoms: Atoms, column: Coded
) -> Iterator[Fault]:
    run, value = longest_run(column.values)
    # With more rows an hour, what stands still for an hour fills more rows.
    busier = max(1.0, len(column.values) / max(1, sound.rows))
    least = max(least_run, _STANDS_OUT * known.longest_run * busier)
    if run >= least and not atoms.at_the_edge(value):
        yield Fault(
            kind="frozen",
            column=name,
            value=run,
            threshold=least,
            rows=len(column.values),
            detail=f"{column.name(value)} in {run:,} consecutive rows; the most before was {known.longest_run:,}",
        )
