"""Training: each trainer an MLflow run, each estimator an artifact that is evaluated and served as it is.

mlflow_run.py (what a run looks like in MLflow) · trimtab/training/artifacts.py (how an estimator becomes an artifact)
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.training.mlflow_run import log_training
from trimtab.errors import ServiceUnavailableError, TrainingError
from trimtab.models import Model, load_model
from trimtab.records import Candidate, Snapshot, Validation, content_id
from trimtab.release.environment import export_lock, lock_digest
from trimtab.settings import Settings
from trimtab.spec import ModelSpec, Trainer
from trimtab.tracking import require_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG_CANDIDATE_ID, TAG_CANDIDATE = "trimtab.candidate_id", "trimtab.candidate"
_TRAINING_PACKAGES = ("numpy", "scikit-learn", "treelite", "onnx", "skops")


@task(
    task_run_name="train {trainer} for {model}",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=lambda _task, _run, state: isinstance(
        state.result(raise_on_failure=False), ServiceUnavailableError
    ),
    timeout_seconds=6 * 3600,
    tags=["training", "mlflow"],
    cache_policy=NO_CACHE,
)
def train(model: str, trainer: str, snapshot: Snapshot, validation: Validation, cause_id: str = "") -> Candidate:
    """Train on a validated snapshot, make the artifact, and log both as an MLflow run.

    Idempotent: a run that finished for the same snapshot, trainer, code and environment is returned instead. A run
    that was cut off is closed as killed. Does not record.

    Parameters
    ----------
    model, trainer
        Names of the model and of one of its trainers.
    snapshot, validation
        What to train on, and what the suite said of it.
    cause_id
        Id of the cause of the run, kept as a tag.

    Raises
    ------
    TrainingError
        If the validation is not a success, the trainer fails, or what it returns cannot be evaluated and served.
    ServiceUnavailableError
        If MLflow does not answer, after retries.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    settings = Settings.from_env()
    if not validation.success or validation.subject_id != snapshot.id:
        raise TrainingError(
            f"{validation.id} is no passed validation of {snapshot.id}: nothing is trained on such rows"
        )
    found = load_model(settings.models_dir, model)
    require_mlflow(settings.mlflow_url)
    client = MlflowClient(tracking_uri=settings.mlflow_url, registry_uri=settings.mlflow_url)
    record_id = candidate_id(found, trainer, snapshot.id)
    try:
        return _logged_before(client, model, record_id, settings) or _train(
            client, found, _trainer(found.spec, trainer), snapshot, validation, record_id, cause_id, settings
        )
    except MlflowException as error:
        raise ServiceUnavailableError(f"MLflow at {settings.mlflow_url} failed while training: {error}") from error


def candidate_id(model: Model, trainer: str, snapshot_id: str) -> str:
    """The id under which training this trainer on this snapshot is on record: it follows from all that goes in."""
    chosen = _trainer(model.spec, trainer)
    code = hashlib.sha256()
    for path in sorted(model.folder.rglob("*.py")):
        code.update(f"{path.relative_to(model.folder)}\0".encode() + path.read_bytes())
    environment = {
        "packages": {name: version(name) for name in _TRAINING_PACKAGES},
        "locks": [lock_digest(export_lock(name)) for name in ("onnx", "skops")],
        "code": code.hexdigest(),
    }
    return content_id("candidate", snapshot_id, chosen.name, chosen.seed, chosen.parameters, environment)


def _train(
    client: MlflowClient,
    model: Model,
    trainer: Trainer,
    snapshot: Snapshot,
    validation: Validation,
    record_id: str,
    cause_id: str,
    settings: Settings,
) -> Candidate:
    import mlflow

    from trimtab.training.artifacts import build_artifact
    from trimtab.training.fitting import fit
    from trimtab.training.snapshots import read_snapshot

    table = read_snapshot(snapshot)
    mlflow.set_tracking_uri(settings.mlflow_url)
    mlflow.set_registry_uri(settings.mlflow_url)
    experiment = mlflow.set_experiment(model.spec.name)
    tags = {
        TAG_CANDIDATE_ID: record_id,
        "trimtab.model": model.spec.name,
        "trimtab.trainer": trainer.name,
        "trimtab.snapshot_id": snapshot.id,
        "trimtab.validation_id": validation.id,
        "trimtab.cause_id": cause_id,
    }
    name = f"{trainer.name} to {snapshot.end:%Y-%m-%d}" + (f" on {snapshot.window}" if snapshot.window else "")
    with mlflow.start_run(experiment_id=experiment.experiment_id, run_name=name, tags=tags) as run:
        _, estimator = fit(model.spec, trainer, model.function(trainer.function), table)
        built = build_artifact(model.spec, estimator, table, settings.artifacts_dir)
        uri = log_training(model.spec, trainer, snapshot, table, built)
        candidate = Candidate(
            id=record_id,
            model=model.spec.name,
            trainer=trainer.name,
            snapshot_id=snapshot.id,
            validation_id=validation.id,
            run_id=run.info.run_id,
            artifact_digest=built.digest,
            artifact_uri=uri,
            artifact_format=built.format,
            format_reason=built.reason,
            environment_digest=built.environment_digest,
            seed=trainer.seed,
            trained_at=datetime.now(UTC),
        )
        # Set last: a run without it was cut off, and is not used.
        client.set_tag(run.info.run_id, TAG_CANDIDATE, candidate.model_dump_json())
    return candidate


def _logged_before(client: MlflowClient, model: str, record_id: str, settings: Settings) -> Candidate | None:
    """The candidate of a run that finished; runs that were cut off are closed as killed."""
    experiment = client.get_experiment_by_name(model)
    if experiment is None:
        return None
    for run in client.search_runs([experiment.experiment_id], f"tags.`{TAG_CANDIDATE_ID}` = '{record_id}'"):
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
        stated = run.data.tags.get(TAG_CANDIDATE)
        if stated is not None:
            candidate = Candidate.model_validate_json(stated)
            if (settings.artifacts_dir / candidate.artifact_digest).is_dir():
                return candidate
    return None


def _trainer(spec: ModelSpec, name: str) -> Trainer:
    for trainer in spec.trainers:
        if trainer.name == name:
            return trainer
    raise TrainingError(f"{spec.name} has no trainer {name!r}; it has {[trainer.name for trainer in spec.trainers]}")
