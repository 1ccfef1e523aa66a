"""The trainer of the synthetic parcel model."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier


def boosting(
    matrix: np.ndarray, target: np.ndarray, categorical: np.ndarray, seed: int
) -> HistGradientBoostingClassifier:
    """Fit a small gradient-boosting classifier of several classes on (rows, features)."""
    model = HistGradientBoostingClassifier(max_iter=20, categorical_features=categorical, random_state=seed)
    return model.fit(matrix, target)
