"""The policy metric as it is to be expected of rows whose outcomes are not known: whichever way suits the target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from trimtab.decay.answers import scores_of
from trimtab.decay.estimation import MINIMUM_REFERENCE_ROWS, ClassifierEstimator
from trimtab.decay.loss_estimation import FORETOLD, MINIMUM_LOSSES, RegressionEstimator
from trimtab.decay.performance import measurable
from trimtab.decay.reference import OUTCOME, Reference
from trimtab.records import Metric
from trimtab.spec import ModelSpec


def estimate(spec: ModelSpec, reference: Reference, rows: pa.Table) -> Metric | None:
    """The policy metric to be expected of these rows, if the outcome given the features is what it was.

    Parameters
    ----------
    spec
        The model's.
    reference
        Its judged rows say how scores and outcomes belong together.
    rows
        That the release answered: the features and its scores.

    Returns
    -------
    Metric or None
        None where the spec asks for none, there are no rows, the reference is too small, or the metric cannot be
        foretold (R2).
    """
    if not spec.policy.estimate.enabled or not rows.num_rows:
        return None
    key = f"{spec.digest} {spec.policy_metric}"
    if key not in reference.estimators:
        reference.estimators[key] = _fitted(spec, reference.judged)
    estimator = reference.estimators[key]
    if isinstance(estimator, RegressionEstimator):
        return estimator.estimate(rows)
    return estimator.estimate(scores_of(spec, rows)).get(spec.policy_metric) if estimator else None


def _fitted(spec: ModelSpec, judged: pa.Table) -> Any:
    outcomes = np.asarray(judged[OUTCOME].to_numpy(), dtype=np.float64)
    if spec.target.kind != "regression":
        enough = len(outcomes) >= MINIMUM_REFERENCE_ROWS and measurable(spec, outcomes)
        return ClassifierEstimator(spec, scores_of(spec, judged), outcomes) if enough else None
    if spec.policy_metric not in FORETOLD or len(outcomes) < MINIMUM_LOSSES:
        return None
    return RegressionEstimator(spec, spec.policy_metric, judged, outcomes)
