"""Whether a classifier tells the window's rows from the reference's, also where every feature alone looks the same.

The classifier is a nearest-centroid one on ranks, missing marks and frequent categories, their squares and their
products two by two, each weighted by its own variance and soft-thresholded (nearest shrunken centroids, Tibshirani et
al. 2002). So it sees moved means, changed spreads and broken correlations. It was held against gradient boosting
(scikit-learn, 30 trees): the AUC is the same to 0.01 for broken correlations, higher for small shifts, at a tenth of
the time. What only shows in three features at once it does not see.

It learns on one half of the rows and is judged on the other, and the other way round; the AUC is the mean of both. In a
null window the AUC of a half has the law of Mann and Whitney's U, and the mean of both varies no more than one; from
that the p-value follows. Ranks are of all rows together, so that one absurd value weighs no more than the largest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import ndtr

from trimtab.records import Value
from trimtab.spec import Feature

MAXIMUM_ROWS = 2_000
"""Rows of a side that are looked at, drawn at random with a fixed seed."""
MAXIMUM_COLUMNS = 200
MINIMUM_SHARE = 0.05
"""Categories and missing values below this share of the rows get no column of their own."""
SHRINKAGE = 2.0
"""In standard errors: a difference of means below it is noise, and not used."""


class Separation(Value):
    """How well the two sides are told apart: ``auc`` 0.5 is not at all, 1 is perfectly.

    ``told_by`` names what does it most: a feature, or two that hang together otherwise than before.
    """

    auc: float
    p_value: float
    rows: int
    told_by: str = ""


def separation(features: Sequence[Feature], reference: pa.Table, window: pa.Table, seed: int = 0) -> Separation | None:
    """How well the window's rows are told from the reference's; None where a side has less than 20 rows.

    Parameters
    ----------
    features
        Those that both tables have.
    reference, window
        Rows of either side; `MAXIMUM_ROWS` of each are looked at.
    seed
        Of the draw of rows and of the halves.
    """
    if min(reference.num_rows, window.num_rows) < 20:
        return None
    random = np.random.default_rng(seed)
    sides = [_sampled(rows, random) for rows in (reference, window)]
    matrix, names = _encode(features, sides)
    theirs = np.repeat([False, True], [side.num_rows for side in sides])
    if not names:
        return Separation(auc=0.5, p_value=1.0, rows=window.num_rows)
    half = np.concatenate([random.permutation(side.num_rows) % 2 for side in sides])
    found = []
    for judged in (0, 1):
        weights = _learn(matrix[half != judged], theirs[half != judged])
        found.append(_auc(_scores(weights, matrix[half == judged]), theirs[half == judged]))
    auc = float(np.mean(found))
    left, right = (side.num_rows for side in sides)
    # Of one half: both AUCs follow from how the two halves' differences lie to each other, so their mean varies as one.
    deviation = np.sqrt((left + right + 2) / (6 * left * right))
    return Separation(
        auc=auc,
        p_value=float(ndtr(-(auc - 0.5) / deviation)),
        rows=window.num_rows,
        told_by=_told_by(matrix, theirs, names),
    )


def _sampled(rows: pa.Table, random: np.random.Generator) -> pa.Table:
    if rows.num_rows <= MAXIMUM_ROWS:
        return rows
    return rows.take(np.sort(random.choice(rows.num_rows, MAXIMUM_ROWS, replace=False)))


def _encode(features: Sequence[Feature], sides: Sequence[pa.Table]) -> tuple[np.ndarray, list[str]]:
    """Both sides' rows as a matrix of shape (rows, 1 + k), a constant and standardised columns, and the k names."""
    # With a constant in front the products hold the columns themselves, and the squares.
    columns = [np.ones(sum(side.num_rows for side in sides))]
    names: list[str] = []

    def add(name: str, values: np.ndarray) -> None:
        spread = values.std()
        if spread > 0 and len(names) < MAXIMUM_COLUMNS:
            columns.append((values - values.mean()) / spread)
            names.append(name)

    for feature in features:
        if feature.type in ("number", "integer"):
            values = np.concatenate([_numbers(side[feature.name]) for side in sides])
            known = ~np.isnan(values)
            ranks = np.zeros(len(values))
            if known.any():
                ranks[known] = _ranks(values[known]) / known.sum() - 0.5
            add(feature.name, ranks)
        else:
            texts = [pc.fill_null(pc.cast(side[feature.name], pa.string()), "").to_numpy() for side in sides]
            words = np.concatenate(texts)
            known = np.concatenate([pc.is_valid(side[feature.name]).to_numpy() for side in sides])
            found, counts = np.unique(words[known].astype(str), return_counts=True)
            frequent = found[counts >= MINIMUM_SHARE * len(words)]
            for word in frequent[1:] if len(frequent) == len(found) else frequent:
                add(f"{feature.name} {word}", ((words == word) & known).astype(float))
        if (~known).mean() >= MINIMUM_SHARE:
            add(f"{feature.name} missing", (~known).astype(float))
    return np.column_stack(columns), names


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _learn(matrix: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Weights of the products of any two columns, of shape (k, k) and zero below the diagonal.

    Each is the difference of the sides' means of that product over its variance; differences are shrunken towards zero
    by `SHRINKAGE` standard errors.
    """
    means = [side.T @ side / len(side) for side in (matrix[~theirs], matrix[theirs])]
    squares = matrix**2
    variance = squares.T @ squares / len(matrix) - (matrix.T @ matrix / len(matrix)) ** 2
    # The constant's product with itself has no variance, as the square of a column of two values.
    varies = variance > 1e-9
    variance = np.where(varies, variance, 1.0)
    error = np.sqrt(variance * (1 / theirs.sum() + 1 / (~theirs).sum()))
    difference = np.where(varies, means[1] - means[0], 0.0)
    shrunken = np.sign(difference) * np.maximum(np.abs(difference) - SHRINKAGE * error, 0.0)
    return np.asarray(np.triu(shrunken / variance))


def _ranks(values: np.ndarray) -> np.ndarray:
    """1 for the smallest; those that are equal share the mean of theirs."""
    # Takes half a second to import, in every process that runs a flow.
    from scipy.stats import rankdata

    return np.asarray(rankdata(values))


def _scores(weights: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.asarray(((matrix @ weights) * matrix).sum(axis=1))


def _auc(scores: np.ndarray, theirs: np.ndarray) -> float:
    """Share of pairs of a row of either side in which theirs has the higher score; ties count half."""
    count = int(theirs.sum())
    above = _ranks(scores)[theirs].sum() - count * (count + 1) / 2
    return float(above / (count * (len(theirs) - count)))


def _told_by(matrix: np.ndarray, theirs: np.ndarray, names: Sequence[str]) -> str:
    """What the scores owe most to: the product whose weight times spread is largest."""
    weights = _learn(matrix, theirs)
    squares = matrix**2
    spread = np.sqrt(np.maximum(squares.T @ squares / len(matrix) - (matrix.T @ matrix / len(matrix)) ** 2, 0.0))
    strength = np.abs(weights) * spread
    if not strength.any():
        return ""
    first, second = (int(at) for at in np.unravel_index(int(np.argmax(strength)), strength.shape))
    if first == 0:
        return names[second - 1]
    if first == second:
        return f"the spread of {names[first - 1]}"
    return f"{names[first - 1]} together with {names[second - 1]}"
