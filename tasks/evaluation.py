"""Evaluation: the artifacts that would serve, and the one that does, scored on the same mature out-of-time rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from trimtab.errors import EvaluationError
from trimtab.models import load_model
from trimtab.records import Candidate, Decision, Evaluation, Metric, Snapshot, content_id
from trimtab.settings import Settings
from trimtab.spec import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@task(task_run_name="evaluate {model}", timeout_seconds=3600, tags=["evaluation"], cache_policy=NO_CACHE)
def evaluate(model: str, candidates: Sequence[Candidate], champion: Candidate | None, snapshot: Snapshot) -> Evaluation:
    """Score every candidate and the champion on an evaluation snapshot, with paired intervals; show it in the run.

    The artifact is loaded as the scorer loads it, and refused if it is not the one on record. Idempotent. Does not
    record.

    Parameters
    ----------
    model
        Name of the model.
    candidates
        What training gave; the champion may be among them.
    champion
        What serves; None before the first release.
    snapshot
        Mature rows that no candidate was trained on.

    Raises
    ------
    EvaluationError
        If an artifact is missing or altered, or does not score these rows.
    """
    from trimtab.decay.answers import target_of
    from trimtab.training.judging import judge
    from trimtab.training.snapshots import read_snapshot

    settings = Settings.from_env()
    spec = load_model(settings.models_dir, model).spec
    table = read_snapshot(snapshot)
    target = target_of(spec, table)
    subjects = {one.id: one for one in (*candidates, *((champion,) if champion else ()))}
    scores = {subject: score(spec, one, table, settings) for subject, one in sorted(subjects.items())}
    champion_id = champion.id if champion else None
    record_id = evaluation_id(snapshot, champion, candidates)
    evaluation = judge(spec, record_id, snapshot.id, table, scores, champion_id)
    _show(spec, evaluation, {one.id: _label(one, champion_id) for one in subjects.values()}, target, scores)
    return evaluation


def evaluation_id(snapshot: Snapshot, champion: Candidate | None, candidates: Sequence[Candidate]) -> str:
    """The id under which evaluating these on this snapshot is on record."""
    return content_id(
        "evaluation", snapshot.id, champion.id if champion else None, sorted(one.id for one in candidates)
    )


def score(spec: ModelSpec, candidate: Candidate, table: pa.Table, settings: Settings) -> np.ndarray:
    """What a candidate's artifact says of these rows, of shape (rows,); of several classes (rows, classes).

    Raises
    ------
    EvaluationError
        If the artifact is missing or altered, or does not score these rows.
    """
    from trimtab.decay.answers import of_classes
    from trimtab.scoring.model import Artifact, ArtifactError
    from trimtab.training.snapshots import feature_columns

    try:
        artifact = Artifact.load(settings.artifacts_dir / candidate.artifact_digest, candidate.artifact_digest)
        scores = artifact.predict(artifact.encode(feature_columns(spec, table)))
    except ArtifactError as error:
        raise EvaluationError(f"{candidate.id} of {spec.name} cannot be evaluated: {error}") from error
    return of_classes(spec.target.classes, artifact.manifest.classes, scores)


@task(task_run_name="show decision on {decision.model}", tags=["evaluation"], cache_policy=NO_CACHE)
def show_decision(decision: Decision, trainers: Mapping[str, str]) -> None:
    """Make every gate with its number, and the reason, artifacts of the run; ``trainers`` names candidates by id."""
    create_table_artifact(
        key=f"{decision.model}-gates",
        description=decision.reason,
        table=[
            {
                "candidate": trainers.get(gate.candidate_id, gate.candidate_id),
                "gate": gate.gate,
                "passed": "yes" if gate.passed else "NO",
                "value": "" if gate.value is None else round(gate.value, 6),
                "threshold": "" if gate.threshold is None else gate.threshold,
                "reason": gate.reason,
            }
            for gate in decision.gates
        ],
    )
    winner = trainers.get(decision.winner_id or "", decision.winner_id)
    headline = f"{winner} is to be released" if winner else "No release"
    get_run_logger().info("%s: %s", headline, decision.reason)
    create_markdown_artifact(
        key=f"{decision.model}-decision",
        description=headline,
        markdown=f"# {headline}\n\n{decision.reason}\n\nRecorded as `{decision.id}`, from `{decision.evaluation_id}`.",
    )


def _label(candidate: Candidate, champion_id: str | None) -> str:
    return f"{'champion' if candidate.id == champion_id else candidate.trainer} ({candidate.id})"


def _show(
    spec: ModelSpec,
    evaluation: Evaluation,
    labels: Mapping[str, str],
    target: np.ndarray,
    scores: Mapping[str, np.ndarray],
) -> None:
    from trimtab.pages.evaluation import plot_evaluation

    create_table_artifact(
        key=f"{spec.name}-evaluation",
        description="each model on the same rows, with 95 % intervals, and its difference from the champion",
        table=[
            {
                "model": labels[subject],
                "metric": name,
                "value": _number(metric),
                "minus champion": _number(evaluation.differences.get(subject, {}).get(name)),
                "rows": metric.rows,
            }
            for subject, metrics in evaluation.scores.items()
            for name, metric in metrics.items()
        ],
    )
    picture = plot_evaluation(spec.target.kind, target, {labels[subject]: said for subject, said in scores.items()})
    create_markdown_artifact(
        key=f"{spec.name}-evaluation-plot",
        description="ranking and calibration on the evaluation rows",
        markdown="\n\n".join(
            (
                f"# {spec.name} on {len(target):,} mature rows",
                f"![evaluation]({picture})",
                _slice_table(evaluation, labels),
            )
        ),
    )


def _slice_table(evaluation: Evaluation, labels: Mapping[str, str]) -> str:
    if not evaluation.slices:
        return ""
    cells = [
        (f"{one.column} = {one.value}", labels[one.subject], one.metric.name, _number(one.metric), str(one.metric.rows))
        for one in evaluation.slices
    ]
    rows = ["| " + " | ".join(row) + " |" for row in (("slice", "model", "metric", "value", "rows"), *cells)]
    return "\n".join([rows[0], "|---|---|---|---|---|", *rows[1:]])


def _number(metric: Metric | None) -> str:
    return "" if metric is None else f"{metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}]"
