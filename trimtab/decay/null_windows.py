"""How far windows are from the reference when nothing has changed: what a distance is worth, given the window's rows.

The PSI of a window that was drawn from the reference grows with the number of groups and falls with rows. Its law is
found by drawing: `DRAWS` pairs of a reference and a window of the same sizes from the reference's own shares (so the
reference is a sample too, never taken for exact), column by column from the counts of the profile; the cost does not
depend on rows, and the seed is fixed. To reach small p-values the drawn ones are fitted by ``scale`` times a chi-square
with ``degrees`` of freedom (their mean and variance), which is PSI's law for many rows (Yurdakul & Naranjo 2020).

Taken for granted: rows are independent of each other. Rows that come in clusters (flights of one storm) are farther
apart by chance than that; for those the reference says how far its own windows were (own_windows.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from trimtab.decay.distance import MINIMUM_EXPECTED, Distance, groups, holm
from trimtab.decay.profile import ColumnProfile, Profile

DRAWS = 1_000
_SEED = 20130101


@dataclass(frozen=True)
class NullLaw:
    """The law of a column's PSI in null windows: ``scale`` times a chi-square with ``degrees`` of freedom."""

    scale: float
    degrees: float

    def p_value(self, psi: float, tolerated: float = 0.0) -> float:
        """How likely a PSI of ``psi`` or more is where the true one is ``tolerated`` at most.

        A true PSI shifts the chi-square's centre: noncentral, by ``tolerated / scale`` (its law under local
        alternatives).
        """
        if self.scale <= 0:
            return 1.0 if psi <= tolerated else 0.0
        if tolerated <= 0:
            return float(chdtrc(self.degrees, psi / self.scale))
        from scipy.stats import ncx2

        return float(ncx2.sf(psi / self.scale, self.degrees, tolerated / self.scale))


def null_law(reference: ColumnProfile, window: ColumnProfile, draws: int = DRAWS) -> NullLaw:
    """The law of the PSI of windows of as many rows as this one, drawn from the reference."""
    rows, reference_rows = window.valid, reference.valid
    if not rows or not reference_rows:
        return NullLaw(0.0, 1.0)
    if reference.bins.numeric:
        counts, _, _ = groups(reference, window)
    else:
        counts = np.asarray(reference.counts, dtype=float)
    shares = counts / counts.sum()
    random = np.random.default_rng(_SEED)
    ours = random.multinomial(reference_rows, shares, size=draws).astype(float)
    theirs = random.multinomial(rows, shares, size=draws).astype(float)
    if not reference.bins.numeric:
        ours, theirs = _pooled(ours, theirs)
    drawn = _psi(ours, theirs)
    mean, variance = float(drawn.mean()), float(drawn.var())
    if variance <= 0:
        return NullLaw(0.0, 1.0)
    return NullLaw(variance / (2 * mean), 2 * mean**2 / variance)


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


def _pooled(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of shape (draws, categories + 1) with the rare ones of each draw added to its last, as `groups` does."""
    totals = ours.sum(axis=1, keepdims=True), theirs.sum(axis=1, keepdims=True)
    rare = (ours + theirs) * np.minimum(*totals) / (totals[0] + totals[1]) < MINIMUM_EXPECTED
    rare[:, -1] = True
    return tuple(  # type: ignore[return-value]
        np.column_stack([np.where(rare, 0.0, counts)[:, :-1], np.where(rare, counts, 0.0).sum(axis=1)])
        for counts in (ours, theirs)
    )


def _psi(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """`psi` of each row of counts of shape (draws, groups); a group that is empty on both sides does not exist."""
    exists = (ours + theirs) > 0
    exists[:, -1] = True
    ours, theirs = np.where(exists, ours + 0.5, 0.0), np.where(exists, theirs + 0.5, 0.0)
    p, q = ours / ours.sum(axis=1, keepdims=True), theirs / theirs.sum(axis=1, keepdims=True)
    ratio = np.log(np.where(exists, q, 1.0) / np.where(exists, p, 1.0))
    return np.asarray(((q - p) * ratio).sum(axis=1))
