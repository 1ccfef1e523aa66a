"""Tree ensembles as ONNX: one ``TreeEnsemble`` node in double precision, and what makes its sum a score.

treelite reads the estimators (scikit-learn's, XGBoost's, LightGBM's); its arrays become the node's attributes here. The
bytes follow from the trees alone. What is written is proved by parity with the estimator (parity.py), never trusted.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.errors import ParityError

if TYPE_CHECKING:
    import onnx
    import treelite

INPUT, OUTPUT = "rows", "score"
_IR_VERSION, _OPSET, _ML_OPSET = 10, 21, 5

# treelite's numbers.
_CATEGORICAL, _FLOAT32, _LESS_OR_EQUAL = 2, 2, 3
_LEAF_SHAPES = ((1, 1), (1, 2))

# The operator's numbers; the comparisons by treelite's number for none, ==, <, <=, > and >=.
_AVERAGE, _SUM = 0, 1
_MODES = np.array([255, 4, 1, 0, 3, 2])
_MEMBER = 6

_ROUNDING_MODULES = ("sklearn.ensemble._forest", "sklearn.ensemble._gb", "sklearn.ensemble._iforest")


def compile_trees(estimator: Any) -> bytes:
    """An estimator made of trees as an ONNX model; the same bytes for the same trees.

    Its input ``rows`` is float64 of shape (rows, features), its output ``score`` float64 of shape (rows,): the
    probability of 1 for a classifier, the value for a regression.

    Raises
    ------
    ParityError
        If treelite does not know the estimator, or it has a form that is not written here.
    """
    try:
        return write_trees(_import(estimator), _rounds_rows(estimator))
    except ParityError as error:
        raise ParityError(f"{type(estimator).__name__} is not compiled: {error}") from error


def write_trees(trees: treelite.Model, rounds_rows: bool = False) -> bytes:
    """Trees that treelite has read as an ONNX model (see `compile_trees`).

    Parameters
    ----------
    trees
        Of one output a row, or of a vector of two probabilities in each leaf.
    rounds_rows
        Whether the estimator rounds rows to float32 before it compares them; trees with float32 thresholds always do.

    Raises
    ------
    ParityError
        If the trees have more outputs, or their sum becomes a score in a way that is not written here.
    """
    header = trees.get_header_accessor()
    shape = tuple(int(size) for size in header.get_field("leaf_vector_shape"))
    sums = int(header.get_field("num_target")[0]) * (int(header.get_field("num_class")[0]) if shape[1] == 1 else 1)
    if sums != 1 or shape not in _LEAF_SHAPES:
        raise ParityError(f"it has {sums} sums a row and leaves of shape {shape}; one score a row is wanted")
    forest = _Forest()
    for number in range(int(trees.num_tree)):
        forest.append(trees.get_tree_accessor(number), shape[1] - 1)
    rounds_rows = rounds_rows or int(header.get_field("threshold_type")[0]) == _FLOAT32
    return _write(forest, header, int(trees.num_feature), rounds_rows)


@dataclass
class _Forest:
    """Inner nodes and leaves of all trees, numbered through, as the operator's attributes have them."""

    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    members: list[float] = field(default_factory=list)
    missing_is_true: list[int] = field(default_factory=list)
    true_ids: list[int] = field(default_factory=list)
    true_leafs: list[int] = field(default_factory=list)
    false_ids: list[int] = field(default_factory=list)
    false_leafs: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def append(self, tree: Any, output: int) -> None:
        """Take in a tree; ``output`` is the entry of the leaf vectors that is the score."""
        get = tree.get_field
        left, right = get("cleft"), get("cright")
        is_leaf = left < 0
        inner, leaves = np.flatnonzero(~is_leaf), np.flatnonzero(is_leaf)
        numbers = np.empty(len(left), dtype=np.int64)
        numbers[inner] = len(self.features) + np.arange(len(inner))
        numbers[leaves] = len(self.weights) + np.arange(len(leaves))
        self.roots.append(len(self.features))
        vectors = get("leaf_vector")
        at = get("leaf_vector_begin")[leaves].astype(np.int64) + output
        self.weights += (vectors[at] if len(vectors) else get("leaf_value")[leaves]).tolist()
        if len(inner):
            in_list_is_right = self._tests(get, inner)
            self.missing_is_true += (get("default_left")[inner].astype(bool) != in_list_is_right).astype(int).tolist()
            true = np.where(in_list_is_right, right[inner], left[inner])
            false = np.where(in_list_is_right, left[inner], right[inner])
        else:
            # A tree that is one leaf: a test of no consequence, for both its branches lead to that leaf.
            for values in (self.features, self.modes, self.splits, self.missing_is_true):
                values.append(0)
            true = false = leaves
        self.true_ids += numbers[true].tolist()
        self.true_leafs += is_leaf[true].astype(int).tolist()
        self.false_ids += numbers[false].tolist()
        self.false_leafs += is_leaf[false].astype(int).tolist()

    def _tests(self, get: Any, inner: np.ndarray) -> np.ndarray:
        """Take in the inner nodes' tests; returns which of them lead to the right where they are true."""
        begin, end = get("category_list_begin"), get("category_list_end")
        categorical = get("node_type")[inner] == _CATEGORICAL
        # The operator knows no empty lists: as nothing is in one, so no number is at most minus infinity.
        listed = categorical & (end > begin)[inner]
        self.features += get("split_index")[inner].tolist()
        comparisons = np.where(categorical, _LESS_OR_EQUAL, get("cmp")[inner])
        self.modes += np.where(listed, _MEMBER, _MODES[comparisons]).tolist()
        thresholds = np.where(categorical, -np.inf, get("threshold")[inner].astype(np.float64))
        self.splits += np.where(listed, 0.0, thresholds).tolist()
        categories = get("category_list")
        for node in inner[listed]:
            self.members += [*categories[int(begin[node]) : int(end[node])].astype(np.float64).tolist(), float("nan")]
        return np.asarray(categorical & get("category_list_right_child")[inner].astype(bool))


def _import(estimator: Any) -> treelite.Model:
    import treelite

    library = type(estimator).__module__.partition(".")[0]
    try:
        if library == "xgboost":
            return treelite.frontend.from_xgboost(estimator.get_booster())
        if library == "lightgbm":
            return treelite.frontend.from_lightgbm(estimator.booster_)
        with warnings.catch_warnings():
            # A category of NaN is cast on the way; what comes of it is proved by parity.
            warnings.simplefilter("ignore", RuntimeWarning)
            return treelite.sklearn.import_model(estimator)
    except (treelite.TreeliteError, NotImplementedError, ValueError, TypeError, AttributeError) as error:
        raise ParityError(str(error)) from error


def _rounds_rows(estimator: Any) -> bool:
    """All of scikit-learn's trees do but the histogram ones."""
    return any(base.__module__.startswith(_ROUNDING_MODULES) for base in type(estimator).__mro__)


def _write(forest: _Forest, header: Any, columns: int, rounds_rows: bool) -> bytes:
    from onnx import TensorProto, helper

    nodes, rows = [], INPUT
    if rounds_rows:
        nodes.append(helper.make_node("Cast", [INPUT], ["rounded"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Cast", ["rounded"], ["widened"], to=TensorProto.DOUBLE))
        rows = "widened"
    attributes: dict[str, Any] = {
        "aggregate_function": _AVERAGE if header.get_field("average_tree_output")[0] else _SUM,
        "n_targets": 1,
        "post_transform": 0,
        "tree_roots": forest.roots,
        "nodes_featureids": forest.features,
        "nodes_modes": _constant("modes", forest.modes, np.uint8),
        "nodes_splits": _constant("splits", forest.splits),
        "nodes_missing_value_tracks_true": forest.missing_is_true,
        "nodes_truenodeids": forest.true_ids,
        "nodes_trueleafs": forest.true_leafs,
        "nodes_falsenodeids": forest.false_ids,
        "nodes_falseleafs": forest.false_leafs,
        "leaf_targetids": [0] * len(forest.weights),
        "leaf_weights": _constant("weights", forest.weights),
    }
    if forest.members:
        attributes["membership_values"] = _constant("members", forest.members)
    nodes.append(helper.make_node("TreeEnsemble", [rows], ["sum"], domain="ai.onnx.ml", **attributes))
    nodes.append(helper.make_node("Add", ["sum", "base"], ["raw"]))
    match header.get_field("postprocessor"):
        case "identity" | "identity_multiclass":
            value = "raw"
        case "sigmoid":
            nodes.append(helper.make_node("Mul", ["raw", "alpha"], ["logit"]))
            nodes.append(helper.make_node("Sigmoid", ["logit"], [value := "probability"]))
        case "exponential":
            nodes.append(helper.make_node("Exp", ["raw"], [value := "power"]))
        case other:
            raise ParityError(f"its sum becomes a score by {other!r}, which is not known here")
    nodes.append(helper.make_node("Reshape", [value, "flat"], [OUTPUT]))
    constants = [_constant("base", [header.get_field("base_scores")[-1]]), _constant("flat", [-1], np.int64)]
    if value == "probability":
        constants.append(_constant("alpha", [header.get_field("sigmoid_alpha")[0]]))
    given = helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, ["n", columns])
    found = helper.make_tensor_value_info(OUTPUT, TensorProto.DOUBLE, ["n"])
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(
        helper.make_graph(nodes, "trees", [given], [found], constants),
        opset_imports=opsets,
        ir_version=_IR_VERSION,
        producer_name="trimtab",
    )
    return bytes(model.SerializeToString(deterministic=True))


def _constant(name: str, values: Any, dtype: Any = np.float64) -> onnx.TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(values, dtype=dtype), name)
