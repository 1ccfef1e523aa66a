"""How an estimator becomes the artifact that is evaluated, registered and served.

The compiled form (ONNX) is taken only where it predicts what the estimator predicts, on every training row and on
rows made to be hard; else the estimator is kept in skops's format, which loads no code that `TRUSTED_TYPES` does not
name. There is no pickle.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.errors import ParityError, TrainingError
from trimtab.release.environment import export_lock, lock_digest
from trimtab.scoring.forest import UnknownFormError, read_forest
from trimtab.scoring.large_batches import split_rows
from trimtab.scoring.model import (
    GOLDEN,
    MANIFEST,
    REQUIREMENTS,
    ArtifactError,
    Encoder,
    FeatureColumn,
    Golden,
    Manifest,
    artifact_digest,
    estimator_scorer,
    load_scorer,
)
from trimtab.scoring.quickscorer import QuickScorer
from trimtab.spec import ModelSpec
from trimtab.training.onnx_trees import compile_trees
from trimtab.training.parity import check_parity, edge_rows
from trimtab.training.reproducible import make_reproducible
from trimtab.training.snapshots import feature_columns

GOLDEN_ROWS = 32
UNSEEN = "a category that was not seen"


@dataclass(frozen=True)
class Built:
    """An artifact in its place."""

    folder: Path
    digest: str
    format: Literal["onnx", "treelite", "skops"]
    reason: str
    environment_digest: str


def feature_manifest(spec: ModelSpec, table: pa.Table) -> tuple[FeatureColumn, ...]:
    """The columns of the matrix, with the categories that these rows hold, sorted."""
    return tuple(
        FeatureColumn(feature.name, feature.type, feature.nullable, _categories(table, feature.name, feature.type))
        for feature in spec.features
    )


def build_artifact(spec: ModelSpec, estimator: Any, table: pa.Table, artifacts_dir: Path) -> Built:
    """Make the artifact of an estimator, and put it under its digest. Idempotent, atomic.

    Parameters
    ----------
    spec
        The model's spec; ``serving.compiled`` asks for the compiled form.
    estimator
        What the trainer returned, fitted on the encoded ``table``.
    table
        The training snapshot's rows.
    artifacts_dir
        Where artifacts are, a folder each.

    Raises
    ------
    TrainingError
        If the estimator does not score rows that may come in, or cannot be kept in a safe format.
    """
    features = feature_manifest(spec, table)
    matrix = Encoder(features)(feature_columns(spec, table))
    rows = np.vstack([matrix, edge_rows(features, matrix)])
    expected = _scores(spec, estimator, rows)
    artifacts_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=artifacts_dir, prefix=".making-") as name:
        folder = Path(name) / "artifact"
        folder.mkdir()
        manifest, reason = _write_model(spec, features, estimator, rows, expected, folder)
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        (folder / REQUIREMENTS).write_text(export_lock(manifest.format))
        (folder / GOLDEN).write_bytes(msgspec.json.encode(_golden(manifest, table, folder)))
        digest = artifact_digest(folder)
        home = artifacts_dir / digest
        if not home.exists():
            folder.rename(home)
    return Built(home, digest, manifest.format, reason, manifest.environment_digest)


def _write_model(
    spec: ModelSpec,
    features: tuple[FeatureColumn, ...],
    estimator: Any,
    rows: np.ndarray,
    expected: np.ndarray,
    folder: Path,
) -> tuple[Manifest, str]:
    """Write the model file in the best form that holds; returns the manifest and why it is that form."""
    reason = "serving.compiled is off"
    if spec.serving.compiled:
        try:
            manifest = _manifest(spec, features, "onnx")
            (folder / manifest.model_file).write_bytes(compile_trees(estimator))
            _prove(spec, manifest, rows, expected, folder)
            _prove_large_batches(spec, manifest, estimator, rows, expected, folder)
        except (ParityError, ArtifactError) as error:
            (folder / manifest.model_file).unlink(missing_ok=True)
            reason = f"onnx: {error}"
        else:
            return manifest, f"onnx predicts what the estimator predicts on {len(rows)} training and edge rows"
    manifest = _manifest(spec, features, "skops")
    _dump(estimator, folder / manifest.model_file)
    try:
        _prove(spec, manifest, rows, expected, folder)
    except ArtifactError as error:
        raise TrainingError(f"{spec.name}: the estimator cannot be kept safely: {error}") from error
    return manifest, reason


def _manifest(
    spec: ModelSpec, features: tuple[FeatureColumn, ...], artifact_format: Literal["onnx", "skops"]
) -> Manifest:
    environment = lock_digest(export_lock(artifact_format))
    return Manifest(spec.name, spec.target.kind, artifact_format, features, environment, classes=spec.target.classes)


def _prove(spec: ModelSpec, manifest: Manifest, rows: np.ndarray, expected: np.ndarray, folder: Path) -> None:
    scorer = load_scorer(folder / manifest.model_file, manifest)
    threshold = spec.serving.decision_threshold if spec.target.kind == "binary" else None
    check_parity(expected, scorer(rows), threshold)


def _prove_large_batches(
    spec: ModelSpec, manifest: Manifest, estimator: Any, rows: np.ndarray, expected: np.ndarray, folder: Path
) -> None:
    """Prove the form in which a scorer serves large batches of trees too, at the trees' own splits as well."""
    model = (folder / manifest.model_file).read_bytes()
    try:
        large = QuickScorer(read_forest(model))
    except UnknownFormError:
        return  # then no scorer has it either
    threshold = spec.serving.decision_threshold if spec.target.kind == "binary" else None
    check_parity(expected, large(rows), threshold)
    at_splits = split_rows(large, manifest.features)
    at_splits = at_splits[~np.isinf(at_splits).any(axis=1)]  # which no request may hold, nor scikit-learn takes
    for position, feature in enumerate(manifest.features):
        if not feature.nullable and feature.type != "category":
            at_splits[np.isnan(at_splits[:, position]), position] = 0.0
    check_parity(_scores(spec, estimator, at_splits), large(at_splits), threshold)


def _dump(estimator: Any, path: Path) -> None:
    import skops.io

    skops.io.dump(estimator, path)
    make_reproducible(path)


def _scores(spec: ModelSpec, estimator: Any, rows: np.ndarray) -> np.ndarray:
    """Score with the estimator itself, and refuse what could not be evaluated and served."""
    method = "predict" if spec.target.kind == "regression" else "predict_proba"
    if not callable(getattr(estimator, method, None)):
        raise TrainingError(f"{spec.name}: the trainer returned {type(estimator).__name__}; it needs {method}()")
    classes = getattr(estimator, "classes_", None)
    if spec.target.kind == "binary" and classes is not None and list(classes) != [0, 1]:
        raise TrainingError(f"{spec.name}: the estimator knows the classes {list(classes)}; they must be 0 and 1")
    if spec.target.classes and (classes is None or list(classes) != list(range(len(spec.target.classes)))):
        known = "no classes_" if classes is None else f"the classes {list(classes)}"
        raise TrainingError(
            f"{spec.name}: the estimator knows {known}; they must be the places of {list(spec.target.classes)}, 0 to "
            f"{len(spec.target.classes) - 1}, in that order, as the trainer is given them"
        )
    try:
        scores = estimator_scorer(estimator, spec.target.kind)(rows)
    except (ValueError, IndexError, TypeError) as error:
        raise TrainingError(
            f"{spec.name}: {type(estimator).__name__} does not score rows that may come in "
            f"(missing values, unseen categories and values out of range among them): {error}"
        ) from error
    wanted = (len(rows), len(spec.target.classes)) if spec.target.classes else (len(rows),)
    if scores.shape != wanted:
        each = "one score a row and class" if spec.target.classes else "one score a row"
        raise TrainingError(f"{spec.name}: {method}() gave shape {scores.shape}; {each} is needed: {wanted}")
    if not np.isfinite(scores).all():
        raise TrainingError(f"{spec.name}: {int((~np.isfinite(scores)).sum())} of {len(rows)} scores are no numbers")
    return scores


def _golden(manifest: Manifest, table: pa.Table, folder: Path) -> Golden:
    """Training rows spread over time, some with nulls and an unseen category, and what the model file says of them."""
    at = np.unique(np.linspace(0, table.num_rows - 1, GOLDEN_ROWS).astype(int))
    inputs = {feature.name: table.column(feature.name).take(pa.array(at)).to_pylist() for feature in manifest.features}
    for position, feature in enumerate(manifest.features):
        if feature.nullable:
            inputs[feature.name][position % len(at)] = None
        if feature.type == "category":
            inputs[feature.name][-1 - position % len(at)] = UNSEEN
    scores = load_scorer(folder / manifest.model_file, manifest)(Encoder(manifest.features)(inputs))
    return Golden(inputs, scores.tolist())


def _categories(table: pa.Table, name: str, kind: str) -> tuple[str, ...]:
    if kind != "category":
        return ()
    return tuple(sorted(pc.unique(table.column(name).drop_null()).to_pylist()))
