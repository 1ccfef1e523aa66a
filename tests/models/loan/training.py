"""The trainer of the synthetic loan model."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier


def boosting(
    matrix: np.ndarray, target: np.ndarray, categorical: np.ndarray, seed: int
) -> HistGradientBoostingClassifier:
    """Fit a small gradient-boosting classifier on (rows, features)."""
    model = HistGradientBoostingClassifier(max_iter=40, categorical_features=categorical, random_state=seed)
    return model.fit(matrix, target)
