"""The trainer of files that bring none."""

from __future__ import annotations

from typing import Any

import numpy as np


def boosting_classifier(
    matrix: np.ndarray, target: np.ndarray, categorical: np.ndarray, seed: int, **parameters: Any
) -> Any:
    """Fit scikit-learn's HistGradientBoostingClassifier; see `trimtab.spec.Trainer` for the arguments."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    # Without it leaves of a rare class grow without bound: of 2 in 1,000 a constant answer was better than the model.
    parameters = {"l2_regularization": 1.0, **parameters}
    return HistGradientBoostingClassifier(**_with(categorical, seed, parameters)).fit(_with_values(matrix), target)


def boosting_regressor(
    matrix: np.ndarray, target: np.ndarray, categorical: np.ndarray, seed: int, **parameters: Any
) -> Any:
    """Fit scikit-learn's HistGradientBoostingRegressor; see `trimtab.spec.Trainer` for the arguments."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(**_with(categorical, seed, parameters)).fit(_with_values(matrix), target)


def _with(categorical: np.ndarray, seed: int, parameters: dict[str, Any]) -> dict[str, Any]:
    # Early stopping would judge on a random tenth, whose neighbours in time are trained on.
    return {"categorical_features": categorical, "random_state": seed, "early_stopping": False, **parameters}


def _with_values(matrix: np.ndarray) -> np.ndarray:
    """Columns without any value as constants: they teach nothing, and scikit-learn fails on them."""
    return np.where(np.isnan(matrix).all(axis=0), 0.0, matrix)
