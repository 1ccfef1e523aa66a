"""From rows to an estimator, by a model's own trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from trimtab.decay.answers import target_of
from trimtab.errors import TrainingError, TrimtabError
from trimtab.scoring.model import Encoder, FeatureColumn
from trimtab.spec import ModelSpec, Trainer
from trimtab.training.artifacts import feature_manifest
from trimtab.training.snapshots import feature_columns

MANY_CATEGORIES = 255
"""More than scikit-learn's gradient boosting takes."""
SHOWN_CLASSES = 10


def fit(
    spec: ModelSpec, trainer: Trainer, function: Callable[..., Any], table: pa.Table
) -> tuple[tuple[FeatureColumn, ...], Any]:
    """Train; returns the columns of the matrix, as its encoder wants them, and the estimator.

    Parameters
    ----------
    spec, trainer
        The model's spec, and one of its trainers.
    function
        What ``trainer.function`` names.
    table
        The training rows: features and target.

    Raises
    ------
    TrainingError
        If a class of the target has no row, or the trainer fails.
    """
    features = feature_manifest(spec, table)
    matrix = Encoder(features)(feature_columns(spec, table))
    target = target_of(spec, table)
    categorical = np.array([feature.type == "category" for feature in features])
    if spec.target.kind == "binary" and len(np.unique(target)) == 1:
        raise TrainingError(f"{spec.name}: all {len(target)} rows have target {target[0]}; both classes are needed")
    if spec.target.kind == "regression" and len(np.unique(target)) == 1:
        raise TrainingError(
            f"{spec.name}: all {len(target)} rows have target {target[0]:g}; a regression needs targets that differ"
        )
    if missing := [name for at, name in enumerate(spec.target.classes) if not (target == at).any()]:
        named, unnamed = ", ".join(map(repr, missing[:SHOWN_CLASSES])), len(missing) - SHOWN_CLASSES
        more = f", nor {unnamed:,} more of the {len(spec.target.classes):,} classes" if unnamed > 0 else ""
        raise TrainingError(
            f"{spec.name}: none of {len(target)} rows has target {named}{more}; a model is trained "
            "on some rows of every class: choose a longer training.window, or leave out the class"
        )
    try:
        return features, function(matrix, target, categorical, trainer.seed, **trainer.parameters)
    except TrimtabError:
        raise
    except Exception as error:
        raise TrainingError(
            f"trainer {trainer.name!r} of {spec.name} failed on {len(matrix)} rows: {type(error).__name__}: {error}"
            + _suspects(features, matrix)
        ) from error


def _suspects(features: Sequence[FeatureColumn], matrix: np.ndarray) -> str:
    """Columns on which trainers often fail, by name: what these say of them is a position at best."""
    empty = [one.name for at, one in enumerate(features) if np.isnan(matrix[:, at]).all()]
    many = [one.name for one in features if len(one.categories or ()) > MANY_CATEGORIES]
    return (f"; without any value: {empty}" if empty else "") + (
        f"; of more than {MANY_CATEGORIES} categories: {many}; leave them out, or put their values into groups"
        if many
        else ""
    )
