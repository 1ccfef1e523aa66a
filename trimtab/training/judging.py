"""From scores on the same mature rows to the evaluation that the gates read: pure, so that retrain and backtest judge
alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from trimtab.decay.answers import target_of
from trimtab.decay.slices import slice_labels
from trimtab.metrics import compare
from trimtab.records import Evaluation, SliceScore
from trimtab.spec import ModelSpec

SEED = 20130101
"""Of the bootstrap: the same rows and artifacts give the same intervals."""


def judge(
    spec: ModelSpec,
    record_id: str,
    snapshot_id: str,
    table: pa.Table,
    scores: Mapping[str, np.ndarray],
    champion_id: str | None,
) -> Evaluation:
    """Every candidate and the champion on the same rows, with paired intervals, overall and by slice.

    Parameters
    ----------
    spec
        The model's spec.
    record_id, snapshot_id
        Ids of the evaluation and of what it is made on.
    table
        The rows: features and target.
    scores
        By candidate id, what it says of them, of shape (rows,); of several classes (rows, classes).
    champion_id
        Which of them serves; None before the first release.
    """
    target = target_of(spec, table)
    result = compare(
        spec.target.kind,
        target,
        scores,
        baseline=champion_id,
        threshold=spec.serving.decision_threshold,
        confidence=spec.gates.confidence,
        seed=SEED,
    )
    return Evaluation(
        id=record_id,
        model=spec.name,
        snapshot_id=snapshot_id,
        champion_id=champion_id,
        scores=result.scores,
        differences=result.differences,
        slices=tuple(_slices(spec, table, target, scores)),
    )


def _slices(
    spec: ModelSpec, table: pa.Table, target: np.ndarray, scores: Mapping[str, np.ndarray]
) -> Iterator[SliceScore]:
    """The gate metric of every model on every slice with enough rows."""
    types = {feature.name: feature.type for feature in spec.features}
    for column in spec.gates.slices:
        labels = slice_labels(table.column(column), types[column])
        for value, rows in zip(*np.unique(labels, return_counts=True), strict=True):
            if rows < spec.gates.minimum_slice_rows:
                continue
            here = labels == value
            result = compare(
                spec.target.kind,
                target[here],
                {subject: said[here] for subject, said in scores.items()},
                metrics=(spec.gate_metric,),
                threshold=spec.serving.decision_threshold,
                seed=SEED,
            )
            for subject, metrics in result.scores.items():
                yield SliceScore(subject=subject, column=column, value=str(value), metric=metrics[spec.gate_metric])
