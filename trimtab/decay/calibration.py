"""How far predicted probabilities are from what came true."""

from __future__ import annotations

import numpy as np

from trimtab.records import Metric

BINS = 10
DRAWS = 2_000
CALIBRATION_ERROR = "calibration_error"


def calibration_error(scores: np.ndarray, outcomes: np.ndarray, confidence: float = 0.95) -> Metric | None:
    """Expected calibration error: |mean outcome - mean score| over bins of as many rows each (Naeini et al. 2015).

    It is above zero for a perfect model too, by chance. The interval allows for that: the errors of the bins' means
    shift it by no more than the sum of their sizes, whose quantile is simulated (triangle inequality), so that the
    lower end is above zero only where the model is surely off.

    Parameters
    ----------
    scores, outcomes
        Float64 of shape (rows,). Of several classes: that of the likeliest class, and whether it was right (Guo et al.
        2017).
    confidence
        Of the interval.

    Returns
    -------
    Metric or None
        None with fewer than two rows a bin.
    """
    if len(scores) < 2 * BINS:
        return None
    order = np.argsort(scores, kind="stable")
    # A row's outcome varies as its score says and as the bin shows: the greater of the two, as a bin may show none.
    parts = [(outcomes[rows], scores[rows]) for rows in np.array_split(order, BINS)]
    weights = np.array([len(part) for part, _ in parts]) / len(scores)
    off = np.array([part.mean() - said.mean() for part, said in parts])
    spread = np.array([max(part.var(), (said * (1 - said)).mean()) / len(part) for part, said in parts]) ** 0.5
    value = float(weights @ np.abs(off))
    noise = np.abs(np.random.default_rng(0).standard_normal((DRAWS, BINS)) * spread) @ weights
    margin = float(np.quantile(noise, confidence))
    return Metric(
        name=CALIBRATION_ERROR,
        value=value,
        low=max(0.0, value - margin),
        high=min(1.0, value + margin),
        rows=len(scores),
    )
