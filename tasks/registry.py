"""The MLflow model registry: a version for each winner, and the alias that says which one serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from trimtab.errors import RegistryError, ServiceUnavailableError
from trimtab.records import Candidate, Decision, Evaluation, Version, content_id
from trimtab.settings import Settings
from trimtab.tracking import require_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
TAG_CANDIDATE_ID, TAG_DECISION_ID = "trimtab.candidate_id", "trimtab.decision_id"
_GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def _unanswered(_task: object, _run: object, state: object) -> bool:
    return isinstance(state.result(raise_on_failure=False), ServiceUnavailableError)  # type: ignore[attr-defined]


@task(
    task_run_name="register {candidate.trainer} of {candidate.model}",
    retries=3,
    retry_delay_seconds=5,
    retry_condition_fn=_unanswered,
    timeout_seconds=300,
    tags=["mlflow"],
    cache_policy=NO_CACHE,
)
def register(candidate: Candidate, decision: Decision) -> Version:
    """Give the winner its number in the registry.

    Idempotent: a candidate has one version, however often it wins or the step is run. Does not record.

    Raises
    ------
    RegistryError
        If the candidate is not the decision's winner.
    ServiceUnavailableError
        If MLflow does not answer, after retries.
    """
    if decision.winner_id != candidate.id:
        raise RegistryError(f"{candidate.id} is not the winner of {decision.id}, which is {decision.winner_id}")
    with _registry() as client:
        number = _version_of(client, candidate) or _create(client, candidate, decision)
    return Version(
        id=content_id("version", candidate.id, decision.id),
        model=candidate.model,
        version=number,
        candidate_id=candidate.id,
        decision_id=decision.id,
        uri=f"models:/{candidate.model}/{number}",
    )


@task(
    task_run_name="promote {version.model} {version.version}",
    retries=3,
    retry_delay_seconds=5,
    retry_condition_fn=_unanswered,
    timeout_seconds=300,
    tags=["mlflow"],
    cache_policy=NO_CACHE,
)
def promote(version: Version) -> Version:
    """Move the alias ``champion`` to the version that serves. Idempotent.

    Raises
    ------
    RegistryError
        If the registry has no such version, or has another candidate under its number.
    ServiceUnavailableError
        If MLflow does not answer, after retries.
    """
    from mlflow.exceptions import MlflowException

    with _registry() as client:
        try:
            registered = client.get_model_version(version.model, version.version)
        except MlflowException as error:
            if error.error_code not in _GONE:
                raise
            raise RegistryError(
                f"MLflow has no version {version.version} of {version.model}; it was recorded"
            ) from error
        if (found := registered.tags.get(TAG_CANDIDATE_ID)) != version.candidate_id:
            raise RegistryError(
                f"MLflow has candidate {found} as {version.model} {version.version}; "
                f"on record is {version.candidate_id}"
            )
        client.set_registered_model_alias(version.model, CHAMPION, version.version)
        client.set_model_version_tag(version.model, version.version, "trimtab.version_id", version.id)
    return version


@task(
    task_run_name="note decision on {decision.model}",
    retries=3,
    retry_delay_seconds=5,
    retry_condition_fn=_unanswered,
    timeout_seconds=300,
    tags=["mlflow"],
    cache_policy=NO_CACHE,
)
def note_decision(candidates: Sequence[Candidate], evaluation: Evaluation, decision: Decision) -> None:
    """Write what was measured and decided to the candidates' MLflow runs, beside what went in. Idempotent.

    Raises
    ------
    ServiceUnavailableError
        If MLflow does not answer, after retries.
    """
    with _registry() as client:
        for candidate in candidates:
            for name, metric in evaluation.scores[candidate.id].items():
                client.log_metric(candidate.run_id, f"evaluation_{name}", metric.value)
            client.set_tag(candidate.run_id, "trimtab.evaluation_id", evaluation.id)
            client.set_tag(candidate.run_id, TAG_DECISION_ID, decision.id)
            client.set_tag(candidate.run_id, "trimtab.won", str(candidate.id == decision.winner_id).lower())


@task(
    task_run_name="look up champion of {model}",
    retries=3,
    retry_delay_seconds=5,
    retry_condition_fn=_unanswered,
    cache_policy=NO_CACHE,
)
def champion_version(model: str) -> str | None:
    """The number of the version under the alias ``champion``, or None.

    Raises
    ------
    ServiceUnavailableError
        If MLflow does not answer, after retries.
    """
    from mlflow.exceptions import MlflowException

    with _registry() as client:
        try:
            return str(client.get_model_version_by_alias(model, CHAMPION).version)
        except MlflowException as error:
            if error.error_code not in _GONE:
                raise
            return None


@contextmanager
def _registry() -> Iterator[MlflowClient]:
    """The registry's client; what fails in it for want of a server is a `ServiceUnavailableError`."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    url = Settings.from_env().mlflow_url
    require_mlflow(url)
    try:
        yield MlflowClient(tracking_uri=url, registry_uri=url)
    except MlflowException as error:
        raise ServiceUnavailableError(f"MLflow's registry at {url} failed: {error}") from error


def _version_of(client: MlflowClient, candidate: Candidate) -> str | None:
    query = f"name = '{candidate.model}' and tags.`{TAG_CANDIDATE_ID}` = '{candidate.id}'"
    numbers = [int(version.version) for version in client.search_model_versions(query)]
    return str(min(numbers)) if numbers else None


def _create(client: MlflowClient, candidate: Candidate, decision: Decision) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(candidate.model, tags={"trimtab": "model"})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # The tags come with the version: there is never one of which nobody knows what it is.
    created = client.create_model_version(
        candidate.model,
        source=candidate.artifact_uri,
        run_id=candidate.run_id,
        model_id=candidate.artifact_uri.removeprefix("models:/"),
        description=decision.reason,
        tags={
            TAG_CANDIDATE_ID: candidate.id,
            TAG_DECISION_ID: decision.id,
            "trimtab.artifact_digest": candidate.artifact_digest,
            "trimtab.trainer": candidate.trainer,
            "trimtab.snapshot_id": candidate.snapshot_id,
        },
    )
    return str(created.version)
