"""Whether a compiled form predicts what its original predicts, on rows made to be hard."""

from __future__ import annotations

import numpy as np

from trimtab.errors import ParityError
from trimtab.scoring.model import FeatureColumn

PARITY_TOLERANCE = 1e-6
_EXTREMES = (0.0, 1e7, -1e7, 1e30, -1e30)
_EDGE_BASE_ROWS = 64


def edge_rows(features: tuple[FeatureColumn, ...], matrix: np.ndarray) -> np.ndarray:
    """Rows on which a compiled form is likeliest to go wrong.

    Some of the training rows with, feature by feature, null, zero and values far out of range, each category, and the
    next floating-point numbers above and below.

    Returns
    -------
    np.ndarray
        float64, of shape (edge rows, features).
    """
    base = matrix[np.linspace(0, len(matrix) - 1, min(_EDGE_BASE_ROWS, len(matrix))).astype(int)]
    edges = []
    for position, feature in enumerate(features):
        hard: tuple[float, ...] = _EXTREMES
        if feature.type == "category":
            hard = tuple(float(code) for code in range(len(feature.categories)))
        elif feature.type == "boolean":
            hard = (0.0, 1.0)
        if feature.nullable or feature.type == "category":
            hard = (*hard, float("nan"))
        for at, value in enumerate(hard):
            changed = base[at % len(base) :: max(1, len(base) // 8)].copy()
            changed[:, position] = value
            edges.append(changed)
    numeric = [position for position, feature in enumerate(features) if feature.type == "number"]
    for direction in (np.inf, -np.inf):
        nudged = base.copy()
        nudged[:, numeric] = np.nextafter(nudged[:, numeric], direction)
        edges.append(nudged)
    return np.vstack(edges)


def check_parity(expected: np.ndarray, actual: np.ndarray, threshold: float | None) -> None:
    """Refuse scores that are not the expected ones.

    Parameters
    ----------
    expected, actual
        Of shape (rows,), or of several classes (rows, classes).
    threshold
        Of the decision for a binary model: labels must be identical too, as those of several classes; None for others.

    Raises
    ------
    ParityError
        If any score differs by more than 1e-6 (for large values, of the value), or any label at all.
    """
    allowed = PARITY_TOLERANCE * np.maximum(1.0, np.abs(expected))
    wrong = ~(np.abs(actual - expected) <= allowed)
    if expected.ndim == 2:
        wrong = wrong.any(axis=1)
    if wrong.any():
        worst = float(np.abs(actual - expected)[wrong].max())
        raise ParityError(
            f"{int(wrong.sum())} of {len(expected)} scores differ, by up to {worst:.3g}; "
            f"{PARITY_TOLERANCE:g} is allowed"
        )
    flipped = 0
    if expected.ndim == 2:
        flipped = int((actual.argmax(axis=1) != expected.argmax(axis=1)).sum())
    elif threshold is not None:
        flipped = int(((actual >= threshold) != (expected >= threshold)).sum())
    if flipped:
        raise ParityError(f"{flipped} of {len(expected)} labels differ; none may")
