"""The artifact in MLflow's form: a model from code, logged by path, never pickled.

It carries the artifact's folder and its reader (``model.py``), so that it loads wherever its requirements are
installed, and scores as the served model does: by the same code, from the same bytes.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.models import set_model

ARTIFACT, READER = "artifact", "reader"
_READER_MODULE = "trimtab_artifact_reader"


class TrimtabModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Scores data frames with the features' columns; other columns are ignored."""

    # The signature that is logged with the model says what type hints would: MLflow asks for no others.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        """Load the artifact that the MLflow model carries."""
        spec = importlib.util.spec_from_file_location(_READER_MODULE, context.artifacts[READER])
        assert spec is not None
        assert spec.loader is not None
        reader = importlib.util.module_from_spec(spec)
        # msgspec looks annotations up in the module of that name.
        sys.modules[_READER_MODULE] = reader
        spec.loader.exec_module(reader)
        self._artifact = reader.Artifact.load(Path(context.artifacts[ARTIFACT]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Score a data frame of shape (rows, columns); returns float64 scores of shape (rows,), or (rows,
        classes)."""
        columns = {
            str(name): [None if missing else value for value, missing in zip(values, values.isna(), strict=True)]
            for name, values in model_input.items()
        }
        return self._artifact.predict(self._artifact.encode(columns))


set_model(TrimtabModel())
