"""The two ways that trimtab is held against, on the same flights: version 1 for ever, and a new model every month.

Both go through the code that the flows go through: the same source, windows, checks, encoding and trainer. The monthly
retraining asks no gate: what was trained serves from the first of the month on, as a cron job would have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa

from demo.flights import Flights
from trimtab.models import Model
from trimtab.predictions.schema import microseconds
from trimtab.scoring.model import Artifact
from trimtab.settings import Settings


def never_retrained(settings: Settings, flights: Flights, artifact_digest: str) -> np.ndarray:
    """Version 1's scores of all flights, by the artifact that served as version 1; float64 of shape (rows,)."""
    artifact = Artifact.load(settings.artifacts_dir / artifact_digest, artifact_digest)
    return artifact.predict(artifact.encode(_columns(flights.model, flights.table)))


def retrained_monthly(flights: Flights, first: np.ndarray, start: datetime, end: datetime) -> tuple[np.ndarray, int]:
    """Scores of a model that is retrained on the first of every month.

    Parameters
    ----------
    flights
        From ``start`` on; those after ``end`` are scored by the last model.
    first
        Scores of the model that serves from ``start`` until the first retraining, of shape (rows,).

    Returns
    -------
    tuple
        Scores of shape (rows,), and the number of retrainings.
    """
    scores, retrains = first.copy(), 0
    months = list(_months(start, end))
    edges = np.searchsorted(flights.event_time, [microseconds(month) for month in months], side="left")
    for month, (low, high) in zip(months, pairwise([*edges, len(scores)]), strict=True):
        if high > low:
            scores[low:high] = _train(flights.model, month, flights.table.slice(low, high - low))
            retrains += 1
    return scores, retrains


def _train(model: Model, as_of: datetime, rows: pa.Table) -> np.ndarray:
    """Scores of these rows by a model trained as ``retrain`` would at ``as_of``."""
    from trimtab.scoring.model import Encoder, estimator_scorer
    from trimtab.training.fitting import fit
    from trimtab.training.snapshots import conform
    from trimtab.training.windows import training_span

    spec, (start, end) = model.spec, training_span(model.spec, as_of)
    frame = model.function(spec.source)(start, end, as_of)
    table = conform(spec, frame, start, end, spec.training.minimum_rows)
    trainer = spec.trainers[0]
    features, estimator = fit(spec, trainer, model.function(trainer.function), table)
    return estimator_scorer(estimator, spec.target.kind)(Encoder(features)(_columns(model, rows)))


def _months(start: datetime, end: datetime) -> Iterator[datetime]:
    """Each first of a month after ``start`` and before ``end``."""
    first = _next_month(start)
    while first < end:
        yield first
        first = _next_month(first)


def _next_month(moment: datetime) -> datetime:
    years, month = divmod(moment.month, 12)
    return datetime(moment.year + years, month + 1, 1, tzinfo=UTC)


def _columns(model: Model, table: pa.Table) -> dict[str, list[object]]:
    return {name: table[name].to_pylist() for name in model.spec.feature_names}
