"""The model and the rows, the same for all: gradient boosting, 20 features, 100 iterations, fixed seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier

FEATURES = 20
ITERATIONS = 100
SEED = 20_261_123
TRAINING_ROWS = 20_000
SINGLE_ROWS = 512
BATCH_ROWS = 1_000
BATCHES = 8


@dataclass(frozen=True)
class Subject:
    """The estimator, the file that peers load, what it was trained on, and rows to ask for with their scores.

    ``rows`` has shape (BATCHES * BATCH_ROWS, FEATURES), float64, four decimals; ``scores`` has shape (rows,).
    """

    estimator: Any
    path: Path
    training: np.ndarray
    target: np.ndarray
    rows: np.ndarray
    scores: np.ndarray

    def singles(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Single rows and their scores."""
        return [(self.rows[at : at + 1], self.scores[at : at + 1]) for at in range(SINGLE_ROWS)]

    def batches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Batches of 1,000 rows and their scores."""
        starts = range(0, len(self.rows), BATCH_ROWS)
        return [(self.rows[at : at + BATCH_ROWS], self.scores[at : at + BATCH_ROWS]) for at in starts]


def make_subject(folder: Path) -> Subject:
    """Train, and write the estimator as ``model.joblib``."""
    count = TRAINING_ROWS + BATCHES * BATCH_ROWS
    matrix, target = make_classification(count, FEATURES, n_informative=12, flip_y=0.05, random_state=SEED)
    matrix = matrix.round(4)
    training, rows = matrix[:TRAINING_ROWS], matrix[TRAINING_ROWS:]
    estimator = HistGradientBoostingClassifier(max_iter=ITERATIONS, early_stopping=False, random_state=SEED)
    estimator.fit(training, target[:TRAINING_ROWS])
    path = folder / "model.joblib"
    joblib.dump(estimator, path)
    return Subject(estimator, path, training, target[:TRAINING_ROWS], rows, estimator.predict_proba(rows)[:, 1])


def feature_names() -> list[str]:
    """f0, f1, ..."""
    return [f"f{number}" for number in range(FEATURES)]
