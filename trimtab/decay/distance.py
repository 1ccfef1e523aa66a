"""How far a window is from the reference, column by column: effect sizes, and how sure one may be.

All are computed from two profiles on the same bins, so their cost does not depend on rows. All are 0 for equal shares
and grow as the two part; none has a sign.

====================  ==========  ==========================================================================
measure               range       source
====================  ==========  ==========================================================================
psi                   0 to inf    Siddiqi 2006, *Credit Risk Scorecards*; symmetric; 0.1 some, 0.2 much
jensen_shannon        0 to 1      Lin 1991; the distance (root of the divergence), base 2; symmetric
hellinger             0 to 1      Hellinger 1909; symmetric
total_variation       0 to 1      half the sum of the absolute differences; symmetric
wasserstein           0 to inf    Kantorovich 1942, in standard deviations of the reference; numeric only
ks                    0 to 1      Kolmogorov 1933, Smirnov 1939; numeric only; symmetric
chi_square            0 to inf    Press et al., *Numerical Recipes* 14.3: two samples, neither taken for exact
====================  ==========  ==========================================================================

`psi` to `total_variation` and `chi_square` are of about ten groups of equal reference mass for numbers, of the
categories for the rest, where rare ones are pooled (Cochran 1954). `wasserstein` and `ks` are of the profile's own
bins, with values beyond the reference's range moved to its ends, so that one absurd value moves nothing. Within a bin
values are taken to be spread evenly; where the reference has few distinct values both are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trimtab.decay.profile import ColumnProfile, Profile
from trimtab.records import Value

GROUPS = 10
MINIMUM_EXPECTED = 5.0

Counts = np.ndarray


class Distance(Value):
    """How far one column of a window is from the reference.

    ``p_value`` is that of `ks` for numbers and of `chi_square` for the rest; ``adjusted_p`` is corrected for the number
    of columns compared (Holm). ``rows`` and ``reference_rows`` count what is neither null nor infinite; without any on
    either side nothing is compared: the distances are 0 and the p-values 1.
    """

    column: str
    rows: int
    reference_rows: int
    null_share: float
    reference_null_share: float
    psi: float = 0.0
    jensen_shannon: float = 0.0
    hellinger: float = 0.0
    total_variation: float = 0.0
    wasserstein: float | None = None
    ks: float | None = None
    chi_square: float = 0.0
    p_value: float = 1.0
    adjusted_p: float = 1.0
    moved: str = ""


def compare(reference: Profile, window: Profile) -> tuple[Distance, ...]:
    """The distance of every column of the window from the reference's column of that name."""
    raw = [compare_column(reference.column(column.bins.column), column) for column in window.columns]
    adjusted = holm([distance.p_value for distance in raw])
    return tuple(one.model_copy(update={"adjusted_p": p}) for one, p in zip(raw, adjusted, strict=True))


def compare_column(reference: ColumnProfile, window: ColumnProfile) -> Distance:
    """The distance of one column, with its p-value not yet corrected."""
    facts = {
        "column": window.bins.column,
        "rows": window.valid,
        "reference_rows": reference.valid,
        "null_share": window.null_share,
        "reference_null_share": reference.null_share,
    }
    if not window.valid or not reference.valid:
        return Distance(**facts)
    ours, theirs, labels = groups(reference, window)
    p, q = ours / ours.sum(), theirs / theirs.sum()
    statistic, p_value = chi_square(ours, theirs)
    ks_distance, normed = None, None
    if window.bins.numeric:
        ks_distance = ks(np.asarray(reference.counts), np.asarray(window.counts))
        p_value = ks_p_value(ks_distance, reference.valid, window.valid)
        normed = normed_wasserstein(reference, window)
    return Distance(
        **facts,
        psi=psi(ours, theirs),
        jensen_shannon=jensen_shannon(p, q),
        hellinger=hellinger(p, q),
        total_variation=total_variation(p, q),
        wasserstein=normed,
        ks=ks_distance,
        chi_square=statistic,
        p_value=p_value,
        moved=_moved(p, q, labels),
    )


def groups(reference: ColumnProfile, window: ColumnProfile) -> tuple[Counts, Counts, tuple[str, ...]]:
    """Counts of the reference and of the window, each of shape (groups,), and the groups' names."""
    ours, theirs = np.asarray(reference.counts, dtype=float), np.asarray(window.counts, dtype=float)
    if not reference.bins.numeric:
        expected = (ours + theirs) * min(ours.sum(), theirs.sum()) / (ours.sum() + theirs.sum())
        rare = expected < MINIMUM_EXPECTED
        rare[-1] = True
        names = tuple(name for name, pooled in zip(reference.bins.categories, rare[:-1], strict=True) if not pooled)
        return _pool(ours, rare), _pool(theirs, rare), (*names, "other")
    middle = (np.cumsum(ours) - ours / 2) / ours.sum()
    _, group = np.unique(np.minimum((middle * GROUPS).astype(int), GROUPS - 1), return_inverse=True)
    edges = reference.bins.edges
    last = [int(np.flatnonzero(group == number)[-1]) for number in range(group.max() + 1)]
    upper = [f"{edges[position]:.4g}" if position < len(edges) else "" for position in last]
    names = tuple(_between(lower, higher) for lower, higher in zip(["", *upper], upper, strict=False))
    return np.bincount(group, weights=ours), np.bincount(group, weights=theirs), names


def psi(ours: Counts, theirs: Counts) -> float:
    """Population stability index of two counts of shape (groups,); half a row is added to each group, so that an empty
    one does not make it infinite."""
    p = (ours + 0.5) / (ours + 0.5).sum()
    q = (theirs + 0.5) / (theirs + 0.5).sum()
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(p: Counts, q: Counts) -> float:
    """Jensen-Shannon distance of two distributions of shape (groups,)."""
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return float(np.sqrt(min(max(divergence, 0.0), 1.0)))


def hellinger(p: Counts, q: Counts) -> float:
    """Hellinger distance of two distributions of shape (groups,)."""
    return float(min(1.0, np.sqrt(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2) / 2)))


def total_variation(p: Counts, q: Counts) -> float:
    """Total variation distance of two distributions of shape (groups,)."""
    return float(min(1.0, np.abs(p - q).sum() / 2))


def normed_wasserstein(reference: ColumnProfile, window: ColumnProfile) -> float | None:
    """Wasserstein-1 distance within the reference's range, in its standard deviations; None if it is constant."""
    ours, theirs = _cumulative(reference), _cumulative(window)
    edges = np.asarray(reference.bins.edges)
    if reference.bins.discrete:
        # All mass sits on the edges after the first.
        edges, ours, theirs = edges[1:], ours[1:], theirs[1:]
        weights = np.diff(ours, prepend=0.0)
        variance = float(np.sum(weights * edges**2) - np.sum(weights * edges) ** 2) if len(edges) else 0.0
        area = float(np.sum(np.abs(ours - theirs)[:-1] * np.diff(edges)))
    else:
        weights, widths = np.diff(ours), np.diff(edges)
        middle = (edges[:-1] + edges[1:]) / 2
        # Before the first edge and after the last lie what was moved to the ends.
        points, mass = np.r_[edges[0], middle, edges[-1]], np.r_[ours[0], weights, 1 - ours[-1]]
        mean = np.sum(mass * points)
        variance = float(np.sum(mass * (points - mean) ** 2) + np.sum(weights * widths**2) / 12)
        area = _area(ours - theirs, widths)
    spread = np.sqrt(max(variance, 0.0))
    return area / float(spread) if spread > 1e-12 * max(1.0, float(np.abs(edges).max(initial=0.0))) else None


def ks(ours: Counts, theirs: Counts) -> float:
    """Largest difference of the two cumulative distributions at the bins' edges, from counts of shape (bins,)."""
    difference = np.cumsum(ours) / ours.sum() - np.cumsum(theirs) / theirs.sum()
    return float(min(1.0, np.abs(difference).max()))


def ks_p_value(distance: float, rows: int, other_rows: int) -> float:
    """Two-sided asymptotic p-value of a two-sample Kolmogorov-Smirnov distance; conservative where values tie."""
    from scipy.special import kolmogorov

    return float(kolmogorov(distance * np.sqrt(rows * other_rows / (rows + other_rows))))


def chi_square(ours: Counts, theirs: Counts) -> tuple[float, float]:
    """Two-sample chi-square statistic and p-value of counts of shape (groups,)."""
    from scipy.special import chdtrc

    both = ours + theirs
    kept = both > 0
    if kept.sum() < 2:
        return 0.0, 1.0
    ratio = np.sqrt(theirs.sum() / ours.sum())
    statistic = float(np.sum((ours[kept] * ratio - theirs[kept] / ratio) ** 2 / both[kept]))
    return statistic, float(chdtrc(kept.sum() - 1, statistic))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979): the chance of any false one stays below the level."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[int(position)] = largest
    return adjusted


def _pool(counts: Counts, rare: np.ndarray) -> Counts:
    return np.append(counts[~rare], counts[rare].sum())


def _between(lower: str, upper: str) -> str:
    if lower and upper:
        return f"{lower} to {upper}"
    return f"up to {upper}" if upper else f"above {lower}"


def _cumulative(column: ColumnProfile) -> Counts:
    return np.cumsum(column.counts)[:-1] / column.valid


def _relative_entropy(p: Counts, q: Counts) -> float:
    kept = p > 0
    return float(np.sum(p[kept] * np.log2(p[kept] / q[kept])))


def _area(difference: np.ndarray, widths: np.ndarray) -> float:
    """Area between zero and a line through ``difference`` (edges,) over ``widths`` (edges - 1,)."""
    left, right = difference[:-1], difference[1:]
    total = np.abs(left) + np.abs(right)
    crossing = (left * right) < 0
    heights = np.where(crossing, (left**2 + right**2) / np.where(total > 0, total, 1.0), total) / 2
    return float(np.sum(heights * widths))


def _moved(p: Counts, q: Counts, labels: Sequence[str]) -> str:
    most = int(np.argmax(np.abs(q - p)))
    return f"{labels[most]}: {p[most]:.1%} → {q[most]:.1%}"
