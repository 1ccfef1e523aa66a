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
wasserstein           0 to inf    Kantorovich 1942, winsorised, in standard deviations of the winsorised reference;
                                  numeric only
wasserstein_raw       0 to inf    the same of all values as they are, in standard deviations of the reference
ks                    0 to 1      Kolmogorov 1933, Smirnov 1939; numeric only; symmetric
chi_square            0 to inf    Press et al., *Numerical Recipes* 14.3: two samples, neither taken for exact
====================  ==========  ==========================================================================

`psi` to `total_variation` and `chi_square` are of about ten groups of equal reference mass for numbers, of the
categories for the rest, where rare ones are pooled (Cochran 1954). `wasserstein` and `ks` are of the profile's own
bins: `wasserstein` moves values beyond the reference's outermost thousandths to these, so that one absurd value moves
nothing, and `wasserstein_raw` shows what it would do, or is None where that is more than float64 holds. Both are the
middle of the bounds in wasserstein.py. `ks` is a lower bound that misses at most what lies within one bin; where the
reference has few distinct values all are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trimtab.decay.profile import ColumnProfile, Profile
from trimtab.decay.wasserstein import wasserstein_bounds, winsorised
from trimtab.errors import TrimtabError
from trimtab.records import Value

GROUPS = 10
MINIMUM_EXPECTED = 5.0

Counts = np.ndarray
_NO_TIES = np.empty(0)


class Distance(Value):
    """How far one column of a window is from the reference.

    ``p_value`` is that of `ks` for numbers and of `chi_square` for the rest; ``adjusted_p`` is corrected for the number
    of columns compared (Holm). ``rows`` and ``reference_rows`` count what is neither null nor infinite; without any on
    either side nothing is compared: the distances are 0 and the p-values 1. ``beyond_share`` is the share of numbers
    outside the reference's range. ``new_categories`` are some that the reference certainly had not (at most
    `MAXIMUM_OTHERS`), ``lost_categories`` those of its own that did not come.
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
    wasserstein_raw: float | None = None
    ks: float | None = None
    chi_square: float = 0.0
    p_value: float = 1.0
    adjusted_p: float = 1.0
    moved: str = ""
    beyond_share: float = 0.0
    new_categories: tuple[str, ...] = ()
    lost_categories: tuple[str, ...] = ()


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
    ks_distance: float | None = None
    particular: dict[str, Any] = {}
    if window.bins.numeric:
        ks_distance = ks(reference.count_array, window.count_array, np.asarray(window.ties))
        p_value = ks_p_value(ks_distance, reference.valid, window.valid)
        particular = {
            "wasserstein": normed_wasserstein(reference, window),
            "wasserstein_raw": raw_wasserstein(reference, window),
            "beyond_share": (window.below + window.above) / window.valid,
        }
    else:
        particular = {"new_categories": new_categories(reference, window), "lost_categories": lost(reference, window)}
    return Distance(
        **facts,
        psi=psi(ours, theirs),
        jensen_shannon=jensen_shannon(p, q),
        hellinger=hellinger(p, q),
        total_variation=total_variation(p, q),
        **particular,
        ks=ks_distance,
        chi_square=statistic,
        p_value=p_value,
        moved=_moved(p, q, labels),
    )


def groups(reference: ColumnProfile, window: ColumnProfile) -> tuple[Counts, Counts, tuple[str, ...]]:
    """Counts of the reference and of the window, each of shape (groups,), and the groups' names."""
    ours, theirs = reference.count_array, window.count_array
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
    """Winsorised Wasserstein-1 distance in standard deviations of the winsorised reference; None if it is constant."""
    found = winsorised(reference, window)
    return None if found is None else found.middle


def raw_wasserstein(reference: ColumnProfile, window: ColumnProfile) -> float | None:
    """Wasserstein-1 distance of all values in standard deviations of the reference; None if it is constant, for
    profiles of format 1, and where values are too large for their sums and squares, or the distance, to be float64."""
    found = wasserstein_bounds(reference, window)
    if found is None or not 0 < reference.deviation < math.inf:
        return None
    distance = found.middle / reference.deviation
    return distance if math.isfinite(distance) else None


def ks(ours: Counts, theirs: Counts, ties: Counts = _NO_TIES) -> float:
    """Largest difference of the two cumulative distributions at the bins' edges, from counts of shape (bins,).

    With ``ties``, how many of theirs equal their bin's upper edge where all of ours do, it is that at all values.
    """
    f, g = np.cumsum(ours) / ours.sum(), np.cumsum(theirs) / theirs.sum()
    found = float(np.abs(f - g).max())
    if len(ties):
        before_ours = np.concatenate([[0.0], f[:-1]])
        found = max(found, float((g - ties / theirs.sum() - before_ours).max()))
    return min(1.0, found)


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


def weighted(distances: Sequence[Distance], importance: Mapping[str, float], measure: str = "jensen_shannon") -> float:
    """Mean distance of the features, each weighted by its importance to the model.

    Parameters
    ----------
    distances
        Of the features; those without an importance do not count.
    importance
        By feature, none negative; only their ratios matter.
    measure
        Which field of `Distance`; it should be one that all columns have and that is bounded.

    Raises
    ------
    TrimtabError
        If an importance is negative or no number, or no compared feature has any.
    """
    if faulty := {name: weight for name, weight in importance.items() if not 0 <= weight < np.inf}:
        raise TrimtabError(f"importances must be finite and not negative, not {faulty}")
    known = [(importance.get(one.column, 0.0), getattr(one, measure)) for one in distances]
    used = [(weight, value) for weight, value in known if value is not None]
    total = sum(weight for weight, _ in used)
    if not total:
        raise TrimtabError(f"no importance among {sorted(importance)} is that of a compared feature")
    return float(sum(weight * value for weight, value in used) / total)


def new_categories(reference: ColumnProfile, window: ColumnProfile) -> tuple[str, ...]:
    """Categories of the window that the reference certainly had not, in order; some of them if there are many."""
    # Whoever forgot some of its own others cannot tell which are new.
    is_sure = reference.knows_all_others and sum(reference.others.values()) == reference.counts[-1]
    return tuple(sorted(set(window.others) - set(reference.others))) if is_sure else ()


def lost(reference: ColumnProfile, window: ColumnProfile) -> tuple[str, ...]:
    """Categories with bins of their own that the reference had and the window has not."""
    names = zip(reference.bins.categories, reference.counts, window.counts, strict=False)
    return tuple(name for name, before, now in names if before and not now)


def _pool(counts: Counts, rare: np.ndarray) -> Counts:
    return np.append(counts[~rare], counts[rare].sum())


def _between(lower: str, upper: str) -> str:
    if lower and upper:
        return f"{lower} to {upper}"
    return f"up to {upper}" if upper else f"above {lower}"


def _relative_entropy(p: Counts, q: Counts) -> float:
    kept = p > 0
    return float(np.sum(p[kept] * np.log2(p[kept] / q[kept])))


def _moved(p: Counts, q: Counts, labels: Sequence[str]) -> str:
    most = int(np.argmax(np.abs(q - p)))
    return f"{labels[most]}: {p[most]:.1%} → {q[most]:.1%}"
