"""The policy metric on each slice of the mature rows, against the same slice of the reference."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pyarrow as pa

from trimtab.decay.answers import scores_of
from trimtab.decay.performance import measurable
from trimtab.decay.reference import OUTCOME, Reference
from trimtab.decay.slices import group_rows, quantile_edges
from trimtab.decay.standard_error import with_standard_error
from trimtab.records import Metric, Value
from trimtab.spec import ModelSpec

MAXIMUM_SLICES = 50


class SlicePerformance(Value):
    """The policy metric where ``column`` is ``value``.

    The interval of ``metric`` allows for the error of ``reference`` (the same slice at evaluation) too, and for the
    number of slices that were looked at (Bonferroni): that any slice at all is beyond its interval by chance happens as
    often as the policy's ``significance`` says.
    """

    column: str
    value: str
    metric: Metric
    reference: Metric


def slice_performance(spec: ModelSpec, reference: Reference, known: pa.Table) -> tuple[SlicePerformance, ...]:
    """The policy metric by slice; slices with too few rows here or in the reference are left out.

    Parameters
    ----------
    spec
        The model's: its ``gates.slices`` and ``protected`` name the columns.
    reference
        What the window is compared with.
    known
        The window's mature rows with an outcome: features, scores and ``outcome``.
    """
    columns = dict.fromkeys((*spec.gates.slices, *spec.protected))
    found = (
        [one for column in columns for one in _of_column(spec, column, reference.judged, known)]
        if known.num_rows
        else []
    )
    z = NormalDist().inv_cdf(1 - spec.policy.significance / (2 * max(len(found), 1)))
    return tuple(_described(spec.policy_metric, z, *one) for one in found)


_Measured = tuple[float, float, int]
"""Value, standard error and rows."""


def _of_column(
    spec: ModelSpec, column: str, judged: pa.Table, known: pa.Table
) -> list[tuple[str, str, _Measured, _Measured]]:
    kind = next(feature.type for feature in spec.features if feature.name == column)
    edges = None if kind in ("category", "boolean") else quantile_edges(judged[column])
    there, here = _by_slice(spec, column, kind, judged, edges), _by_slice(spec, column, kind, known, edges)
    both = sorted(there.keys() & here.keys(), key=lambda name: -here[name][2])[:MAXIMUM_SLICES]
    return [(column, name, here[name], there[name]) for name in both]


def _by_slice(
    spec: ModelSpec, column: str, kind: str, rows: pa.Table, edges: np.ndarray | None
) -> dict[str, _Measured]:
    groups = group_rows(rows[column], kind, edges)
    scores, outcomes = scores_of(spec, rows), np.asarray(rows[OUTCOME].to_numpy(), dtype=np.float64)
    order = np.argsort(groups.codes, kind="stable")
    bounds = np.searchsorted(groups.codes[order], np.arange(len(groups.names) + 1))
    found = {}
    for name, first, last in zip(groups.names, bounds[:-1], bounds[1:], strict=True):
        some = order[first:last]
        if len(some) >= spec.policy.slices.minimum_rows and measurable(spec, outcomes[some]):
            threshold = spec.serving.decision_threshold
            value, error = with_standard_error(spec.policy_metric, outcomes[some], scores[some], threshold)
            if math.isfinite(value) and math.isfinite(error):
                found[name] = (value, error, len(some))
    return found


def _described(metric: str, z: float, column: str, value: str, here: _Measured, there: _Measured) -> SlicePerformance:
    margin, own = z * math.hypot(here[1], there[1]), z * there[1]
    return SlicePerformance(
        column=column,
        value=value,
        metric=Metric(name=metric, value=here[0], low=here[0] - margin, high=here[0] + margin, rows=here[2]),
        reference=Metric(name=metric, value=there[0], low=there[0] - own, high=there[0] + own, rows=there[2]),
    )
