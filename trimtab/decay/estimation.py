"""What performance a classifier is expected to have on rows whose outcomes are not known yet.

Confidence-based performance estimation: a calibrated score says how often an outcome of 1 follows, so that any metric
has an expected value without outcomes. **It assumes that the outcome given the score is what it was on the reference**
(no concept drift): it sees what a shift of the incoming rows costs, never that the world now answers differently.

All is counted on bins of the score (`ScoreHistogram`), which add up: hour plus hour is the day. A metric of several
classes is made of binary ones: each class against the rest, and for accuracy whether the likeliest class was right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit

from trimtab.metrics import CLIP
from trimtab.records import Metric
from trimtab.spec import METRICS, ModelSpec

BINS = 512
GRID_BINS = 192
"""Bins besides, of equal width in log odds: of scores where the reference has none. In one wide bin all rows would
count as equally likely, whatever their scores."""
CHUNKS = 10
DRAWS = 200
CHUNK_DRAWS = 40
MINIMUM_REFERENCE_ROWS = 200
OWN, LOGISTIC, ISOTONIC = "own", "logistic", "isotonic"
WAYS = (OWN, LOGISTIC, ISOTONIC)
"""How a share of outcome 1 is read from a score: the score itself; a line through its log odds (Platt 1999), which a
few hundred rows tell well enough to mend a model that is too sure of itself; isotonic regression (Zadrozny & Elkan
2002), which bends as it must and takes thousands."""
_NEWTON_STEPS, _LONGEST_STEP, _STILL = 25, 2.0, 1e-6
_LEAST_SCORE = 1e-6
_GRID_END = 12.0
_Z = 1.959963984540054


@dataclass(frozen=True)
class ScoreHistogram:
    """Rows counted by score, with the sums that metrics need; each of ``sums`` is of shape (bins,).

    Bin ``i`` holds scores in ``[edges[i], edges[i + 1])``, the first and the last one also all that lies beyond.
    """

    edges: np.ndarray
    sums: dict[str, np.ndarray]

    @classmethod
    def of(cls, scores: np.ndarray, edges: np.ndarray, threshold: float) -> ScoreHistogram:
        """Count scores, float64 of shape (rows,); ``threshold`` is the least that counts as predicted 1."""
        at = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(edges) - 2)
        clipped = np.clip(scores, CLIP, 1 - CLIP)
        weights = {
            "score": scores,
            "brier_one": (1 - scores) ** 2,
            "brier_zero": scores**2,
            "log_one": -np.log(clipped),
            "log_zero": -np.log1p(-clipped),
            "selected": (scores >= threshold).astype(np.float64),
        }
        sums = {name: np.bincount(at, weight, len(edges) - 1) for name, weight in weights.items()}
        return cls(edges, {"rows": np.bincount(at, minlength=len(edges) - 1).astype(np.float64), **sums})

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:
        """The histogram of both sets of rows; they must be counted on the same edges."""
        return ScoreHistogram(self.edges, {name: self.sums[name] + other.sums[name] for name in self.sums})

    def expected(self, metric: str, ones: np.ndarray, weights: np.ndarray | float = 1.0) -> np.ndarray:
        """The metric if in each bin this share of the rows has outcome 1.

        Parameters
        ----------
        metric
            Of ``METRICS["binary"]``; or a part of a metric of several classes: ``log_one_loss``, the log loss of the
            rows with outcome 1 alone, or ``right``, the share of outcome 1.
        ones
            Shares of shape (..., bins).
        weights
            How often each bin's rows count, of the same shape.

        Returns
        -------
        np.ndarray
            Of shape (...); without rows, and of an AUC without rows of both outcomes, NaN.
        """
        rows, zeros = self.sums["rows"] * weights, 1 - ones
        if metric == "roc_auc":
            return _area(rows * ones, rows * zeros)
        if metric == "accuracy":
            gain = ones * self.sums["selected"] + zeros * (self.sums["rows"] - self.sums["selected"])
        elif metric == "right":
            gain = ones * self.sums["rows"]
        elif metric == "log_one_loss":
            gain = ones * self.sums["log_one"]
        else:
            prefix = metric.removesuffix("_loss")
            gain = ones * self.sums[f"{prefix}_one"] + zeros * self.sums[f"{prefix}_zero"]
        # Of a few rows none may be drawn.
        total = rows.sum(axis=-1)
        found = (gain * weights).sum(axis=-1)
        return np.asarray(np.divide(found, total, out=np.full(np.shape(found), np.nan), where=total > 0))


def score_edges(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Edges of `BINS` bins at most that hold about as many scores each, a bin a score where there are few; and of
    `GRID_BINS` over all that a score may be."""
    distinct = np.unique(scores)
    inner = distinct if len(distinct) <= BINS else np.unique(np.quantile(scores, np.linspace(0, 1, BINS - 1)))
    grid = expit(np.linspace(-_GRID_END, _GRID_END, GRID_BINS))
    ends = [min(0.0, inner[0]), threshold, np.nextafter(max(1.0, inner[-1]), 2)]
    return np.unique(np.concatenate([inner, grid, ends]))


@dataclass(frozen=True)
class Calibration:
    """How often outcome 1 followed a score, on the reference: see `WAYS`.

    ``rows`` and ``ones`` are the reference's by chunk, of shape (chunks, bins): chunks follow each other in time.
    """

    histograms: tuple[ScoreHistogram, ...]
    ones: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, outcomes: np.ndarray, threshold: float) -> Calibration:
        """Learn from rows in their order; ``scores`` and ``outcomes`` (0 or 1) of shape (rows,)."""
        edges = score_edges(scores, threshold)
        parts = np.array_split(np.arange(len(scores)), CHUNKS)
        ones = [ScoreHistogram.of(scores[rows][outcomes[rows] == 1], edges, threshold).sums["rows"] for rows in parts]
        return cls(tuple(ScoreHistogram.of(scores[rows], edges, threshold) for rows in parts), np.array(ones))

    @cached_property
    def whole(self) -> ScoreHistogram:
        """All rows of the reference."""
        return sum(self.histograms[1:], start=self.histograms[0])

    @cached_property
    def way(self) -> str:
        """Of `WAYS` the one that foretells held-out outcomes best (Brier loss); of equals the plainest."""
        loss = dict.fromkeys(WAYS, 0.0)
        for at, held_out in enumerate(self.histograms):
            rows, ones = held_out.sums["rows"], self.ones[at]
            for way in WAYS:
                said = self._shares(way, held_out, *self._without(at))
                loss[way] += float((rows * said**2 - 2 * ones * said).sum())
        return min(WAYS, key=lambda way: loss[way])

    def shares(self, window: ScoreHistogram, without: int | None = None) -> np.ndarray:
        """The share of outcome 1 to expect in each of the window's bins, of shape (bins,); a chunk may be left out."""
        return self._shares(self.way, window, *self._without(without))

    def drawn(
        self, window: ScoreHistogram, random: np.random.Generator, draws: int, without: int | None = None
    ) -> np.ndarray:
        """Shares as they might have been with another reference, drawn like this one: of shape (draws, bins)."""
        rows, ones = self._without(without)
        if self.way == OWN:
            return np.broadcast_to(_own(window), (draws, len(rows)))
        some, others = random.poisson(ones, (draws, len(rows))), random.poisson(rows - ones, (draws, len(rows)))
        return self._shares(self.way, window, some + others, some)

    def _shares(self, way: str, window: ScoreHistogram, rows: np.ndarray, ones: np.ndarray) -> np.ndarray:
        """Learnt from rows and ones of shape (..., bins)."""
        if way == OWN:
            return _own(window)
        if way == LOGISTIC:
            return _logistic(rows, ones, _log_odds(self.whole), _log_odds(window))
        if rows.ndim == 1:
            return _isotonic(rows, ones)
        return np.array([_isotonic(*pair) for pair in zip(rows, ones, strict=True)])

    def _without(self, chunk: int | None) -> tuple[np.ndarray, np.ndarray]:
        rows, ones = self.whole.sums["rows"], self.ones.sum(axis=0)
        return (rows, ones) if chunk is None else (rows - self.histograms[chunk].sums["rows"], ones - self.ones[chunk])


class ClassifierEstimator:
    """Foretells metrics of a classifier from its scores alone; made once from the reference's judged rows.

    The 95 % interval is that of the metric which rows like the window's have. It holds the error of the window as a
    sample and that of the calibration (both drawn anew `DRAWS` times), and by how much `CHUNKS` held-out chunks of the
    reference differed from their estimates beyond chance.

    Parameters
    ----------
    spec
        The model's.
    scores, outcomes
        Of the reference's judged rows in the order of time: of shape (rows,) and 0 or 1; or of shape (rows, classes)
        and the class's place.
    """

    def __init__(self, spec: ModelSpec, scores: np.ndarray, outcomes: np.ndarray) -> None:
        self._metrics, self._threshold = METRICS[spec.target.kind], spec.serving.decision_threshold
        self._several = scores.ndim == 2
        self._parts = [
            Calibration.of(score, outcome, self._threshold) for score, outcome in binary_parts(scores, outcomes)
        ]

    @property
    def calibrated(self) -> tuple[bool, ...]:
        """Whether scores had to be calibrated, for each binary part."""
        return tuple(part.way != OWN for part in self._parts)

    @property
    def edges(self) -> tuple[np.ndarray, ...]:
        """On which scores are counted, for each binary part."""
        return tuple(part.whole.edges for part in self._parts)

    @cached_property
    def instability(self) -> dict[str, float]:
        """Variance of held-out chunks about their estimates beyond what chance explains, by metric."""
        random = np.random.default_rng(0)
        excess: dict[str, list[float]] = {metric: [] for metric in self._metrics}
        for chunk in range(CHUNKS):
            windows = [part.histograms[chunk] for part in self._parts]
            pairs = list(zip(self._parts, windows, strict=True))
            estimated = [part.shares(window, chunk) for part, window in pairs]
            realised = [_share(part.ones[chunk], window.sums["rows"]) for part, window in pairs]
            drawn = [
                _outcomes(part.drawn(window, random, CHUNK_DRAWS, chunk), window, random) for part, window in pairs
            ]
            for metric in self._metrics:
                differs = self._value(metric, windows, estimated) - self._value(metric, windows, realised)
                excess[metric].append(differs**2 - self._deviation(metric, windows, drawn) ** 2)
        known = {metric: [one for one in found if np.isfinite(one)] for metric, found in excess.items()}
        # Chunks of one class only say nothing of the AUC; without any chunk nothing bounds the error.
        return {metric: max(0.0, float(np.mean(found))) if found else np.inf for metric, found in known.items()}

    def estimate(self, scores: np.ndarray) -> dict[str, Metric]:
        """Each metric as it is to be expected on rows with these scores, by name; empty without rows.

        Parameters
        ----------
        scores
            Float64, of shape (rows,) or (rows, classes); rows with a NaN are left out.
        """
        scores = scores[np.isfinite(scores) if scores.ndim == 1 else np.isfinite(scores).all(axis=1)]
        if not len(scores):
            return {}
        parts = zip(self.edges, binary_parts(scores, np.zeros(len(scores))), strict=True)
        return self.estimate_counted([ScoreHistogram.of(score, edges, self._threshold) for edges, (score, _) in parts])

    def estimate_counted(self, windows: Sequence[ScoreHistogram]) -> dict[str, Metric]:
        """The same from counts on this estimator's `edges`, one histogram a binary part."""
        random = np.random.default_rng(1)
        pairs = list(zip(self._parts, windows, strict=True))
        expected = [part.shares(window) for part, window in pairs]
        drawn = [part.drawn(window, random, DRAWS) for part, window in pairs]
        weights = [_weights(window, random) for window in windows]
        rows = int(windows[0].sums["rows"].sum())
        found = {}
        for metric in self._metrics:
            value = self._value(metric, windows, expected)
            variance = self._deviation(metric, windows, drawn, weights) ** 2 + self.instability[metric]
            margin = _Z * float(np.sqrt(variance))
            if np.isfinite([value, margin]).all():
                found[metric] = Metric(name=metric, value=value, low=value - margin, high=value + margin, rows=rows)
        return found

    def _value(self, metric: str, windows: Sequence[ScoreHistogram], shares: Sequence[np.ndarray]) -> float:
        terms = self._terms(metric, len(windows))
        return float(sum(weight * windows[at].expected(name, shares[at]) for name, at, weight in terms))

    def _deviation(
        self,
        metric: str,
        windows: Sequence[ScoreHistogram],
        drawn: Sequence[np.ndarray],
        weights: Sequence[np.ndarray] | None = None,
    ) -> float:
        # How classes vary together is not known: standard errors that are added up bound it.
        return float(
            sum(
                weight * np.nanstd(windows[at].expected(name, drawn[at], 1.0 if weights is None else weights[at]))
                for name, at, weight in self._terms(metric, len(windows))
            )
        )

    def _terms(self, metric: str, parts: int) -> list[tuple[str, int, float]]:
        """The binary metrics, each with its part and its weight, that the metric is the sum of."""
        if not self._several:
            return [(metric, 0, 1.0)]
        if metric == "accuracy":
            return [("right", parts - 1, 1.0)]
        binary = {"log_loss": "log_one_loss"}.get(metric, metric)
        return [(binary, at, 1 / (parts - 1) if metric == "roc_auc" else 1.0) for at in range(parts - 1)]


def binary_parts(scores: np.ndarray, outcomes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores and outcomes as binary ones: each class against the rest, then the likeliest class right or wrong."""
    if scores.ndim == 1:
        return [(scores, outcomes)]
    of_classes = [(scores[:, at], (outcomes == at).astype(np.float64)) for at in range(scores.shape[1])]
    return [*of_classes, (scores.max(axis=1), (scores.argmax(axis=1) == outcomes).astype(np.float64))]


def _isotonic(rows: np.ndarray, ones: np.ndarray) -> np.ndarray:
    """Rising shares of ones; an empty bin takes what lies between its neighbours'."""
    from scipy.optimize import isotonic_regression

    there = np.flatnonzero(rows > 0)
    fitted = isotonic_regression(ones[there] / rows[there], weights=rows[there]).x
    return np.asarray(np.interp(np.arange(len(rows)), there, fitted))


def _log_odds(window: ScoreHistogram) -> np.ndarray:
    scores = np.clip(_own(window), _LEAST_SCORE, 1 - _LEAST_SCORE)
    return np.asarray(np.log(scores / (1 - scores)))


def _logistic(rows: np.ndarray, ones: np.ndarray, at: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Shares of ones at the log odds ``wanted``, by logistic regression on those ``at`` which rows were counted.

    The line is drawn towards the score itself as by one row's worth of doubt (unit normal priors), so that a class
    which never came true is not foretold never to come. ``rows`` and ``ones``: (..., bins), a line each.
    """

    def summed(values: np.ndarray) -> np.ndarray:
        return np.asarray(values.sum(axis=-1, keepdims=True))

    shift = np.zeros((*np.shape(rows)[:-1], 1))
    slope = np.ones_like(shift)
    for _ in range(_NEWTON_STEPS):
        said = expit(shift + slope * at)
        left, weights = ones - rows * said, rows * said * (1 - said)
        of_shift, of_slope = summed(left) - shift, summed(left * at) - (slope - 1)
        both, first, second = summed(weights * at), summed(weights) + 1, summed(weights * at**2) + 1
        determinant = first * second - both**2
        steps = [
            (second * of_shift - both * of_slope) / determinant,
            (first * of_slope - both * of_shift) / determinant,
        ]
        steps = [np.clip(step, -_LONGEST_STEP, _LONGEST_STEP) for step in steps]
        shift, slope = shift + steps[0], slope + steps[1]
        if max(np.abs(step).max() for step in steps) < _STILL:
            break
    return np.asarray(expit(shift + slope * wanted))


def _own(window: ScoreHistogram) -> np.ndarray:
    rows, middle = window.sums["rows"], (window.edges[:-1] + window.edges[1:]) / 2
    return np.asarray(np.clip(np.divide(window.sums["score"], rows, out=middle, where=rows > 0), 0, 1))


def _share(ones: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(ones, rows, out=np.zeros(np.broadcast(ones, rows).shape), where=rows > 0))


def _outcomes(shares: np.ndarray, window: ScoreHistogram, random: np.random.Generator) -> np.ndarray:
    """Shares of outcome 1 that the window's rows may show, where these are to be expected; (draws, bins)."""
    rows = window.sums["rows"]
    return _share(random.binomial(rows.astype(np.int64), np.clip(shares, 0, 1)), rows)


def _weights(window: ScoreHistogram, random: np.random.Generator) -> np.ndarray:
    """How often each bin's rows count in another window drawn like this one (Poisson bootstrap); (draws, bins)."""
    rows = window.sums["rows"]
    return _share(random.poisson(rows, (DRAWS, len(rows))), rows)


def _area(ones: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    """The share of (1, 0) pairs ranked rightly, ties (one bin) counting half."""
    below = np.cumsum(zeros, axis=-1) - zeros / 2
    pairs = ones.sum(axis=-1) * zeros.sum(axis=-1)
    won = (ones * below).sum(axis=-1)
    return np.asarray(np.divide(won, pairs, out=np.full(np.shape(pairs), np.nan), where=pairs > 0))
