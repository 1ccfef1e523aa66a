"""An artifact is what the estimator was, or it is refused; the same training gives the same bytes."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trimtab.errors import ParityError, TrainingError
from trimtab.models import load_model
from trimtab.scoring.model import Artifact, ArtifactError, Encoder, artifact_digest
from trimtab.scoring.quickscorer import QuickScorer
from trimtab.spec import ModelSpec
from trimtab.training.artifacts import build_artifact, feature_manifest
from trimtab.training.onnx_trees import compile_trees
from trimtab.training.parity import check_parity, edge_rows
from trimtab.training.snapshots import conform, feature_columns

MODEL = load_model(Path(__file__).parents[1] / "models", "loan")
SPEC = MODEL.spec
START, END = datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 2, 4, tzinfo=UTC)
TABLE = conform(SPEC, MODEL.function("data:load")(START, END, datetime(2024, 3, 1, tzinfo=UTC)), START, END, 100)
FEATURES = feature_manifest(SPEC, TABLE)
MATRIX = Encoder(FEATURES)(feature_columns(SPEC, TABLE))
TARGET = TABLE.column("repaid").to_numpy()
CATEGORICAL = np.array([feature.type == "category" for feature in FEATURES])


def boosting() -> Any:
    return MODEL.function("training:boosting")(MATRIX, TARGET, CATEGORICAL, 7)


def logistic() -> Any:
    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(MATRIX, TARGET)


def changed(**parts: dict[str, Any]) -> ModelSpec:
    return SPEC.model_copy(update={name: getattr(SPEC, name).model_copy(update=part) for name, part in parts.items()})


@pytest.mark.parametrize(
    ("estimator", "compiled", "expected"),
    [(boosting, True, "onnx"), (boosting, False, "skops"), (logistic, True, "skops")],
)
def test_the_artifact_predicts_what_the_estimator_predicts(
    tmp_path: Path, estimator: Any, compiled: bool, expected: str
) -> None:
    """Trees are compiled, everything else is kept safely; either scores as the estimator, on hard rows too."""
    fitted = estimator()
    built = build_artifact(changed(serving={"compiled": compiled}), fitted, TABLE, tmp_path)
    assert built.format == expected
    artifact = Artifact.load(built.folder, built.digest)
    rows = np.vstack([MATRIX, edge_rows(FEATURES, MATRIX)])
    assert np.abs(artifact.predict(rows) - fitted.predict_proba(rows)[:, 1]).max() < 1e-9
    assert not list(built.folder.glob("*.pkl"))


@pytest.mark.parametrize("estimator", [boosting, logistic])
def test_training_twice_gives_the_same_digest(tmp_path: Path, estimator: Any) -> None:
    """Nothing in an artifact tells when or where it was made."""
    one, two = (build_artifact(SPEC, estimator(), TABLE, tmp_path) for _ in range(2))
    assert one == two
    assert [folder.name for folder in tmp_path.iterdir()] == [one.digest]


def test_golden_rows_hold_nulls_and_an_unseen_category(tmp_path: Path) -> None:
    """The rows by which a release is proved are not only easy ones, and their scores are the artifact's."""
    built = build_artifact(SPEC, boosting(), TABLE, tmp_path)
    artifact = Artifact.load(built.folder)
    golden = artifact.golden()
    assert None in golden.inputs["income"]
    assert None not in golden.inputs["age"]
    assert set(golden.inputs["region"]) - {"north", "south", "east", "west", None}
    assert artifact.predict(artifact.encode(golden.inputs)).tolist() == golden.scores


def test_a_compiled_form_that_differs_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled trees that predict something else or do not load are not taken, and the reason is kept."""
    other = HistGradientBoostingClassifier(max_iter=2, categorical_features=CATEGORICAL).fit(MATRIX, TARGET)

    for compiled, says in ((compile_trees(other), "scores differ"), (b"no model", "is not loaded")):
        monkeypatch.setattr("trimtab.training.artifacts.compile_trees", lambda estimator, compiled=compiled: compiled)
        built = build_artifact(SPEC, boosting(), TABLE, tmp_path)
        assert built.format == "skops"
        assert says in built.reason
        assert not (built.folder / "model.onnx").exists()


def test_parity_holds_scores_and_labels() -> None:
    """A score off by more than a millionth, a NaN, or a single flipped label is refused."""
    expected = np.array([0.1, 0.5, 0.9])
    check_parity(expected, expected + 1e-8, None)
    for actual in (expected + 1e-5, np.array([0.1, np.nan, 0.9])):
        with pytest.raises(ParityError, match="scores differ"):
            check_parity(expected, actual, None)
    with pytest.raises(ParityError, match="1 of 3 labels differ"):
        check_parity(expected, expected - 1e-8, 0.5)


def test_a_regression_is_compiled_too(tmp_path: Path) -> None:
    """The score of a regression is its value."""
    spec = changed(target={"kind": "regression"})
    target = MATRIX[:, 1] * 2.0
    fitted = HistGradientBoostingRegressor(max_iter=10, categorical_features=CATEGORICAL).fit(MATRIX, target)
    built = build_artifact(spec, fitted, TABLE, tmp_path)
    assert built.format == "onnx"
    assert np.allclose(Artifact.load(built.folder).predict(MATRIX), fitted.predict(MATRIX), atol=1e-9)


class Broken:
    """An estimator that says what it is told to."""

    classes_ = (0, 1)

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict_proba(self, matrix: np.ndarray) -> np.ndarray:
        return self.answer(matrix)


@pytest.mark.parametrize(
    ("estimator", "says"),
    [
        (object(), "needs predict_proba"),
        (Broken(lambda rows: np.full((len(rows), 2), np.nan)), "scores are no numbers"),
        (Broken(lambda rows: np.full((3, 2), 0.5)), "one score a row"),
        (Broken(lambda rows: np.full((len(rows), 1), 0.5)), "does not score rows"),
        (Broken(lambda rows: np.full((len(rows), 2), 0.5)), "cannot be kept safely"),
    ],
)
def test_what_cannot_be_evaluated_and_served_is_refused(tmp_path: Path, estimator: Any, says: str) -> None:
    """No method, NaN, a wrong shape or a type that has no safe format: training fails, and nothing is left behind."""
    with pytest.raises(TrainingError, match=says):
        build_artifact(SPEC, estimator, TABLE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_estimator_that_refuses_nulls_is_refused(tmp_path: Path) -> None:
    """Rows with nulls may come in, so an estimator without an imputer cannot serve."""
    with pytest.raises(TrainingError, match="missing values"):
        build_artifact(SPEC, LogisticRegression().fit(np.nan_to_num(MATRIX), TARGET), TABLE, tmp_path)


def test_scoring_reports_to_nobody(tmp_path: Path) -> None:
    """Where no variable says so, ONNX Runtime makes no identifier of this machine, from which its reports begin."""
    built = build_artifact(SPEC, boosting(), TABLE, tmp_path / "artifacts")
    code = (
        "import sys, pathlib; from trimtab.scoring.model import Artifact; "
        "artifact = Artifact.load(pathlib.Path(sys.argv[1])); "
        "artifact.predict(artifact.encode(artifact.golden().inputs))"
    )
    command = [sys.executable, "-c", code, str(built.folder)]
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(command, env={"HOME": str(home), "PATH": os.defpath}, check=True)
    assert built.format == "onnx"
    assert list(home.rglob("*")) == []


def test_an_altered_artifact_is_not_loaded(tmp_path: Path) -> None:
    """One changed byte in any file is another digest, and is refused before anything is loaded."""
    built = build_artifact(SPEC, boosting(), TABLE, tmp_path)
    for path in built.folder.iterdir():
        original = path.read_bytes()
        path.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        with pytest.raises(ArtifactError, match="on record is"):
            Artifact.load(built.folder, built.digest)
        path.write_bytes(original)
    assert artifact_digest(built.folder) == built.digest


def test_a_skops_file_with_another_type_is_not_loaded(tmp_path: Path) -> None:
    """What may be loaded is fixed in the code: a file that names another type is refused."""
    import skops.io

    built = build_artifact(changed(serving={"compiled": False}), boosting(), TABLE, tmp_path)
    skops.io.dump(Broken(math.sqrt), built.folder / "model.skops")
    with pytest.raises(ArtifactError, match="is not loaded"):
        Artifact.load(built.folder)


def test_a_format_of_the_future_is_refused(tmp_path: Path) -> None:
    """An artifact of a newer format is not guessed at."""
    built = build_artifact(SPEC, boosting(), TABLE, tmp_path)
    manifest = msgspec.json.decode((built.folder / "manifest.json").read_bytes())
    (built.folder / "manifest.json").write_bytes(msgspec.json.encode({**manifest, "format_version": 2}))
    with pytest.raises(ArtifactError, match="format_version 2"):
        Artifact.load(built.folder)


def test_encoding_refuses_what_is_no_column_of_the_model() -> None:
    """A missing column, text for a number and columns of unequal length are named."""
    encoder = Encoder(FEATURES)
    row = {"income": [1.0], "age": [30], "region": ["north"], "employed": [True]}
    assert encoder(row).tolist() == [[1.0, 30.0, 1.0, 1.0]]
    for columns, says in (
        ({**row, "income": ["much"]}, "'income'"),
        ({**row, "age": [1, 2]}, "differ in length"),
        ({name: row[name] for name in ("income", "age")}, r"\['region', 'employed'\] are missing"),
    ):
        with pytest.raises(ArtifactError, match=says):
            encoder(columns)
    assert pa.types.is_string(TABLE.schema.field("region").type)


def test_trees_whose_bitmaps_score_otherwise_are_not_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form that serves large batches passes the same gate; the estimator is kept then, and the reason said."""
    sound = QuickScorer.__call__

    def score(self: QuickScorer, matrix: np.ndarray) -> np.ndarray:
        scores = sound(self, matrix)
        scores[0] += 1e-5
        return scores

    monkeypatch.setattr(QuickScorer, "__call__", score)
    built = build_artifact(SPEC, boosting(), TABLE, tmp_path)
    assert built.format == "skops"
    assert built.reason.startswith("onnx: 1 of ")
