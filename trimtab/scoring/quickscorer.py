"""Trees over many rows at once, as bitmaps: what they score follows from a look-up a feature, without a branch.

Each tree's leaves are the bits of a word. For each feature its values fall into bins between the numbers that its
nodes compare with, and a table says, by bin and tree, which leaves the feature does not rule out. The AND over the
features leaves one bit a tree: the leaf that the row reaches. Source: Lucchese et al., "QuickScorer: a fast algorithm
to rank documents with additive ensembles of regression trees", SIGIR 2015; here with both branches' leaves ruled out,
and a bin for missing values.

Sums are taken tree by tree in float64, as ONNX Runtime's TreeEnsemble takes them with one thread: sums are equal to the
last bit, scores but for the last bit of exp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.scoring.bins import Bins
from trimtab.scoring.forest import (
    EQUAL,
    GREATER,
    GREATER_OR_EQUAL,
    LESS,
    LESS_OR_EQUAL,
    MEMBER,
    Forest,
    UnknownFormError,
)

_BLOCK_ROWS = 256
"""So many rows' bitmaps of a hundred trees fit the second-level cache."""
_MOST_LEAVES = 64
_MOST_BYTES = 64 * 1024 * 1024


_TESTS = {
    **{LESS_OR_EQUAL: np.less_equal, LESS: np.less, EQUAL: np.equal},
    **{GREATER_OR_EQUAL: np.greater_equal, GREATER: np.greater},
}


@dataclass(frozen=True)
class _Word:
    """A tree's bitmap: how many leaves it can hold, and how the place of its only bit is read from a float."""

    leaves: int
    dtype: Any
    as_float: Any
    as_int: Any
    exponent_at: int
    exponent_bias: int


_WORDS = (
    _Word(32, np.uint32, np.float32, np.int32, 23, 127),
    _Word(64, np.uint64, np.float64, np.int64, 52, 1023),
)


class QuickScorer:
    """A forest as a function of the matrix. For one thread at a time: its memory is its own, and kept.

    Parameters
    ----------
    forest : Forest

    Raises
    ------
    UnknownFormError
        If a tree has more than 64 leaves or is none, or the tables would be large.
    """

    def __init__(self, forest: Forest) -> None:
        leaves = [_leaves(forest, int(root)) for root in forest.roots]
        most = max((len(numbers) for numbers, _ in leaves), default=0)
        if not 0 < most <= _MOST_LEAVES:
            raise UnknownFormError(f"a tree has {most} leaves; at most {_MOST_LEAVES} fit a word")
        self._forest = forest
        self._word = next(word for word in _WORDS if most <= word.leaves)
        self.cuts = {int(feature): _cuts(forest, feature) for feature in np.unique(forest.features)}
        """The values by feature at which a comparison may change: it is the same for all in (one, next]."""
        rows = sum(len(cuts) + 2 for cuts in self.cuts.values())
        trees = len(leaves)
        if (size := rows * trees * self._word.dtype().nbytes) > _MOST_BYTES:
            raise UnknownFormError(f"the tables would take {size} bytes; at most {_MOST_BYTES} are kept")
        self._bins = Bins(self.cuts, _BLOCK_ROWS)
        self._table = self._tables(leaves, rows)
        weights = np.zeros((trees, self._word.leaves))
        for tree, (numbers, _) in enumerate(leaves):
            weights[tree, : len(numbers)] = forest.weights[numbers]
        self._weights = weights.ravel()
        self._starts = (np.arange(trees) * self._word.leaves - self._word.exponent_bias)[:, None]
        shape = (_BLOCK_ROWS, trees)
        self._left, self._one = (np.empty(shape, self._word.dtype) for _ in range(2))
        self._floats = np.empty(trees * _BLOCK_ROWS, self._word.as_float)
        self._places = np.empty(trees * _BLOCK_ROWS, np.intp)
        self._values = np.empty(trees * _BLOCK_ROWS)

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        """Scores of rows: float64 of shape (rows,), for float64 of shape (rows, features)."""
        with np.errstate(all="ignore"):
            if self._forest.rounds_rows:
                matrix = matrix.astype(np.float32).astype(np.float64)
            sums = np.empty(len(matrix))
            for start in range(0, len(matrix), _BLOCK_ROWS):
                rows = matrix[start : start + _BLOCK_ROWS]
                self._sum(rows, sums[start : start + len(rows)])
            return self._scores(sums)

    def _sum(self, rows: np.ndarray, sums: np.ndarray) -> None:
        """Add up the leaves that rows reach; at most a block of them."""
        n, trees = len(rows), len(self._starts)
        left, one = self._left[:n], self._one[:n]
        first, *others = self._bins(rows)
        np.take(self._table, first, axis=0, out=left, mode="clip")
        for bins in others:
            np.take(self._table, bins, axis=0, out=one, mode="clip")
            np.bitwise_and(left, one, out=left)
        # One bit is left: a power of two, whose exponent is the place. Trees first: they are added one after another.
        floats = self._floats[: trees * n].reshape(trees, n)
        places = self._places[: trees * n].reshape(trees, n)
        values = self._values[: trees * n].reshape(trees, n)
        np.copyto(floats, left.T, casting="unsafe")
        np.right_shift(floats.view(self._word.as_int), self._word.exponent_at, out=places)
        np.add(places, self._starts, out=places)
        np.take(self._weights, places, out=values, mode="clip")
        if n > 1:
            np.add.reduce(values, axis=0, out=sums)
        else:
            # numpy would add the trees of one row in pairs.
            sums[:] = np.add.accumulate(values, axis=0)[-1]

    def _scores(self, sums: np.ndarray) -> np.ndarray:
        forest = self._forest
        raw = (sums / len(self._starts) if forest.averages else sums) + forest.base
        if forest.transform == "identity":
            return raw
        if forest.transform == "exponential":
            return np.asarray(np.exp(raw))
        # As ONNX Runtime takes the logistic function.
        raw = raw * forest.alpha
        upper = 1 / (1 + np.exp(-np.abs(raw)))
        return np.where(raw >= 0, upper, 1 - upper)

    def _tables(self, leaves: list[tuple[list[int], list[tuple[int, int, int]]]], rows: int) -> np.ndarray:
        """The leaves that are left, by row of `Bins` and tree."""
        forest, word = self._forest, self._word
        table = np.empty((rows, len(leaves)), word.dtype)
        values = {feature: np.append(cuts, np.inf) for feature, cuts in self.cuts.items()}
        for tree, (numbers, nodes) in enumerate(leaves):
            table[:, tree] = full = (1 << len(numbers)) - 1
            for node, true, false in nodes:
                feature = int(forest.features[node])
                start = self._bins.starts[feature]
                without_true, without_false = (np.array(full ^ bits, word.dtype) for bits in (true, false))
                held = _holds(forest, node, values[feature])
                end = start + len(held)
                table[start:end, tree] &= np.where(held, without_false, without_true)
                table[end, tree] &= without_false if forest.missing_is_true[node] else without_true
        return table


def _leaves(forest: Forest, root: int) -> tuple[list[int], list[tuple[int, int, int]]]:
    """The leaves of a tree in their order, and each node with the bits of the leaves that its two branches lead to."""
    numbers: list[int] = []
    nodes: list[tuple[int, int, int]] = []

    def bits_under(place: int, is_leaf: bool) -> int:
        if is_leaf:
            numbers.append(place)
            if len(numbers) > _MOST_LEAVES:
                raise UnknownFormError(f"a tree has more than {_MOST_LEAVES} leaves")
            return 1 << (len(numbers) - 1)
        at = len(nodes)
        if at == _MOST_LEAVES:
            raise UnknownFormError(f"a tree has more than {_MOST_LEAVES} leaves, or a branch without an end")
        nodes.append((place, 0, 0))
        true = bits_under(int(forest.true_ids[place]), bool(forest.true_leafs[place]))
        false = bits_under(int(forest.false_ids[place]), bool(forest.false_leafs[place]))
        nodes[at] = (place, true, false)
        return true | false

    if not 0 <= root < len(forest.modes):
        raise UnknownFormError(f"a tree begins at node {root}; there are {len(forest.modes)}")
    bits_under(root, False)
    return numbers, nodes


def _cuts(forest: Forest, feature: int) -> np.ndarray:
    """The numbers at which a test of the feature may change, ascending; infinity is beyond them all."""
    found = []
    for node in np.flatnonzero(forest.features == feature):
        mode = int(forest.modes[node])
        values = forest.members[int(node)] if mode == MEMBER else forest.splits[node : node + 1]
        if mode in (LESS_OR_EQUAL, GREATER, EQUAL, MEMBER):
            found.append(values)
        if mode in (LESS, GREATER_OR_EQUAL, EQUAL, MEMBER):
            found.append(np.nextafter(values, -np.inf))
    cuts = np.unique(np.concatenate(found))
    if np.isnan(cuts).any():
        raise UnknownFormError(f"feature {feature} is compared with NaN")
    return cuts[cuts < np.inf]


def _holds(forest: Forest, node: int, values: np.ndarray) -> np.ndarray:
    """Whether the node's test holds of each value."""
    split, mode = forest.splits[node], int(forest.modes[node])
    if mode == MEMBER:
        return np.isin(values, forest.members[node])
    return np.asarray(_TESTS[mode](values, split))
