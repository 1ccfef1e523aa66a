"""Large batches of an artifact that is trees: scored as bitmaps, up to three times as fast as by ONNX Runtime.

The bitmaps are derived from ``model.onnx`` when a scorer starts, so that the artifact, its digest and its format stay
what they are; small batches, and every model of another form, are scored as ever. Nothing is taken on trust: the
derived form is held against ONNX Runtime on the model's own splits at every start, and against the estimator when the
artifact is built (training/artifacts.py). If it scored anything else the scorer would not start.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from trimtab.scoring.forest import UnknownFormError, read_forest
from trimtab.scoring.model import Artifact, ArtifactError, FeatureColumn, Scorer
from trimtab.scoring.quickscorer import QuickScorer

LARGE_ROWS = 32
"""From so many rows on the bitmaps are the faster ones, with 20 features and a hundred trees of 31 leaves."""
_TOLERANCE = 1e-12
_CHECKED_ROWS = 4096
_BASE_ROWS = 64
_SEED = 20_240_101


def serve_large_batches(artifact: Artifact) -> Artifact:
    """The artifact as it is to be served.

    Returns
    -------
    Artifact
        The same one if it holds no trees that have such a form.

    Raises
    ------
    ArtifactError
        If the two forms differ by more than 1e-12 (for large scores, of the score) in any of the rows of `split_rows`.
    """
    if artifact.manifest.format != "onnx":
        return artifact
    try:
        large = QuickScorer(read_forest((artifact.folder / artifact.manifest.model_file).read_bytes()))
    except UnknownFormError:
        return artifact
    rows = split_rows(large, artifact.manifest.features)
    check_same(artifact.predict(rows), large(rows))
    return artifact.scored_by(_by_size(artifact.predict, large))


def split_rows(large: QuickScorer, features: Sequence[FeatureColumn], most: int = _CHECKED_ROWS) -> np.ndarray:
    """Rows at the model's own splits: each number that a node compares with, the next ones on both sides of it,
    both infinities and NaN, in rows of random cuts. Categories and booleans have all the codes that they can have, and
    NaN: between two codes nothing is promised, and ONNX Runtime rounds.

    Returns
    -------
    np.ndarray
        float64 of shape (rows, features); the same ones each time. At most about so many; a feature's values are
        thinned evenly if there are more.
    """
    random = np.random.default_rng(_SEED)
    share = most // max(1, len(large.cuts))
    hard = {place: _hard_values(features[place], cuts, share) for place, cuts in large.cuts.items()}
    base = np.zeros((_BASE_ROWS, len(features)))
    for place, values in hard.items():
        base[:, place] = random.choice(values, _BASE_ROWS)
    rows = [base]
    for place, values in hard.items():
        changed = base[random.integers(0, len(base), len(values))]
        changed[:, place] = values
        rows.append(changed)
    return np.vstack(rows)


def check_same(expected: np.ndarray, found: np.ndarray) -> None:
    """Refuse scores of the derived form that are not those of the artifact's own.

    Raises
    ------
    ArtifactError
        Naming how many differ and by how much.
    """
    # Not the other way round: NaN is no difference that is small enough.
    same = (np.abs(found - expected) <= _TOLERANCE * np.maximum(1.0, np.abs(expected))) | (found == expected)
    if not same.all():
        worst = np.abs(found - expected)[~same].max()
        raise ArtifactError(
            f"as bitmaps the trees score {int((~same).sum())} of {len(same)} rows otherwise than in ONNX Runtime, by "
            f"up to {worst:.3g}; {_TOLERANCE:g} is allowed"
        )


def _by_size(small: Scorer, large: Scorer) -> Scorer:
    def score(matrix: np.ndarray) -> np.ndarray:
        return (large if len(matrix) >= LARGE_ROWS else small)(matrix)

    return score


def _hard_values(feature: FeatureColumn, cuts: np.ndarray, most: int) -> np.ndarray:
    if feature.type in ("category", "boolean"):
        codes = 2 if feature.type == "boolean" else len(feature.categories)
        return np.append(np.arange(codes, dtype=np.float64), np.nan)
    ends = [-np.inf, -0.0, 0.0, np.inf, np.nan]
    with np.errstate(over="ignore"):
        near = np.unique(np.concatenate([cuts, np.nextafter(cuts, np.inf), np.nextafter(cuts, -np.inf)]))
    step = max(1, len(near) // max(1, most - len(ends)))
    return np.array([*itertools.islice(near, 0, None, step), *ends])
