"""Runs, versions and the champion's alias in a real MLflow server."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from tasks.data import take_snapshot
from tasks.registry import champion_version, promote, register
from tasks.training import TAG_CANDIDATE, train
from tasks.validation import validate
from trimtab.errors import RegistryError, ServiceUnavailableError, TrainingError
from trimtab.models import load_model
from trimtab.records import Candidate, Decision, content_id
from trimtab.scoring.model import Artifact
from trimtab.settings import Settings
from trimtab.training.snapshots import feature_columns, read_snapshot

SPEC = load_model(Path(__file__).parents[1] / "models", "loan").spec


@pytest.fixture
def settings(settings_env: Settings, mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An empty home, and the MLflow server that all these tests share."""
    monkeypatch.setenv("TRIMTAB_MLFLOW_URL", mlflow_server)
    return dataclasses.replace(settings_env, mlflow_url=mlflow_server)


@pytest.fixture
def client(settings: Settings) -> MlflowClient:
    """A client of that server."""
    return MlflowClient(settings.mlflow_url, settings.mlflow_url)


@pytest.fixture
def trained(settings: Settings) -> Callable[[int], Candidate]:
    """Train on the rows before a day of February; in another test the same day is another home."""

    def train_on(day: int) -> Candidate:
        snapshot = take_snapshot.fn("loan", "training", datetime(2024, 2, day, tzinfo=UTC))
        return train.fn("loan", "boosting", snapshot, validate(SPEC, settings, read_snapshot(snapshot), snapshot.id))

    return train_on


def decision_on(candidate: Candidate, winner: str | None = None) -> Decision:
    return Decision(
        id=content_id("decision", candidate.id),
        model="loan",
        cause_id="cause-1",
        evaluation_id="evaluation-1",
        winner_id=winner or candidate.id,
        gates=(),
        reason="it is better",
    )


def test_a_run_has_all_that_went_into_the_candidate(
    trained: Callable[[int], Candidate], client: MlflowClient, settings: Settings
) -> None:
    """Parameters, data with its digest, metrics, tags, signature, example and the artifact's own lock are logged."""
    candidate = trained(8)
    run = client.get_run(candidate.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "7"
    assert run.data.metrics["training_log_loss"] > 0
    assert run.data.tags["trimtab.artifact_digest"] == candidate.artifact_digest
    data = run.inputs.dataset_inputs[0].dataset
    snapshot = take_snapshot.fn("loan", "training", datetime(2024, 2, 8, tzinfo=UTC))
    assert snapshot.digest.startswith(data.digest)
    model = mlflow.models.get_model_info(candidate.artifact_uri)
    assert model.signature.inputs.input_names() == SPEC.feature_names
    assert model.saved_input_example_info is not None
    requirements = (Path(mlflow.artifacts.download_artifacts(candidate.artifact_uri)) / "requirements.txt").read_text()
    assert "onnxruntime==" in requirements
    assert "prefect" not in requirements


def test_mlflow_s_form_scores_what_is_served(trained: Callable[[int], Candidate], settings: Settings) -> None:
    """The champion loaded from the registry gives the artifact's own scores, with nulls and unseen categories too."""
    candidate = trained(9)
    promote.fn(register.fn(candidate, decision_on(candidate)))
    rows = read_snapshot(take_snapshot.fn("loan", "evaluation", datetime(2024, 2, 9, tzinfo=UTC)))
    artifact = Artifact.load(settings.artifacts_dir / candidate.artifact_digest, candidate.artifact_digest)
    loaded = mlflow.pyfunc.load_model("models:/loan@champion")
    frame = rows.to_pandas()[SPEC.feature_names]
    assert (loaded.predict(frame) == artifact.predict(artifact.encode(feature_columns(SPEC, rows)))).all()
    hard = {"income": [None, 30.0], "age": [20, 50], "region": ["mars", None], "employed": [None, True]}
    typed = pd.DataFrame(hard).astype({"income": "float64"})
    assert (loaded.predict(typed) == artifact.predict(artifact.encode(hard))).all()


def test_training_twice_is_one_run(trained: Callable[[int], Candidate], client: MlflowClient) -> None:
    """What was trained on the same snapshot is found again, not trained again."""
    assert trained(10) == trained(10)


def test_a_run_that_was_cut_off_is_closed_and_not_used(
    trained: Callable[[int], Candidate], client: MlflowClient, settings: Settings
) -> None:
    """A run without its last word does not count: it is closed as killed, and training is done again."""
    candidate = trained(11)
    client.delete_tag(candidate.run_id, TAG_CANDIDATE)
    client.update_run(candidate.run_id, status="RUNNING")
    again = trained(11)
    assert again.run_id != candidate.run_id
    assert again.artifact_digest == candidate.artifact_digest
    assert client.get_run(candidate.run_id).info.status == "KILLED"


def test_a_candidate_has_one_version_however_often_it_is_registered(
    trained: Callable[[int], Candidate], client: MlflowClient
) -> None:
    """Registering again finds the version that is there; another candidate gets the next number."""
    one, other = trained(12), trained(13)
    first, again = (register.fn(one, decision_on(one)) for _ in range(2))
    assert first == again
    assert int(register.fn(other, decision_on(other)).version) > int(first.version)
    assert client.get_model_version("loan", first.version).tags["trimtab.decision_id"] == first.decision_id


def test_the_alias_moves_to_what_is_promoted(trained: Callable[[int], Candidate]) -> None:
    """Promoting moves the alias, there and back, and doing it twice changes nothing."""
    one, other = (register.fn(candidate, decision_on(candidate)) for candidate in (trained(14), trained(15)))
    for version in (one, other, other, one):
        promote.fn(version)
        assert champion_version.fn("loan") == version.version


def test_a_model_that_nobody_promoted_has_no_champion(settings: Settings) -> None:
    """Asking for the champion of an unknown model answers None."""
    assert champion_version.fn("never-heard-of") is None


def test_a_registry_that_holds_something_else_is_refused(trained: Callable[[int], Candidate]) -> None:
    """A version that is gone, or is another candidate, never becomes champion; nor is a loser registered."""
    candidate = trained(16)
    version = register.fn(candidate, decision_on(candidate))
    with pytest.raises(RegistryError, match="no version 4711"):
        promote.fn(version.model_copy(update={"version": "4711"}))
    with pytest.raises(RegistryError, match="candidate-other"):
        promote.fn(version.model_copy(update={"candidate_id": "candidate-other"}))
    with pytest.raises(RegistryError, match="not the winner"):
        register.fn(candidate, decision_on(candidate, winner="candidate-other"))


def test_nothing_is_trained_on_rows_that_failed(trained: Callable[[int], Candidate], settings: Settings) -> None:
    """A failed validation, or one of other rows, is no leave to train."""
    snapshot = take_snapshot.fn("loan", "training", datetime(2024, 2, 8, tzinfo=UTC))
    passed = validate(SPEC, settings, read_snapshot(snapshot), snapshot.id)
    for validation in (passed.model_copy(update={"success": False}), passed.model_copy(update={"subject_id": "other"})):
        with pytest.raises(TrainingError, match="no passed validation"):
            train.fn("loan", "boosting", snapshot, validation)
    with pytest.raises(TrainingError, match="has no trainer 'deep'"):
        train.fn("loan", "deep", snapshot, passed)


def test_a_server_that_is_down_is_named_within_seconds(
    trained: Callable[[int], Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without MLflow each step fails with its address in seconds, not in minutes."""
    candidate = trained(8)
    monkeypatch.setenv("TRIMTAB_MLFLOW_URL", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1:9"):
        register.fn(candidate, decision_on(candidate))
    with pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1:9"):
        champion_version.fn("loan")
    assert time.monotonic() - started < 20
