"""The trees that an ONNX model holds, if it has the form in which trees are compiled (training/onnx_trees.py).

``[Cast to float32, Cast back] -> TreeEnsemble -> Add -> [Mul, Sigmoid | Exp] -> Reshape``: anything else is told
apart and left to ONNX Runtime alone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trimtab.scoring.onnx_reader import Graph, Node, UnreadableError, read_graph

LESS_OR_EQUAL, LESS, GREATER_OR_EQUAL, GREATER, EQUAL, MEMBER = 0, 1, 2, 3, 4, 6
"""The operator's numbers for what a node tests."""
_MODES = (LESS_OR_EQUAL, LESS, GREATER_OR_EQUAL, GREATER, EQUAL, MEMBER)
_AVERAGE = 0
_LISTS = (
    *("nodes_featureids", "nodes_missing_value_tracks_true", "nodes_truenodeids", "nodes_trueleafs"),
    *("nodes_falsenodeids", "nodes_falseleafs"),
)
_KNOWN = {*_LISTS, "tree_roots", "nodes_modes", "nodes_splits", "leaf_targetids", "leaf_weights", "membership_values"}
_KNOWN |= {"aggregate_function", "n_targets", "post_transform"}
_CASTS = (1, 11)  # to float32, and back to float64
_TAILS: dict[tuple[str, ...], Literal["identity", "sigmoid", "exponential"]] = {
    (): "identity",
    ("Mul", "Sigmoid"): "sigmoid",
    ("Exp",): "exponential",
}


class UnknownFormError(ValueError):
    """A model that is not made of trees as they are compiled here, or of too large ones."""


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees, and what makes their sum a score.

    Of shape (nodes,): ``features``, ``modes``, ``splits``, ``missing_is_true``, and where each branch leads to: a node,
    or a leaf where ``true_leafs`` or ``false_leafs`` says so. ``members`` are the values that a `MEMBER` node lists.
    """

    roots: np.ndarray
    features: np.ndarray
    modes: np.ndarray
    splits: np.ndarray
    members: dict[int, np.ndarray]
    missing_is_true: np.ndarray
    true_ids: np.ndarray
    true_leafs: np.ndarray
    false_ids: np.ndarray
    false_leafs: np.ndarray
    weights: np.ndarray
    averages: bool
    base: float
    alpha: float
    transform: Literal["identity", "sigmoid", "exponential"]
    rounds_rows: bool


def read_forest(model: bytes) -> Forest:
    """The trees of an ONNX model.

    Raises
    ------
    UnknownFormError
        If it is not of the form that the module's docstring shows.
    """
    try:
        graph = read_graph(model)
    except UnreadableError as error:
        raise UnknownFormError(str(error)) from error
    nodes = _chain(graph)
    places = [place for place, node in enumerate(nodes) if node.operator == "TreeEnsemble"]
    if len(places) != 1:
        raise UnknownFormError(f"there are {len(places)} tree ensembles; one is read here")
    before, (trees, add, *tail) = nodes[: places[0]], nodes[places[0] :]
    casts = tuple(node.attributes.get("to") for node in before)
    operators = tuple(node.operator for node in tail)
    if casts not in ((), _CASTS) or add.operator != "Add" or operators[-1:] != ("Reshape",):
        raise UnknownFormError(f"it is {[node.operator for node in nodes]}, which is not how trees are compiled")
    if operators[:-1] not in _TAILS:
        raise UnknownFormError(f"its sum becomes a score by {operators}, which is not known here")
    transform = _TAILS[operators[:-1]]
    alpha = _number(graph, tail[0]) if transform == "sigmoid" else 1.0
    return _forest(trees, _number(graph, add), alpha, transform, bool(casts))


def _chain(graph: Graph) -> list[Node]:
    """The nodes, each of which must work on what the one before gives; further inputs are constants."""
    nodes = list(graph.nodes)
    if not nodes:
        raise UnknownFormError("there are no operators")
    for earlier, later in itertools.pairwise(nodes):
        if later.inputs[:1] != earlier.outputs or not set(later.inputs[1:]) <= graph.constants.keys():
            raise UnknownFormError(f"{later.operator} does not work on what {earlier.operator} gives")
    return nodes


def _number(graph: Graph, node: Node) -> float:
    values = graph.constants[node.inputs[1]] if len(node.inputs) == 2 else np.empty(0)
    if values.shape != (1,) or values.dtype != np.float64:
        raise UnknownFormError(f"{node.operator} has a constant of shape {values.shape}; one float64 is known here")
    return float(values[0])


def _forest(node: Node, base: float, alpha: float, transform: Any, rounds_rows: bool) -> Forest:
    given = node.attributes
    if unknown := given.keys() - _KNOWN:
        raise UnknownFormError(f"its trees have {sorted(unknown)}, which are not known here")
    if missing := _KNOWN - given.keys() - {"membership_values"}:
        raise UnknownFormError(f"its trees lack {sorted(missing)}")
    arrays = [given[name] for name in ("nodes_modes", "nodes_splits", "leaf_weights")]
    if not all(isinstance(each, np.ndarray) and each.ndim == 1 for each in arrays) or not all(
        isinstance(given[name], list) for name in (*_LISTS, "tree_roots", "leaf_targetids")
    ):
        raise UnknownFormError("its trees' attributes are not of the kinds that they are written in here")
    modes, splits, weights = arrays
    if any(given["leaf_targetids"]) or given["n_targets"] != 1 or given["post_transform"]:
        raise UnknownFormError("its trees have more than one sum")
    lists = [np.array(given[name], np.int64) for name in _LISTS]
    features, missing_is_true, true_ids, true_leafs, false_ids, false_leafs = lists
    if {len(each) for each in (*lists, splits)} != {len(modes)} or not set(modes.tolist()) <= set(_MODES):
        raise UnknownFormError("its nodes' lists differ in length, or hold tests that are not known here")
    for ids, leafs in ((true_ids, true_leafs), (false_ids, false_leafs)):
        if ((ids < 0) | (ids >= np.where(leafs, len(weights), len(modes)))).any() or (features < 0).any():
            raise UnknownFormError("a branch leads to nowhere")
    return Forest(
        roots=np.array(given["tree_roots"], np.int64),
        features=features,
        modes=modes,
        splits=splits,
        members=_members(modes, given.get("membership_values", np.empty(0))),
        missing_is_true=missing_is_true.astype(bool),
        true_ids=true_ids,
        true_leafs=true_leafs.astype(bool),
        false_ids=false_ids,
        false_leafs=false_leafs.astype(bool),
        weights=weights,
        averages=given["aggregate_function"] == _AVERAGE,
        base=base,
        alpha=alpha,
        transform=transform,
        rounds_rows=rounds_rows,
    )


def _members(modes: np.ndarray, values: np.ndarray) -> dict[int, np.ndarray]:
    """The lists of the nodes that have one; NaN ends each."""
    ends = np.flatnonzero(np.isnan(values))
    nodes = np.flatnonzero(modes == MEMBER)
    if len(nodes) != len(ends) or (len(ends) and ends[-1] != len(values) - 1):
        raise UnknownFormError(f"{len(nodes)} nodes test for members, and there are {len(ends)} lists")
    return {
        int(node): values[start:end]
        for node, start, end in zip(nodes, [0, *(ends + 1).tolist()], ends.tolist(), strict=False)
    }
