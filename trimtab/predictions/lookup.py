"""Finding predictions: one by its id over all models."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from trimtab.errors import PrunedPredictionError, UnknownPredictionError
from trimtab.predictions.gaps import gap_over, tell_gaps
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.schema import id_bytes
from trimtab.settings import Settings


def log_names(predictions_dir: Path) -> list[str]:
    """The models that have a log, in order."""
    try:
        return sorted(entry.name for entry in os.scandir(predictions_dir) if entry.is_dir())
    except FileNotFoundError:
        return []


def find_prediction(
    predictions_dir: Path,
    prediction_id: str,
    models: Collection[str] | None = None,
    settings: Settings | None = None,
) -> tuple[str, dict[str, Any]]:
    """The model and the record of a prediction.

    Parameters
    ----------
    predictions_dir
        The folder of the logs, one folder a model.
    prediction_id
        A UUID.
    models
        Only the logs of these; all by default.
    settings
        How S3 is reached; by default as this process's environment says.

    Returns
    -------
    tuple
        Model name, and the record as :meth:`PredictionLog.get` gives it.

    Raises
    ------
    UnknownPredictionError
        If no model's log has it; ``PrunedPredictionError`` if it was deleted under a model's retention.
    """
    key = id_bytes(prediction_id)
    deleted: PrunedPredictionError | None = None
    settings = settings or Settings.from_env()
    names = [name for name in log_names(predictions_dir) if models is None or name in models]
    for model in names:
        try:
            return model, PredictionLog(predictions_dir / model, settings).get(prediction_id)
        except PrunedPredictionError as error:
            deleted = error
        except UnknownPredictionError:
            continue
    if deleted is not None:
        raise deleted
    for model in names:
        if gap := gap_over(predictions_dir / model, key):
            raise UnknownPredictionError(
                f"no prediction {prediction_id!r} is on record; if {model} made it, it is one of those that were not "
                f"logged: {tell_gaps([gap])}"
            )
    raise UnknownPredictionError(
        f"no prediction {prediction_id!r} is on record; searched the logs of {', '.join(names) or 'no model'} "
        f"in {predictions_dir}"
    )
