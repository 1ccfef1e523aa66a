"""Save the estimator as an MLflow model with a signature, as `log_model` with an input example would.

Two models: one whose signature names the columns (for `dataframe_split`), one of a tensor (for `inputs`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import mlflow.sklearn
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

estimator, folder = joblib.load(sys.argv[1]), Path(sys.argv[2])
width = estimator.n_features_in_
columns = Schema([ColSpec("double", f"f{number}") for number in range(width)])
tensor = Schema([TensorSpec(np.dtype("float64"), (-1, width))])
for name, schema in (("columns", columns), ("tensor", tensor)):
    mlflow.sklearn.save_model(
        estimator,
        str(folder / name),
        signature=ModelSignature(inputs=schema, outputs=Schema([TensorSpec(np.dtype("float64"), (-1, 2))])),
        # Given, so that nothing is inferred: that takes 10 to 20 s.
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba",
    )
