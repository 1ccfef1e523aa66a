"""What Evidently 0.7.23 says by default of the same rows, column by column and of all: its scores, from profiles.

It chooses by type, by the rows of the reference that hold a value, and by the distinct values of both sides together:

=====================  ===========================  ==================================  =========
column                 reference                    method                              drifted
=====================  ===========================  ==================================  =========
number, 6 or more      up to 1,000 rows             K-S p_value                         <= 0.05
number, 6 or more      more                         Wasserstein distance (normed)       >= 0.1
any, 3 or more         up to 1,000 rows             chi-square p_value                  < 0.05
any, 1 or 2            up to 1,000 rows             Z-test p_value                      < 0.05
any other              more                         Jensen-Shannon distance (base e)    >= 0.1
=====================  ===========================  ==================================  =========

Scores from counts equal its own; so does KS, as a reference of so few rows has each of its values on an edge. Of
Wasserstein the profiles give an interval, and only where the threshold lies within it are the values sorted. Its
chi-square takes the reference for exact, which makes it alarm far too often: this is what Evidently says, not what
trimtab alarms by (signals/). Of free text it says nothing that follows from counts: texts are judged as categories.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from trimtab.decay.profile import ColumnProfile, Profile
from trimtab.decay.wasserstein import wasserstein_bounds
from trimtab.errors import TrimtabError
from trimtab.records import Value

KS, WASSERSTEIN = "K-S p_value", "Wasserstein distance (normed)"
CHI_SQUARE, Z_TEST, JENSEN_SHANNON = "chi-square p_value", "Z-test p_value", "Jensen-Shannon distance"
SMALL_REFERENCE = 1_000
FEW_VALUES = 5
SIGNIFICANCE, EFFECT = 0.05, 0.1
DRIFT_SHARE = 0.5
LEAST_DEVIATION = 0.001
METHODS = {
    KS: SIGNIFICANCE,
    CHI_SQUARE: SIGNIFICANCE,
    Z_TEST: SIGNIFICANCE,
    WASSERSTEIN: EFFECT,
    JENSEN_SHANNON: EFFECT,
}
"""Evidently's names of its methods, each with its threshold."""

Values = tuple[np.ndarray, np.ndarray]
Exact = Callable[[str], "Values | None"]
"""Gives the values of a column, nulls left out: the reference's and the window's, or None if they are not at hand."""


class Verdict(Value):
    """What Evidently says of one column.

    ``score`` is a p-value or a distance, as ``method`` says (Evidently's own name for it). If not ``exact`` it is the
    middle of an interval; if not ``sure`` the threshold lies in that interval, and the values were not at hand.
    """

    column: str
    method: str
    score: float
    threshold: float
    drifted: bool
    exact: bool = True
    sure: bool = True


def verdicts(reference: Profile, window: Profile, exact: Exact = lambda column: None) -> tuple[Verdict, ...]:
    """Evidently's verdict on every column of the window; those without any value on either side are left out, as
    Evidently refuses them.

    Parameters
    ----------
    reference, window
        On the same bins.
    exact
        Asked only where the profiles do not suffice.
    """
    pairs = [(reference.column(one.bins.column), one) for one in window.columns]
    return tuple(verdict(ours, theirs, exact) for ours, theirs in pairs if ours.valid and theirs.valid)


def is_dataset_drifted(found: Sequence[Verdict], share: float = DRIFT_SHARE) -> bool:
    """Whether as many columns are drifted as Evidently calls a drift of the dataset."""
    return bool(found) and sum(one.drifted for one in found) / len(found) >= share


def verdict(reference: ColumnProfile, window: ColumnProfile, exact: Exact = lambda column: None) -> Verdict:
    """Evidently's verdict on one column that has values on both sides."""
    name = window.bins.column
    # More distinct values than a profile names are more than matter, except for categories with a bin for the rest.
    numeric, small = window.bins.numeric, reference.valid <= SMALL_REFERENCE
    distinct = _distinct(reference, window)
    if numeric and distinct > FEW_VALUES:
        return _ks(reference, window, exact) if small else _wasserstein(reference, window, exact)
    counted = _counted(reference, window)
    if counted is None:
        counted = _counted_values(_required(exact, name, "has more distinct values than its profile names"))
    ours, theirs = counted
    if small and len(ours) > 2:
        score = _chi_square(ours, theirs)
        return Verdict(
            column=name, method=CHI_SQUARE, score=score, threshold=SIGNIFICANCE, drifted=score < SIGNIFICANCE
        )
    if small:
        score = _z_test(ours, theirs)
        return Verdict(column=name, method=Z_TEST, score=score, threshold=SIGNIFICANCE, drifted=score < SIGNIFICANCE)
    score = _jensen_shannon(ours, theirs)
    return Verdict(column=name, method=JENSEN_SHANNON, score=score, threshold=EFFECT, drifted=score >= EFFECT)


def _distinct(reference: ColumnProfile, window: ColumnProfile) -> int:
    if window.bins.numeric and not window.bins.discrete:
        return len(window.bins.edges)
    on_bins = np.asarray(reference.ties or reference.counts[:-1]) + np.asarray(window.ties or window.counts[:-1])
    return int(np.count_nonzero(on_bins)) + len({*reference.others, *window.others})


def _counted(reference: ColumnProfile, window: ColumnProfile) -> Values | None:
    """Counts of each distinct value on both sides, or None if not all are known."""
    if not (reference.knows_all_others and window.knows_all_others):
        return None
    names = sorted({*reference.others, *window.others})
    sides = []
    for one in (reference, window):
        on_bins = one.ties if one.bins.numeric else one.counts[:-1]
        if sum(on_bins) + sum(one.others.values()) != one.valid:
            return None
        sides.append(np.array([*on_bins, *(one.others.get(name, 0) for name in names)], dtype=np.int64))
    seen = (sides[0] + sides[1]) > 0
    return sides[0][seen], sides[1][seen]


def _counted_values(values: Values) -> Values:
    _, codes = np.unique(np.concatenate(values), return_inverse=True)
    ours, theirs = codes[: len(values[0])], codes[len(values[0]) :]
    return np.bincount(ours, minlength=codes.max() + 1), np.bincount(theirs, minlength=codes.max() + 1)


def _ks(reference: ColumnProfile, window: ColumnProfile, exact: Exact) -> Verdict:
    from scipy.stats import ks_2samp

    name = window.bins.column
    if reference.ties and sum(reference.ties) == reference.valid and window.ties:
        # Where within its bin a value lies that is on no edge does not matter.
        edges = np.asarray(reference.bins.edges)
        off = np.asarray(window.counts) - np.asarray(window.ties)
        between = np.concatenate([[-np.inf], (edges[:-1] + edges[1:]) / 2, [np.inf]])
        points = np.concatenate([np.append(edges, np.inf), between])
        sample = np.repeat(points, np.concatenate([window.ties, off]))
        ours, theirs = np.repeat(np.append(edges, np.inf), reference.ties), sample
    else:
        ours, theirs = _required(exact, name, "has a profile of format 1, which does not give KS")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        score = float(ks_2samp(ours, theirs).pvalue)
    return Verdict(column=name, method=KS, score=score, threshold=SIGNIFICANCE, drifted=score <= SIGNIFICANCE)


def _wasserstein(reference: ColumnProfile, window: ColumnProfile, exact: Exact) -> Verdict:
    from scipy.stats import wasserstein_distance

    name = window.bins.column
    facts = {"column": name, "method": WASSERSTEIN, "threshold": EFFECT}
    bounds = wasserstein_bounds(reference, window)
    if bounds is not None:
        norm = max(reference.deviation, LEAST_DEVIATION)
        low, high = bounds.low / norm * (1 - 1e-9), bounds.high / norm * (1 + 1e-9)
        if not low < EFFECT <= high or not math.isfinite(high):
            return Verdict(**facts, score=(low + high) / 2, drifted=low >= EFFECT, exact=False)
    values = exact(name)
    if values is not None:
        score = float(wasserstein_distance(*values)) / max(float(np.std(values[0])), LEAST_DEVIATION)
        return Verdict(**facts, score=score, drifted=score >= EFFECT)
    if bounds is None:
        raise TrimtabError(f"column {name!r} has a profile of format 1, and its values are not at hand to be compared")
    return Verdict(**facts, score=(low + high) / 2, drifted=low + high >= 2 * EFFECT, exact=False, sure=False)


def _required(exact: Exact, column: str, why: str) -> Values:
    values = exact(column)
    if values is None:
        raise TrimtabError(f"column {column!r} {why}, and its values are not at hand to be compared")
    return values


def _chi_square(ours: np.ndarray, theirs: np.ndarray) -> float:
    from scipy.stats import chisquare

    with np.errstate(divide="ignore"):
        return float(chisquare(theirs, ours * (theirs.sum() / ours.sum())).pvalue)


def _z_test(ours: np.ndarray, theirs: np.ndarray) -> float:
    from scipy.stats import norm

    if len(ours) == 1:
        return 1.0
    rows, other_rows = int(ours.sum()), int(theirs.sum())
    share, other_share = ours[1] / rows, theirs[1] / other_rows
    both = (share * rows + other_share * other_rows) / (rows + other_rows)
    z = (share - other_share) / np.sqrt(both * (1 - both) * (1 / rows + 1 / other_rows))
    return float(2 * (1 - norm.cdf(np.abs(z))))


def _jensen_shannon(ours: np.ndarray, theirs: np.ndarray) -> float:
    from scipy.spatial.distance import jensenshannon

    return float(jensenshannon(ours / ours.sum(), theirs / theirs.sum()))
