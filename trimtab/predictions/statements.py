"""Statements of outcomes in columns, and the rule by which each is judged; many at once, nothing is stored here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Fate(IntEnum):
    """What becomes of a statement."""

    ACCEPTED = 0
    DUPLICATE = 1
    CORRECTED = 2
    CONFLICT = 3
    UNKNOWN = 4
    """No such prediction is on record."""


@dataclass(frozen=True, slots=True)
class Statements:
    """n statements, in the order in which they are to count.

    Parameters
    ----------
    ids : pyarrow.Array
        (n,) prediction ids, fixed-size binary of 16.
    values : numpy.ndarray
        (n,) float64, all finite.
    observed_at : numpy.ndarray
        (n,) int64, microseconds since 1970.
    corrections : numpy.ndarray
        (n,) bool.
    """

    ids: pa.Array
    values: np.ndarray
    observed_at: np.ndarray
    corrections: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def take(self, places: np.ndarray) -> Statements:
        """Those at these places, in that order."""
        return Statements(
            self.ids.take(pa.array(places)), self.values[places], self.observed_at[places], self.corrections[places]
        )

    def by_id(self) -> tuple[np.ndarray, np.ndarray]:
        """Places ordered by id, statements of one id in their own order; and of each of them the number of its id."""
        order = pc.sort_indices(self.ids).to_numpy()
        ids = self.ids.take(pa.array(order))
        steps = pc.not_equal(ids.slice(1), ids.slice(0, max(0, len(ids) - 1))).to_numpy(zero_copy_only=False)
        return order, np.concatenate([np.zeros(min(1, len(ids)), np.int64), np.cumsum(steps, dtype=np.int64)])


@dataclass(frozen=True, slots=True)
class History:
    """What was stated before, ordered by the number of the id (as :meth:`Statements.by_id` counts) and then as stated.

    Three arrays of one length: int64, float64, int64 (microseconds since 1970).
    """

    numbers: np.ndarray
    values: np.ndarray
    observed_at: np.ndarray


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fate of each statement, (n,) int8; and the value that it met, (n,) float64, NaN where there was none."""

    fates: np.ndarray
    standing: np.ndarray

    def places(self, *fates: Fate) -> np.ndarray:
        """Where these fates are, ascending."""
        return np.flatnonzero(np.isin(self.fates, fates))

    def count(self, fate: Fate) -> int:
        """How many statements have it."""
        return int(np.count_nonzero(self.fates == fate))


def judge(given: Statements, history: History) -> Verdict:
    """What becomes of each statement, as if they came one by one; one that conflicts leaves no trace.

    A first value is accepted. A value that was stated before is a duplicate. Another one is a correction where it is
    marked as one and differs from the value that counts, else a conflict. A correction that was stated before, value
    and time, is a duplicate.
    """
    order, numbers = given.by_id()
    n_ids = int(numbers[-1]) + 1 if len(numbers) else 0
    past = np.bincount(history.numbers, minlength=n_ids)
    alone = np.bincount(numbers, minlength=n_ids) == 1
    fates = np.full(len(given), Fate.ACCEPTED, np.int8)
    standing = np.full(len(given), np.nan)
    starts = np.concatenate([[0], np.cumsum(past)])
    # Most ids come once, with at most one statement before: these are judged together, the others one by one.
    once = (alone & (past == 1))[numbers]
    places, before = order[once], history.values[starts[numbers[once]]]
    fates[places] = np.where(
        given.values[places] == before,
        Fate.DUPLICATE,
        np.where(given.corrections[places], Fate.CORRECTED, Fate.CONFLICT),
    )
    standing[places] = before
    number, known = -1, []
    for place, its in zip(order.tolist(), numbers.tolist(), strict=True) if _any_other(alone, past) else ():
        if alone[its] and past[its] <= 1:
            continue
        if its != number:
            span = slice(starts[its], starts[its + 1])
            known = list(zip(history.values[span].tolist(), history.observed_at[span].tolist(), strict=True))
            number = its
        one = (float(given.values[place]), int(given.observed_at[place]))
        if known:
            standing[place] = known[-1][0]
        fate = fates[place] = _fate(one, bool(given.corrections[place]), known)
        if fate in (Fate.ACCEPTED, Fate.CORRECTED):
            known.append(one)
    return Verdict(fates, standing)


def _any_other(alone: np.ndarray, past: np.ndarray) -> bool:
    return not bool(np.all(alone & (past <= 1)))


def _fate(one: tuple[float, int], correction: bool, known: list[tuple[float, int]]) -> Fate:
    if not known:
        return Fate.ACCEPTED
    if correction and one not in known and one[0] != known[-1][0]:
        return Fate.CORRECTED
    if correction or one[0] in [value for value, _ in known]:
        return Fate.DUPLICATE
    return Fate.CONFLICT
