"""Finding predictions: one by its id over all models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.errors import UnknownPredictionError
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.schema import id_bytes


def find_prediction(predictions_dir: Path, prediction_id: str) -> tuple[str, dict[str, Any]]:
    """The model and the record of a prediction.

    Returns
    -------
    tuple
        Model name, and the record as :meth:`PredictionLog.get` gives it.

    Raises
    ------
    UnknownPredictionError
        If no model's log has it.
    """
    id_bytes(prediction_id)
    models = sorted(folder.name for folder in predictions_dir.glob("*") if folder.is_dir())
    for model in models:
        try:
            return model, PredictionLog(predictions_dir / model).get(prediction_id)
        except UnknownPredictionError:
            continue
    raise UnknownPredictionError(
        f"no prediction {prediction_id!r} is on record; searched the logs of {', '.join(models) or 'no model'} "
        f"in {predictions_dir}"
    )
