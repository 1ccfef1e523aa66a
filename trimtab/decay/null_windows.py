"""How far windows are from the reference when nothing has changed: what a distance is worth, given the window's rows.

The PSI of a window that was drawn from the reference grows with the number of groups and falls with rows. Its law is
found by drawing: `DRAWS` pairs of a reference and a window of the same sizes from the reference's own shares (so the
reference is a sample too, never taken for exact), or from the shares of both where the window has more rows; column by
column from the counts of the profile. The cost does not depend on rows, and the seed is fixed. To reach small p-values
the drawn ones are fitted, by mean and variance, by a chi-square of one degree of freedom less than there are groups,
times ``scale`` plus ``offset``: PSI's law for many rows (Yurdakul & Naranjo 2020), and the half rows that PSI adds to
each group.

Taken for granted: rows are independent of each other. Rows that come in clusters (flights of one storm) are farther
apart by chance than that; for those the reference says how far its own windows were (own_windows.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import chdtrc

from trimtab.decay.distance import MINIMUM_EXPECTED, Distance, groups, holm
from trimtab.decay.profile import ColumnProfile, Profile

DRAWS = 1_000
_SEED = 20130101


@dataclass(frozen=True)
class NullLaw:
    """The law of a column's PSI in null windows: ``offset`` plus ``scale`` times a chi-square with ``degrees`` of
    freedom."""

    offset: float
    scale: float
    degrees: float

    def p_value(self, psi: float, tolerated: float = 0.0) -> float:
        """How likely a PSI of ``psi`` or more is where the true one is ``tolerated`` at most.

        A true PSI shifts the chi-square's centre: noncentral, by ``tolerated / scale`` (its law under local
        alternatives).
        """
        if self.scale <= 0:
            return 1.0 if psi <= self.offset + tolerated else 0.0
        deviate = max(psi - self.offset, 0.0) / self.scale
        if tolerated <= 0:
            return float(chdtrc(self.degrees, deviate))
        from scipy.stats import ncx2

        return float(ncx2.sf(deviate, self.degrees, tolerated / self.scale))


def null_law(reference: ColumnProfile, window: ColumnProfile, draws: int = DRAWS) -> NullLaw:
    """The law of the PSI of windows of as many rows as this one, drawn from the reference."""
    rows, reference_rows = window.valid, reference.valid
    if not rows or not reference_rows:
        return NullLaw(0.0, 0.0, 1.0)
    if reference.bins.numeric:
        counts, others, _ = groups(reference, window)
    else:
        counts, others = reference.count_array, window.count_array
    # A small reference tells the shares of rare categories badly: the rows of a larger window tell them too.
    if rows > reference_rows:
        counts = counts + others
    return _drawn_law(tuple(counts.tolist()), reference_rows, rows, reference.bins.numeric, draws)


@lru_cache(maxsize=1_024)
def _drawn_law(counts: tuple[float, ...], reference_rows: int, rows: int, numeric: bool, draws: int) -> NullLaw:
    """Kept, because the same windows come again: in a backtest under another policy, of a fixed number of rows."""
    shares = np.asarray(counts) / sum(counts)
    random = np.random.default_rng(_SEED)
    ours = random.multinomial(reference_rows, shares, size=draws).astype(float)
    theirs = random.multinomial(rows, shares, size=draws).astype(float)
    pooled = np.zeros(ours.shape, dtype=bool) if numeric else _rare(ours, theirs)
    drawn = _psi(ours, theirs, pooled)
    mean, deviation = float(drawn.mean()), float(drawn.std())
    # Groups that no draw filled vary in nothing.
    filled = ((ours + theirs) > 0) & ~pooled
    filled[:, -1] |= ((ours + theirs) * pooled).sum(axis=1) > 0
    degrees = max(float(filled.sum(axis=1).mean()) - 1, 1.0)
    scale = deviation / math.sqrt(2 * degrees)
    return NullLaw(mean - scale * degrees, scale, degrees)


def null_laws(reference: Profile, window: Profile) -> dict[str, NullLaw]:
    """The law of every column of the window, by column."""
    return {column.bins.column: null_law(reference.column(column.bins.column), column) for column in window.columns}


def calibrated(distances: Sequence[Distance], laws: dict[str, NullLaw]) -> tuple[Distance, ...]:
    """The distances with the p-values that null windows give their PSI, and these corrected for their number (Holm).

    The chance that any column of a null window has an adjusted p-value below a level is that level at most, however the
    columns hang together.
    """
    raw = [laws[one.column].p_value(one.psi) if one.rows and one.reference_rows else 1.0 for one in distances]
    return tuple(
        one.model_copy(update={"p_value": p_value, "adjusted_p": adjusted})
        for one, p_value, adjusted in zip(distances, raw, holm(raw), strict=True)
    )


def _rare(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Which categories `groups` would add to the last, by draw; of shape (draws, categories + 1)."""
    totals = ours.sum(axis=1, keepdims=True), theirs.sum(axis=1, keepdims=True)
    return np.asarray((ours + theirs) * np.minimum(*totals) / (totals[0] + totals[1]) < MINIMUM_EXPECTED)


def _psi(ours: np.ndarray, theirs: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """`psi` of each row of counts of shape (draws, groups), with the pooled ones added to the last."""
    exists = ~pooled
    exists[:, -1] = True
    rest = ~exists
    sides = []
    for counts in (ours, theirs):
        kept = np.where(exists, counts + 0.5, 0.0)
        kept[:, -1] += np.where(rest, counts, 0.0).sum(axis=1)
        sides.append(kept / kept.sum(axis=1, keepdims=True))
    p, q = sides
    ratio = np.log(np.where(exists, q, 1.0) / np.where(exists, p, 1.0))
    return np.asarray(((q - p) * ratio).sum(axis=1))
