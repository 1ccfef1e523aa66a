"""cause → snapshots → validate → train → evaluate → decide → register → image → roll out → record."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from prefect import flow
from prefect.client.schemas.objects import State

from flows.causes import refused, retrain_cause
from tasks import lineage
from tasks.data import take_snapshot
from tasks.evaluation import evaluate, evaluation_id, show_decision
from tasks.image import build_image
from tasks.monitoring import make_reference
from tasks.progress import show_progress
from tasks.registry import note_decision, promote, register
from tasks.rollout import steps as rollout
from tasks.training import candidate_id, train
from tasks.validation import validate_snapshot
from trimtab.errors import RolloutError, ValidationFailedError
from trimtab.gates import decide
from trimtab.models import load_model
from trimtab.pages.front import write_front_page
from trimtab.records import (
    Candidate,
    Cause,
    Decision,
    Evaluation,
    Image,
    Record,
    Release,
    Retraining,
    Snapshot,
    Validation,
    Version,
    content_id,
)
from trimtab.settings import Settings

R = TypeVar("R", bound=Record)

_PROGRESS = {
    "cause": 1,
    "snapshot": 10,
    "validation": 20,
    "candidate": 40,
    "evaluation": 50,
    "decision": 55,
    "version": 60,
    "image": 80,
    "release": 90,
    "retraining": 100,
}
"""How far a run has come when a record of that kind is stated, in per cent of its usual duration."""


@flow(
    flow_run_name="retrain {model}",
    description="Train on the latest mature rows; release the result if it beats the champion, else keep the champion.",
)
def retrain(
    model: str, as_of: datetime | None = None, reason: str = "", cause: dict[str, Any] | None = None
) -> Retraining | State[Any]:
    """Retrain a model, and release what training gave if it passes every gate.

    May be killed between any two steps: run again for the same cause, it goes on from what is on record, and ends
    with the same release. A cause whose retraining has ended is not retrained again, and a ruling's run does nothing
    (it ends as Skipped, which says why) where another is in flight, in the cooldown, over budget, while the breaker is
    open, or when what was ruled on no longer serves.

    Parameters
    ----------
    model
        Name of the model.
    as_of
        The moment that the run stands at: rows and targets known later do not exist for it. Timezone-aware; now by
        default.
    reason
        Why, in words; kept on record.
    cause
        The decay event's payload, whose ``ruling_id`` names a RETRAIN ruling that is on record, or ``{"key": ...}`` to
        name a manual cause so that another run can go on with it.

    Raises
    ------
    UnknownModelError
        If there is no such model.
    SpecError
        If ``as_of`` is naive or not yet here, or ``cause`` names no RETRAIN ruling of the model.
    SourceError, ValidationFailedError, TrainingError, EvaluationError, ImageError, RolloutError
        From the step that failed; what served before still serves.
    """
    why = retrain_cause(model, as_of, reason, cause or {})
    if skipped := refused(why):
        return skipped
    if ended := lineage.recorded(Retraining, content_id("retraining", _record(why).id)):
        return ended
    training = _training_snapshots(model, why)
    judging = _record(take_snapshot(model, "evaluation", why.as_of))
    *validations, _ = [_validated(model, snapshot) for snapshot in (*training, judging)]
    candidates = _trained(model, training, validations, why)
    champion = _champion_before(why)
    evaluation = _evaluated(model, candidates, champion, judging)
    decision = _decided(model, why, evaluation)
    show_decision(decision, _names(candidates, training))
    note_decision(candidates, evaluation, decision)
    if decision.winner_id is None:
        _settle(model)
        return _ended(why, decision, None)
    winner = next(candidate for candidate in candidates if candidate.id == decision.winner_id)
    make_reference(model, winner, evaluation)
    version = _record(register(winner, decision))
    image = _record(build_image(model, version, winner))
    refuse_if_overtaken(champion, why)
    release = _serving(rollout.plan_release(version, image, why), image)
    _record(release)
    promote(version)
    rollout.drain_previous(release)
    return _ended(why, decision, release)


def _record(statement: R) -> R:
    """State a record, and show how far the run has come with it."""
    stated = lineage.record(statement)
    show_progress(f"{stated.model}-retraining", _PROGRESS[stated.kind], f"retraining {stated.model}")
    return stated


def _validated(model: str, snapshot: Snapshot) -> Validation:
    """Validate and record; a failure is on record before it stops the run."""
    try:
        return _record(validate_snapshot(model, snapshot))
    except ValidationFailedError as error:
        _record(error.validation)
        # Nobody who reads that a retraining was asked for is left to think that it went well.
        write_front_page(Settings.from_env())
        raise


def _training_snapshots(model: str, why: Cause) -> list[Snapshot]:
    """One a training window; of those that hold the very same rows the first alone."""
    windows = load_model(Settings.from_env().models_dir, model).spec.training.windows
    taken = [take_snapshot(model, "training", why.as_of, window.name) for window in windows]
    distinct: dict[str, Snapshot] = {}
    for snapshot in taken or [take_snapshot(model, "training", why.as_of)]:
        distinct.setdefault(snapshot.digest, snapshot)
    return [_record(snapshot) for snapshot in distinct.values()]


def _trained(model: str, snapshots: list[Snapshot], validations: list[Validation], why: Cause) -> list[Candidate]:
    """One candidate a trainer and snapshot; what was trained on a snapshot before is not trained again."""
    found = load_model(Settings.from_env().models_dir, model)
    return [
        lineage.recorded(Candidate, candidate_id(found, trainer.name, snapshot.id))
        or _record(train(model, trainer.name, snapshot, validation, why.id))
        for snapshot, validation in zip(snapshots, validations, strict=True)
        for trainer in found.spec.trainers
    ]


def _names(candidates: list[Candidate], snapshots: list[Snapshot]) -> dict[str, str]:
    """What each candidate is called, by id: its trainer, and its training window where several compete."""
    windows = {snapshot.id: f" on {snapshot.window}" if snapshot.window else "" for snapshot in snapshots}
    return {candidate.id: candidate.trainer + windows[candidate.snapshot_id] for candidate in candidates}


def _champion_before(why: Cause) -> Candidate | None:
    """What served when this cause came up: a release that this very cause led to is no champion to beat."""
    ledger = lineage.open_ledger()
    releases = [release for release in ledger.records(Release, why.model) if release.cause_id != why.id]
    return ledger.find(Candidate, releases[-1].candidate_id) if releases else None


def refuse_if_overtaken(champion: Candidate | None, why: Cause) -> None:
    """The winner was compared with this champion: if a rollback has brought another back meanwhile, nothing is proved.

    Raises
    ------
    RolloutError
        If so; run again for the same cause, the retraining is compared with what serves then.
    """
    serving = _champion_before(why)
    if serving != champion:
        was, now = (one.id if one else "none" for one in (champion, serving))
        raise RolloutError(
            f"the champion was {was} when the candidates of {why.id} were judged, and is {now} now, which they were "
            "never compared with: it goes on serving; run the retraining again for the same cause"
        )


def _evaluated(model: str, candidates: list[Candidate], champion: Candidate | None, snapshot: Snapshot) -> Evaluation:
    known = lineage.recorded(Evaluation, evaluation_id(snapshot, champion, candidates))
    return known or _record(evaluate(model, candidates, champion, snapshot))


def _decided(model: str, why: Cause, evaluation: Evaluation) -> Decision:
    known = lineage.recorded(Decision, content_id("decision", why.id, evaluation.id))
    return known or _record(decide(load_model(Settings.from_env().models_dir, model).spec, why, evaluation))


def _serving(release: Release, image: Image) -> Release:
    """Start, prove, switch, verify: on return this release serves; on any error the one before it does."""
    url = rollout.start_release(release, image)
    rollout.check_golden(release, url)
    rollout.switch_route(release, url)
    rollout.verify_serving(release)
    return release


def _settle(model: str) -> None:
    """See that what is on record is what serves: a run that was killed in mid-rollout may have left another."""
    ledger = lineage.open_ledger()
    if (release := ledger.latest(Release, model)) is None:
        return
    image, version = ledger.find(Image, release.image_id), ledger.find(Version, release.version_id)
    assert image is not None
    assert version is not None
    _serving(release, image)
    promote(version)
    rollout.drain_previous(release)


def _ended(why: Cause, decision: Decision, release: Release | None) -> Retraining:
    retraining = Retraining(
        id=content_id("retraining", why.id),
        model=why.model,
        cause_id=why.id,
        decision_id=decision.id,
        release_id=release.id if release else None,
        as_of=why.as_of,
        trigger=why.trigger,
    )
    _record(retraining)
    write_front_page(Settings.from_env())
    return retraining
