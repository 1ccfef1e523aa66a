"""Trees as bitmaps score what ONNX Runtime and scikit-learn score, whatever the trees and the rows are."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

from trimtab.scoring.bins import Bins
from trimtab.scoring.forest import Forest, UnknownFormError, read_forest
from trimtab.scoring.large_batches import split_rows
from trimtab.scoring.model import FeatureColumn
from trimtab.scoring.quickscorer import QuickScorer
from trimtab.training.onnx_trees import compile_trees

NUMBERS, CATEGORICAL = 3, [3, 4]
ESTIMATORS: dict[str, Any] = {
    "binary": lambda seed: HistGradientBoostingClassifier(
        max_iter=12, categorical_features=CATEGORICAL, early_stopping=False, random_state=seed
    ),
    "deep": lambda seed: HistGradientBoostingClassifier(
        max_iter=5, max_leaf_nodes=60, min_samples_leaf=2, early_stopping=False, random_state=seed
    ),
    "regression": lambda seed: HistGradientBoostingRegressor(
        max_iter=12, categorical_features=CATEGORICAL, early_stopping=False, random_state=seed
    ),
    "poisson": lambda seed: HistGradientBoostingRegressor(
        max_iter=5, loss="poisson", early_stopping=False, random_state=seed
    ),
    "forest": lambda seed: RandomForestClassifier(7, max_leaf_nodes=30, random_state=seed),
    "mean": lambda seed: RandomForestRegressor(7, max_leaf_nodes=40, random_state=seed),
    "older boosting": lambda seed: GradientBoostingClassifier(n_estimators=9, random_state=seed),
    "older regression": lambda seed: GradientBoostingRegressor(n_estimators=9, random_state=seed),
}


@functools.lru_cache(maxsize=64)
def fitted(kind: str, seed: int, nulls: bool) -> tuple[Any, bytes, QuickScorer, Any]:
    """An estimator, its ONNX form as bytes and as a function, and its bitmaps."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(400, 5))
    rows[:, 0] = np.exp(3 * rows[:, 0])  # cuts so uneven that some are searched
    rows[:, 1] = rows[:, 1].round(1)
    rows[:, 3], rows[:, 4] = random.integers(0, 7, 400), random.integers(0, 90, 400)
    target = (rows[:, 1] + rows[:, 3] % 2 + (rows[:, 4] % 3 == 0) + random.normal(size=400) > 1).astype(int)
    if nulls and "older" not in kind:
        for column in (1, 3, 4):
            rows[column::9, column] = np.nan
    estimator = ESTIMATORS[kind](seed).fit(rows, target)
    model = compile_trees(estimator)
    return estimator, model, QuickScorer(read_forest(model)), in_onnx_runtime(model)


def in_onnx_runtime(model: bytes) -> Any:
    """The model as a scorer has it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda rows: session.run(None, {"rows": rows})[0]


def scores_of(estimator: Any, rows: np.ndarray) -> np.ndarray:
    """What the estimator itself says."""
    found = estimator.predict_proba(rows)[:, 1] if hasattr(estimator, "predict_proba") else estimator.predict(rows)
    return np.asarray(found)


NUMBERS = tuple(FeatureColumn(name, "number", True) for name in "abcde")


@st.composite
def models_and_rows(draw: st.DrawFn) -> tuple[str, int, bool, np.ndarray]:
    """A model, and rows of any floats, its own splits, the numbers next to them, infinities and NaN."""
    kind, seed, nulls = draw(st.sampled_from(sorted(ESTIMATORS))), draw(st.integers(0, 3)), draw(st.booleans())
    at_splits = split_rows(fitted(kind, seed, nulls)[2], NUMBERS, 400)
    count = draw(st.integers(1, 600))
    rows = at_splits[np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(0, len(at_splits), count)]
    some = draw(arrays.arrays(np.float64, (draw(st.integers(0, 4)), 5), elements=st.floats(width=64)))
    return kind, seed, nulls, np.vstack([rows, some])


@settings(max_examples=150, deadline=None)
@given(models_and_rows())
def test_bitmaps_score_what_onnx_runtime_scores(case: tuple[str, int, bool, np.ndarray]) -> None:
    """On any rows at all, in blocks of any size; sums to the last bit, probabilities but for the last bits of exp."""
    kind, seed, nulls, rows = case
    _, _, bitmaps, onnx = fitted(kind, seed, nulls)
    expected, found = onnx(rows), bitmaps(rows)
    assert (found.shape, found.dtype) == ((len(rows),), np.float64)
    if kind in ("regression", "mean", "older regression"):
        assert (found == expected).all()
    else:
        assert (np.abs(found - expected) <= 1e-15 * np.maximum(1, np.abs(expected))).all()


@settings(max_examples=100, deadline=None)
@given(models_and_rows())
def test_bitmaps_score_what_the_estimator_scores(case: tuple[str, int, bool, np.ndarray]) -> None:
    """On rows that scikit-learn takes: its own comparisons, missing values and categories."""
    kind, seed, nulls, rows = case
    estimator, _, bitmaps, _ = fitted(kind, seed, nulls)
    rows = rows.copy()
    rows[np.abs(rows) > 1e30] = 1e30
    # An encoder has only the codes of known categories, and NaN.
    rows[:, CATEGORICAL] = np.abs(rows[:, CATEGORICAL].round()) % [7, 90]
    if not nulls or "older" in kind:
        rows = np.nan_to_num(rows)
    expected = scores_of(estimator, rows)
    assert np.abs(bitmaps(rows) - expected).max() <= 1e-13 * max(1.0, np.abs(expected).max())


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    st.lists(st.floats(), min_size=1, max_size=64),
)
def test_a_value_falls_into_the_bin_that_a_search_finds(cuts: list[float], values: list[float]) -> None:
    """Even cells are only a quicker way: of all floats, of cuts themselves, and of the floats beside them."""
    ascending = np.unique(np.array(cuts))
    with np.errstate(all="ignore"):
        near = [*values, *ascending, *np.nextafter(ascending, np.inf), *np.nextafter(ascending, -np.inf)]
        rows = np.array(near)[:, None]
        (found,) = Bins({0: ascending}, len(rows))(rows)
    expected = np.where(np.isnan(rows[:, 0]), len(ascending) + 1, np.searchsorted(ascending, rows[:, 0]))
    assert (found == expected).all()


@pytest.mark.parametrize("kind", sorted(ESTIMATORS))
def test_the_trees_are_read_from_the_file_as_the_onnx_package_reads_them(kind: str) -> None:
    """Node by node: what the small reader of the images says is what the reference says."""
    import onnx

    _, model, _, _ = fitted(kind, 0, True)
    forest = read_forest(model)
    (node,) = (node for node in onnx.load_from_string(model).graph.node if node.op_type == "TreeEnsemble")
    told = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    assert forest.roots.tolist() == list(told["tree_roots"])
    assert forest.features.tolist() == list(told["nodes_featureids"])
    assert forest.false_ids.tolist() == list(told["nodes_falsenodeids"])
    assert forest.true_leafs.tolist() == [bool(each) for each in told["nodes_trueleafs"]]
    assert (forest.splits == onnx.numpy_helper.to_array(told["nodes_splits"])).all()
    assert (forest.weights == onnx.numpy_helper.to_array(told["leaf_weights"])).all()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2**31), st.integers(0, 255))
def test_bytes_that_are_no_such_model_are_told_apart(some: bytes, at: int, byte: int) -> None:
    """Damaged or foreign bytes are refused by name or still a sound forest; nothing else is raised, nothing hangs."""
    _, model, _, _ = fitted("binary", 0, True)
    damaged = bytearray(model)
    damaged[at % len(damaged)] = byte
    for data in (some, bytes(damaged), model[: at % len(model)]):
        try:
            forest = read_forest(data)
            QuickScorer(forest)
        except UnknownFormError:
            continue
        assert isinstance(forest, Forest)


def test_trees_of_more_than_64_leaves_have_no_bitmaps() -> None:
    """They are left to ONNX Runtime."""
    rows = np.random.default_rng(0).normal(size=(400, 5))
    forest = RandomForestRegressor(2, random_state=0).fit(rows, rows[:, 0])
    with pytest.raises(UnknownFormError, match="more than 64 leaves"):
        QuickScorer(read_forest(compile_trees(forest)))
