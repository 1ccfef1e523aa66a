"""What a model said, and what came true, as arrays: rows of one score, or of a score a class.

Of several classes an outcome is a number too, the place of the class among the target's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.answers import LABEL, SCORE, answer_names, classes_of, score_names
from trimtab.errors import EvaluationError
from trimtab.spec import Feature, ModelSpec


def answer_arrays(classes: Sequence[str], scores: np.ndarray) -> dict[str, pa.Array]:
    """Scores as the columns that a log or a history keeps, by name.

    Parameters
    ----------
    classes
        Empty where there is one score.
    scores
        Float64, of shape (rows,), or (rows, classes). A row with a NaN has no label.
    """
    if not classes:
        return {SCORE: pa.array(scores)}
    # Arrow wants each column in one piece.
    columns = np.ascontiguousarray(scores.T)
    said = np.isfinite(scores).all(axis=1)
    label = pa.array(classes, pa.string()).take(pa.array(scores.argmax(axis=1), mask=~said))
    return dict(zip(answer_names(classes), [*(pa.array(column) for column in columns), label], strict=True))


def answer_types(spec: ModelSpec) -> tuple[Feature, ...]:
    """What is said, as columns that can be profiled."""
    return tuple(
        Feature(name=name, type="category" if name == LABEL and spec.target.classes else "number")
        for name in spec.answer_names
    )


def scores_of(spec: ModelSpec, rows: pa.Table) -> np.ndarray:
    """What the model said of these rows: float64 of shape (rows,), or of several classes (rows, classes); a class whose
    score is null, or has no column, was not known when that was said, and has no chance."""
    if not spec.target.classes:
        return np.asarray(rows[SCORE].to_numpy(), dtype=np.float64)
    there, found = {*rows.column_names}, np.zeros((rows.num_rows, len(spec.target.classes)))
    for place, name in enumerate(score_names(spec.target.classes)):
        if name in there:
            found[:, place] = pc.fill_null(rows[name], 0.0).to_numpy()
    return found


def of_known_classes(spec: ModelSpec, said: Iterable[str], outcomes: np.ndarray) -> ModelSpec:
    """The spec as it was to a model that knows fewer classes: those that were added since are left out.

    Parameters
    ----------
    spec
        The model's, of today.
    said
        Names among which are the columns of the model's answers.
    outcomes
        What happened, of shape (rows,); a class that came true stays.
    """
    if not spec.target.classes:
        return spec
    known = max(len(classes_of(said)), int(outcomes.max(initial=-1)) + 1)
    classes = spec.target.classes[:known]
    return spec.model_copy(update={"target": spec.target.model_copy(update={"classes": classes})})


def of_classes(classes: Sequence[str], said: Sequence[str], scores: np.ndarray) -> np.ndarray:
    """Scores of a model that knows the classes ``said``, as scores of these; it gives those that it lacks no chance.

    Raises
    ------
    EvaluationError
        If it knows a class that is none of these.
    """
    if tuple(said) == tuple(classes):
        return scores
    if gone := [name for name in said if name not in classes]:
        raise EvaluationError(f"the model knows classes {gone}, which are none of {list(classes)}")
    found = np.zeros((len(scores), len(classes)))
    found[:, [classes.index(name) for name in said]] = scores
    return found


def unsaid(spec: ModelSpec, rows: int) -> np.ndarray:
    """Scores of rows that nothing was said of yet: NaN, of the shape that `scores_of` gives."""
    return np.full((rows, len(spec.target.classes)) if spec.target.classes else rows, np.nan)


def outcome_places(spec: ModelSpec, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """What happened as float64: the number itself, or of several classes its place among them; null stays null.

    Raises
    ------
    EvaluationError
        If a value is none of the target's classes.
    """
    if not spec.target.classes:
        return pc.cast(values, pa.float64())
    names = pc.cast(values, pa.string())
    places = pc.cast(pc.index_in(names, pa.array(spec.target.classes)), pa.float64())
    if places.null_count > names.null_count:
        unknown = sorted(set(pc.unique(names).drop_null().to_pylist()) - set(spec.target.classes))
        raise EvaluationError(f"{spec.target.name} holds {unknown[:5]}; it must be one of {list(spec.target.classes)}")
    return places


def target_of(spec: ModelSpec, table: pa.Table) -> np.ndarray:
    """The target of rows that all have one, of shape (rows,), as trainers and metrics take it: the number, or of
    several classes the place, int64.

    Raises
    ------
    EvaluationError
        As `outcome_places`.
    """
    column = table.column(spec.target.name)
    if not spec.target.classes:
        return np.asarray(column.to_numpy())
    return np.asarray(outcome_places(spec, column).to_numpy()).astype(np.int64)
