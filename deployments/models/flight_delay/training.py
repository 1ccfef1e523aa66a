"""The trainer of flight-delay."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier


def boosting(
    matrix: np.ndarray, target: np.ndarray, categorical: np.ndarray, seed: int, **parameters: Any
) -> HistGradientBoostingClassifier:
    """Fit gradient-boosted trees.

    Parameters
    ----------
    matrix : float64 array of shape (rows, features)
        Categories as codes, NaN where missing.
    target : array of shape (rows,)
        1 for late, 0 for not.
    categorical : boolean array of shape (features,)
    **parameters
        Of scikit-learn's ``HistGradientBoostingClassifier``.
    """
    # Early stopping would judge on a random tenth: flights of one storm stand on both sides of such a split.
    model = HistGradientBoostingClassifier(
        categorical_features=categorical, early_stopping=False, random_state=seed, **parameters
    )
    return model.fit(matrix, target)
