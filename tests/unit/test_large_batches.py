"""A scorer serves large batches of trees in a derived form only if that scores what the artifact's own form scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor

from trimtab.scoring import large_batches
from trimtab.scoring.large_batches import LARGE_ROWS, serve_large_batches
from trimtab.scoring.model import Artifact, ArtifactError, FeatureColumn, Manifest, load_scorer
from trimtab.scoring.quickscorer import QuickScorer
from trimtab.training.onnx_trees import compile_trees

FEATURES = tuple(FeatureColumn(name, "number", True) for name in "abcd")
ROWS = np.random.default_rng(1).normal(size=(1000, 4))
ROWS[::7, 2] = np.nan


def artifact_of(estimator: object, kind: str, folder: Path) -> Artifact:
    """As a scorer loads it."""
    target = (ROWS[:, 0] > 0).astype(int)
    estimator.fit(ROWS, target)  # type: ignore[attr-defined]
    (folder / "model.onnx").write_bytes(compile_trees(estimator))
    manifest = Manifest("trees", kind, "onnx", FEATURES, "")  # type: ignore[arg-type]
    return Artifact(manifest, "digest", folder, load_scorer(folder / "model.onnx", manifest))


def test_large_batches_are_scored_as_small_ones(tmp_path: Path) -> None:
    """A row's score does not hang on the batch that it came in, but for the last bit of a probability."""
    plain = artifact_of(HistGradientBoostingClassifier(max_iter=20), "binary", tmp_path)
    served = serve_large_batches(plain)
    assert served is not plain
    assert (served.digest, served.manifest) == (plain.digest, plain.manifest)
    alone = np.concatenate([served.predict(ROWS[at : at + 10]) for at in range(0, 1000, 10)])
    assert np.abs(served.predict(ROWS) - alone).max() <= 2.3e-16
    assert (served.predict(ROWS[: LARGE_ROWS - 1]) == plain.predict(ROWS[: LARGE_ROWS - 1])).all()


def test_a_form_that_scores_otherwise_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scorer does not start: one score that is wrong by a billionth, or is no number, is enough."""
    plain = artifact_of(HistGradientBoostingClassifier(max_iter=5), "binary", tmp_path)
    sound = QuickScorer.__call__
    for wrong in (1e-9, np.nan):

        def score(self: QuickScorer, matrix: np.ndarray, wrong: float = wrong) -> np.ndarray:
            scores = sound(self, matrix)
            scores[-1] += wrong
            return scores

        monkeypatch.setattr(QuickScorer, "__call__", score)
        with pytest.raises(ArtifactError, match=r"as bitmaps the trees score 1 of \d+ rows otherwise"):
            serve_large_batches(plain)


def test_models_without_such_a_form_are_served_as_they_are(tmp_path: Path) -> None:
    """Trees of more than 64 leaves stay with ONNX Runtime."""
    plain = artifact_of(RandomForestRegressor(3, random_state=0), "regression", tmp_path)
    (tmp_path / "model.onnx").write_bytes(compile_trees(RandomForestRegressor(3).fit(ROWS, ROWS[:, 0])))
    assert serve_large_batches(plain) is plain


def test_trees_on_many_categories_are_served(tmp_path: Path) -> None:
    """Categories are compared by their codes and as missing, not between codes, where ONNX Runtime promises nothing."""
    random = np.random.default_rng(3)
    rows = np.column_stack([random.integers(0, 94, 3000).astype(float), random.normal(size=3000)])
    rows[::50, 0] = np.nan
    target = (np.isin(rows[:, 0] % 7, [1, 3]) ^ (rows[:, 1] > 0)).astype(int)
    estimator = HistGradientBoostingClassifier(max_iter=30, categorical_features=[0], max_leaf_nodes=15)
    (tmp_path / "model.onnx").write_bytes(compile_trees(estimator.fit(rows, target)))
    names = tuple(f"airport {number}" for number in range(94))
    features = (FeatureColumn("dest", "category", True, names), FeatureColumn("x", "number", True))
    manifest = Manifest("trees", "binary", "onnx", features, "")
    plain = Artifact(manifest, "digest", tmp_path, load_scorer(tmp_path / "model.onnx", manifest))
    served = serve_large_batches(plain)
    assert served is not plain
    assert np.abs(served.predict(rows) - plain.predict(rows)).max() <= 2.3e-16


def test_the_rows_at_splits_hold_every_cut_and_its_neighbours(tmp_path: Path) -> None:
    """Where a comparison could go wrong it is looked at."""
    plain = artifact_of(HistGradientBoostingClassifier(max_iter=2), "binary", tmp_path)
    large = QuickScorer(large_batches.read_forest((plain.folder / "model.onnx").read_bytes()))
    rows = large_batches.split_rows(large, FEATURES)
    for feature, cuts in large.cuts.items():
        for values in (cuts, np.nextafter(cuts, np.inf), np.nextafter(cuts, -np.inf), [np.inf, -np.inf]):
            assert np.isin(values, rows[:, feature]).all()
        assert np.isnan(rows[:, feature]).any()
