"""A home in which a model was released twice, the second time because it had decayed, and made predictions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from trimtab.ledger import Ledger
from trimtab.predictions import Outcome, Outcomes, PredictionLog, log_schema, new_prediction_ids
from trimtab.predictions.schema import id_text
from trimtab.records import (
    Action,
    Candidate,
    Cause,
    Decision,
    Evaluation,
    GateResult,
    Image,
    Metric,
    Record,
    Release,
    Ruling,
    Signal,
    Snapshot,
    Validation,
    Version,
)
from trimtab.settings import Settings

EARLY = datetime(2024, 2, 1, tzinfo=UTC)
LATE = datetime(2024, 3, 8, tzinfo=UTC)
FEATURES = [("income", "number"), ("age", "integer"), ("region", "category"), ("employed", "boolean")]


def release_twice(ledger: Ledger) -> Release:
    """Two whole chains, the second caused by a ruling on the first; returns the second release."""
    manual = Cause(id="cause-1", model="loan", trigger="manual", reason="first release", as_of=EARLY)
    first = _chain(ledger, "1", manual, None)
    ruling = Ruling(
        **{"id": "ruling-1", "model": "loan", "release_id": first.id, "validation_id": None},
        **{"start": EARLY, "end": LATE, "as_of": LATE, "action": Action.RETRAIN, "policy_digest": "policy-1"},
        reason="log_loss is lost",
        signals=(Signal(name="log_loss", value=0.91, threshold=0.5, breached=True, rows=480),),
    )
    ledger.append(ruling, "run-of-watch")
    decay = Cause(
        id="cause-2", model="loan", trigger="decay", reason="log_loss is lost", as_of=LATE, ruling_id="ruling-1"
    )
    return _chain(ledger, "2", decay, first)


def predict_and_settle(settings: Settings, release: Release, rows: int = 3) -> list[str]:
    """Log some predictions of the release and one outcome; returns the ids."""
    ids = new_prediction_ids(rows)
    batch = pa.RecordBatch.from_pydict(
        {
            "prediction_id": ids,
            **{"request_id": ["r-1"] * rows, "version": [release.version] * rows, "release_id": [release.id] * rows},
            **{"event_time": [LATE] * rows, "logged_at": [LATE] * rows, "caller": ["tests"] * rows},
            **{"income": [31.5] * rows, "age": [40] * rows, "region": [None] * rows, "employed": [True] * rows},
            "score": [0.25] * rows,
        },
        schema=log_schema(FEATURES),
    )
    folder = settings.predictions_dir / "loan"
    PredictionLog(folder).append(batch)
    Outcomes(folder).add([Outcome(id_text(ids[0]), 1.0, LATE)])
    return [id_text(each) for each in ids]


def home_with_predictions(home: Path) -> tuple[Settings, list[str]]:
    """All of it in a new home; returns its settings and the ids of the predictions."""
    settings = Settings.from_env({"TRIMTAB_HOME": str(home)})
    return settings, predict_and_settle(settings, release_twice(Ledger(settings.ledger)))


def _chain(ledger: Ledger, number: str, cause: Cause, previous: Release | None) -> Release:
    def snapshot(purpose: str) -> Snapshot:
        span = {"start": EARLY, "end": LATE, "as_of": LATE, "rows": 1234, "source": "data:load"}
        identity = {"id": f"snapshot-{purpose}-{number}", "model": "loan", "digest": f"digest-{purpose}-{number}"}
        return Snapshot(**identity, **span, uri="file:///x", purpose=purpose, columns={"income": "double"})

    def metric(value: float) -> Metric:
        return Metric(name="log_loss", value=value, low=value - 0.01, high=value + 0.01, rows=500)

    validation = Validation(
        **{"id": f"validation-{number}", "model": "loan", "subject_id": f"snapshot-training-{number}"},
        **{"suite": "loan", "suite_digest": "suite-1", "success": True, "expectations": 6, "rows": 1234},
    )
    candidate = Candidate(
        **{"id": f"candidate-{number}", "model": "loan", "trainer": "boosting", "run_id": f"run-{number}"},
        **{"snapshot_id": f"snapshot-training-{number}", "validation_id": validation.id, "seed": 7},
        **{"artifact_digest": f"artifact-{number}", "artifact_uri": "file:///a", "artifact_format": "onnx"},
        **{"format_reason": "parity holds", "environment_digest": "environment-1", "trained_at": LATE},
    )
    champion = f"candidate-{int(number) - 1}" if previous else None
    scores = {candidate.id: {"log_loss": metric(0.4)}, **({champion: {"log_loss": metric(0.9)}} if champion else {})}
    evaluation = Evaluation(
        **{"id": f"evaluation-{number}", "model": "loan", "snapshot_id": f"snapshot-evaluation-{number}"},
        **{"champion_id": champion, "scores": scores},
        differences={candidate.id: {"log_loss": metric(-0.5)}} if champion else {},
    )
    gate = {"gate": "gain", "candidate_id": candidate.id, "passed": True, "value": 0.49, "threshold": 0.0}
    decision = Decision(
        **{"id": f"decision-{number}", "model": "loan", "cause_id": cause.id, "evaluation_id": evaluation.id},
        **{"winner_id": candidate.id, "reason": "boosting passed every gate"},
        gates=(GateResult(**gate, reason="better by more than chance"),),
    )
    version = Version(
        **{"id": f"version-{number}", "model": "loan", "version": number, "candidate_id": candidate.id},
        **{"decision_id": decision.id, "uri": f"models:/loan/{number}"},
    )
    image = Image(
        **{"id": f"image-{number}", "model": "loan", "version_id": version.id, "runtime": "process"},
        **{"digest": f"image-digest-{number}", "reference": "e/c", "base": "python 3.11", "size_bytes": 1},
        **{"environment_digest": "environment-1", "artifact_digest": candidate.artifact_digest},
    )
    release = Release(
        **{"id": f"release-{number}", "model": "loan", "version": number, "version_id": version.id},
        **{"candidate_id": candidate.id, "image_id": image.id, "artifact_digest": candidate.artifact_digest},
        **{"runtime": "process", "endpoint": "http://127.0.0.1:1", "cause_id": cause.id, "since": cause.as_of},
        previous_id=previous.id if previous else None,
    )
    training = (cause, snapshot("training"), snapshot("evaluation"), validation, candidate)
    records: tuple[Record, ...] = (*training, evaluation, decision, version, image, release)
    for record in records:
        ledger.append(record, f"run-of-retrain-{number}")
    return release
