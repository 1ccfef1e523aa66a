"""What a training run looks like in MLflow: parameters, data, metrics, and the model with its signature."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from trimtab.answers import score_names
from trimtab.records import Snapshot
from trimtab.spec import ModelSpec, Trainer

if TYPE_CHECKING:
    from trimtab.training.artifacts import Built

_EXAMPLE_ROWS = 5
_DIGEST_LENGTH = 36


def log_training(spec: ModelSpec, trainer: Trainer, snapshot: Snapshot, table: pa.Table, built: Built) -> str:
    """Log parameters, data, metrics and the model to the active run; returns the MLflow model's URI."""
    import mlflow

    from trimtab.decay.answers import target_of
    from trimtab.metrics import compare
    from trimtab.scoring import model as reader
    from trimtab.training.snapshots import feature_columns

    artifact = reader.Artifact.load(built.folder, built.digest)
    scores = artifact.predict(artifact.encode(feature_columns(spec, table)))
    target = target_of(spec, table)
    fitted = compare(
        spec.target.kind, target, {"": scores}, threshold=spec.serving.decision_threshold, resamples=0
    ).scores[""]
    mlflow.log_params({"trainer": trainer.name, "seed": trainer.seed, "rows": table.num_rows, **trainer.parameters})
    mlflow.log_metrics({f"training_{name}": metric.value for name, metric in fitted.items()})
    mlflow.set_tags(
        {
            "trimtab.artifact_digest": built.digest,
            "trimtab.artifact_format": built.format,
            "trimtab.format_reason": built.reason,
            "trimtab.environment_digest": built.environment_digest,
        }
    )
    frame = table.to_pandas()
    mlflow.log_input(_dataset(spec, snapshot, frame), context="training")
    info = mlflow.pyfunc.log_model(
        name="model",
        python_model=str(Path(reader.__file__).with_name("pyfunc.py")),
        artifacts={"artifact": str(built.folder), "reader": reader.__file__},
        signature=_signature(spec),
        input_example=_example(spec, frame),
        pip_requirements=_requirements(built),
    )
    return str(info.model_uri)


def _dataset(spec: ModelSpec, snapshot: Snapshot, frame: Any) -> Any:
    import mlflow

    typed = frame.astype({feature.name: "float64" for feature in spec.features if feature.type == "integer"})
    with warnings.catch_warnings():
        # MLflow finds two names for its one source of local files, and says so.
        warnings.filterwarnings("ignore", "The specified dataset source can be interpreted", UserWarning)
        return mlflow.data.from_pandas(
            typed if spec.target.classes else typed.astype({spec.target.name: "float64"}),
            source=snapshot.uri,
            targets=spec.target.name,
            name=f"{spec.name} {snapshot.purpose}",
            digest=snapshot.digest[:_DIGEST_LENGTH],
        )


def _signature(spec: ModelSpec) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, ColSpec, Schema

    types = {"number": "double", "integer": "long", "category": "string", "boolean": "boolean"}
    # With nulls in it a column of whole numbers or truth values has another type in pandas.
    inputs = [
        ColSpec(AnyType() if feature.nullable and feature.type in ("integer", "boolean") else types[feature.type], name)
        for name, feature in zip(spec.feature_names, spec.features, strict=True)
    ]
    outputs = [ColSpec("double", name) for name in score_names(spec.target.classes)]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _example(spec: ModelSpec, frame: Any) -> Any:
    return frame[spec.feature_names].dropna().head(_EXAMPLE_ROWS)


def _requirements(built: Built) -> list[str]:
    """The artifact's own lock, and what MLflow's form of it needs besides: stated, so that nothing is inferred."""
    lines = (built.folder / "requirements.txt").read_text().splitlines()
    pinned = [line.split(" \\")[0].strip() for line in lines if "==" in line]
    return [*pinned, f"mlflow=={version('mlflow')}", f"pandas=={version('pandas')}"]
