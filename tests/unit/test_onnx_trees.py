"""Trees in ONNX score what their estimators score, to the last bits, on missing, unknown and absurd values too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression

from trimtab.errors import ParityError
from trimtab.scoring.model import Manifest, load_scorer
from trimtab.training.onnx_trees import compile_trees, write_trees

SAMPLE = Path(__file__).parents[1] / "contracts" / "samples" / "foreign-trees.json"
CATEGORICAL = [3, 4]


def rows_and_target(nulls: bool) -> tuple[np.ndarray, np.ndarray]:
    """600 rows of three numbers, a feature of 7 categories and one of 90."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(600, 5))
    rows[:, 3], rows[:, 4] = random.integers(0, 7, 600), random.integers(0, 90, 600)
    target = (rows[:, 0] + rows[:, 3] % 2 + 2 * (rows[:, 4] % 3 == 0) + random.normal(size=600) > 1.5).astype(int)
    if nulls:
        for column in (1, 3, 4):
            rows[column::9, column] = np.nan
    return rows, target


def hard(rows: np.ndarray) -> np.ndarray:
    """Those rows, and some with values far out of range and next to their own."""
    out_of_range = np.repeat(rows[:12], 3, axis=0)
    out_of_range[np.arange(36), np.arange(36) % 3] = np.tile([1e7, -1e30, 0.0], 12)
    return np.vstack([rows, out_of_range, np.nextafter(rows[:60], np.inf), np.nextafter(rows[:60], -np.inf)])


def scored(model: bytes, rows: np.ndarray, folder: Path) -> np.ndarray:
    """The scores as a served artifact has them."""
    (folder / "model.onnx").write_bytes(model)
    return load_scorer(folder / "model.onnx", Manifest("trees", "binary", "onnx", (), ""))(rows)


@pytest.mark.parametrize(
    ("estimator", "nulls"),
    [
        (HistGradientBoostingClassifier(max_iter=30, categorical_features=CATEGORICAL), True),
        (HistGradientBoostingRegressor(max_iter=30, loss="poisson", categorical_features=CATEGORICAL), True),
        (HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=400), True),
        (RandomForestClassifier(20, random_state=0), True),
        (RandomForestRegressor(20, random_state=0), True),
        (ExtraTreesClassifier(20, random_state=0), False),
        (GradientBoostingClassifier(n_estimators=20), False),
        (GradientBoostingRegressor(n_estimators=20), False),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, bool) else None,
)
def test_every_kind_of_trees_scores_as_its_estimator(tmp_path: Path, estimator: Any, nulls: bool) -> None:
    """Sums, means, probabilities in leaves, categories, single leaves and rows rounded to float32 are all exact."""
    rows, target = rows_and_target(nulls)
    estimator.fit(rows, target)
    rows = hard(rows)
    if isinstance(estimator, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        # An encoder has only the codes of known categories, and NaN.
        rows[:, CATEGORICAL] = np.round(rows[:, CATEGORICAL])
    probable = hasattr(estimator, "predict_proba")
    expected = estimator.predict_proba(rows)[:, 1] if probable else estimator.predict(rows)
    found = scored(compile_trees(estimator), rows, tmp_path)
    assert (found.shape, found.dtype) == ((len(rows),), np.float64)
    assert np.abs(found - expected).max() <= 1e-13 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize(("library", "tolerance"), [("xgboost", 1e-6), ("lightgbm", 1e-13)])
def test_trees_of_other_libraries_score_as_there(tmp_path: Path, library: str, tolerance: float) -> None:
    """Stored models, with categories and missing values, score what their libraries said (XGBoost sums in float32)."""
    import treelite

    sample = json.loads(SAMPLE.read_text())
    model = sample["models"][library]
    path = tmp_path / "model"
    path.write_text(model["model"] if library == "lightgbm" else json.dumps(model["model"]))
    if library == "lightgbm":
        trees = treelite.frontend.load_lightgbm_model(path)
    else:
        trees = treelite.frontend.load_xgboost_model(path, format_choice="json")
    found = scored(write_trees(trees), np.array(sample["rows"], dtype=np.float64), tmp_path)
    assert np.abs(found - model["scores"]).max() < tolerance


def test_the_same_trees_are_the_same_bytes() -> None:
    """Nothing of the process or the time is in the file."""
    rows, target = rows_and_target(True)
    one, two = (compile_trees(HistGradientBoostingClassifier(max_iter=3).fit(rows, target)) for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("estimator", "says"),
    [
        (LinearRegression(), "LinearRegression is not compiled"),
        (IsolationForest(n_estimators=3), "becomes a score by 'exponential_standard_ratio'"),
        (HistGradientBoostingClassifier(max_iter=2), "3 sums a row"),
    ],
)
def test_what_has_no_exact_form_is_refused(estimator: Any, says: str) -> None:
    """No trees, another way from sum to score, more than two classes: the error says which it is."""
    rows, target = rows_and_target(False)
    with pytest.raises(ParityError, match=says):
        compile_trees(estimator.fit(rows, target + (rows[:, 0] > 1)))
