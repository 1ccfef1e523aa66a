"""From a prediction to all that led to it: a walk over the ledger, as a tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from trimtab.answers import answer_names, classes_of, outcome_text
from trimtab.ledger import Ledger
from trimtab.lineage.words import against, interval, number, said
from trimtab.predictions import Outcomes, find_prediction
from trimtab.records import (
    Candidate,
    Cause,
    Decision,
    Evaluation,
    Image,
    Record,
    Release,
    Ruling,
    Segment,
    Snapshot,
    Validation,
    Version,
)

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Node:
    """One link of the chain.

    Parameters
    ----------
    id, kind, title : str
        The record's id, its kind (``prediction`` for the root) and a line for people.
    facts : tuple of (str, str)
        What it states.
    because : str
        How the node above depends on this one.
    children : tuple of Node
        What it follows from.
    """

    id: str
    kind: str
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    because: str = ""
    children: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """This node and all below it, depth first."""
        yield self
        for child in self.children:
            yield from child.walk()


def trace(ledger: Ledger, model: str, prediction: Mapping[str, Any], outcomes: tuple[str, ...] = ()) -> Node:
    """The chain behind one logged prediction.

    Parameters
    ----------
    ledger
        Where the records are.
    model
        Name of the model that made it.
    prediction
        The logged row: ``prediction_id``, ``version``, ``release_id``, times, features, the answer (``score``).
    outcomes
        What is known of its outcome, a line each.

    Returns
    -------
    Node
        The prediction; below it the release, and so on back to the first release of the model. A release that is not on
        record (it served for a moment and failed its last check) stands there as such.
    """
    answers = answer_names(classes_of(prediction))
    own = {"prediction_id", "request_id", "version", "release_id", "event_time", "logged_at", "caller", *answers}
    identity = str(prediction["prediction_id"])
    features = ", ".join(f"{name}={said(value)}" for name, value in prediction.items() if name not in own)
    release = ledger.find(Release, str(prediction["release_id"]))
    sealed = next((s for s in ledger.records(Segment, model) if s.first_id <= identity <= s.last_id), None)
    facts = [
        ("model", model),
        ("happened", said(prediction["event_time"])),
        ("logged", said(prediction["logged_at"])),
        ("inputs", features),
        *((name, said(prediction[name])) for name in answers),
        ("outcome", "; ".join(outcomes) or "not known yet"),
        ("request", str(prediction.get("request_id") or "without an id")),
        ("caller", str(prediction.get("caller") or "did not say who it is")),
        ("sealed in", f"{sealed.id}, digest {sealed.digest}" if sealed else "not sealed yet"),
    ]
    if release is None:
        lost = Node(
            str(prediction["release_id"]), "release", "not on record: it never passed its last check", (), "made by"
        )
        below: tuple[Node, ...] = (lost,)
    else:
        below = (_release(ledger, release), *_history(ledger, release))
    return Node(identity, "prediction", f"prediction {identity}", tuple(facts), children=below)


def trace_logged(ledger: Ledger, predictions_dir: Path, prediction_id: str) -> Node:
    """The chain behind a prediction in the logs of this home.

    Raises
    ------
    UnknownPredictionError
        If no model's log has it, or the text is no id.
    """
    model, prediction = find_prediction(predictions_dir, prediction_id)
    outcomes = tuple(
        f"{outcome_text(each['value'])}{' (a correction)' if each['correction'] else ''}, "
        f"known at {said(each['observed_at'])}"
        for each in Outcomes(predictions_dir / model).history(prediction_id)
    )
    return trace(ledger, model, prediction, outcomes)


def _release(ledger: Ledger, release: Release) -> Node:
    version = _get(ledger, Version, release.version_id)
    image = _get(ledger, Image, release.image_id)
    decision = _get(ledger, Decision, version.decision_id)
    cause = _get(ledger, Cause, release.cause_id)
    candidate = _get(ledger, Candidate, release.candidate_id)
    same = release.artifact_digest == candidate.artifact_digest == image.artifact_digest
    note = ", the one that was trained" if same else f"; NOT the one that was trained, {candidate.artifact_digest}"
    facts = (
        ("since", said(release.since)),
        ("runs as", f"{release.runtime} at {release.endpoint}"),
        (
            "artifact",
            f"{release.artifact_digest}{note}",
        ),
        ("on record", _recorded(ledger, release)),
    )
    children = [
        Node(
            image.id,
            "image",
            f"image {image.reference}",
            (
                ("digest", image.digest),
                *((("registry", image.pushed),) if image.pushed else ()),
                ("base", image.base),
                ("environment", image.environment_digest),
            ),
            "runs",
        ),
        Node(
            version.id, "version", f"version {version.version} in the registry", (("address", version.uri),), "serves"
        ),
        _decision(ledger, decision, candidate),
        _cause(ledger, cause),
    ]
    return Node(release.id, "release", f"release of version {release.version}", facts, "made by", tuple(children))


def _decision(ledger: Ledger, decision: Decision, candidate: Candidate) -> Node:
    gates = tuple(
        (
            f"gate {gate.gate}",
            f"{'passed' if gate.passed else 'failed'}: {against(gate.value, gate.threshold)}{gate.reason}",
        )
        for gate in decision.gates
        if gate.candidate_id in (candidate.id, "")
    )
    evaluation = _get(ledger, Evaluation, decision.evaluation_id)
    children = (_evaluation(ledger, evaluation, candidate), _candidate(ledger, candidate))
    return Node(
        decision.id,
        "decision",
        f"decision: {decision.reason}",
        (*gates, ("on record", _recorded(ledger, decision))),
        "let through by",
        children,
    )


def _evaluation(ledger: Ledger, evaluation: Evaluation, candidate: Candidate) -> Node:
    own = [(f"its {name}", interval(metric)) for name, metric in evaluation.scores.get(candidate.id, {}).items()]
    champion = evaluation.scores.get(evaluation.champion_id or "", {})
    if evaluation.champion_id != candidate.id:
        own += [(f"champion's {name}", interval(metric)) for name, metric in champion.items()]
        own += [
            (f"{name}, less the champion's", interval(metric))
            for name, metric in evaluation.differences.get(candidate.id, {}).items()
        ]
    snapshot = _snapshot(ledger, _get(ledger, Snapshot, evaluation.snapshot_id), "on")
    return Node(evaluation.id, "evaluation", "evaluation", tuple(own), "on the strength of", (snapshot,))


def _candidate(ledger: Ledger, candidate: Candidate) -> Node:
    facts = (
        ("trained", f"{said(candidate.trained_at)}, seed {candidate.seed}"),
        ("MLflow run", candidate.run_id),
        ("artifact", f"{candidate.artifact_digest} ({candidate.artifact_format}: {candidate.format_reason})"),
        ("environment", candidate.environment_digest),
    )
    snapshot = _snapshot(ledger, _get(ledger, Snapshot, candidate.snapshot_id), "trained on")
    return Node(candidate.id, "candidate", f"candidate of trainer {candidate.trainer}", facts, "of", (snapshot,))


def _snapshot(ledger: Ledger, snapshot: Snapshot, because: str) -> Node:
    facts = (
        ("events", f"{said(snapshot.start)} to {said(snapshot.end)}, as known at {said(snapshot.as_of)}"),
        *((("window", snapshot.window),) if snapshot.window else ()),
        *(("left out", f"{said(one.start)} to {said(one.end)}: {one.because}") for one in snapshot.left_out),
        ("digest", snapshot.digest),
        ("from", snapshot.source),
        ("file", snapshot.uri),
    )
    children = tuple(
        _validation(each) for each in ledger.records(Validation, snapshot.model) if each.subject_id == snapshot.id
    )
    title = f"{snapshot.purpose} snapshot of {snapshot.rows:,} rows"
    return Node(snapshot.id, "snapshot", title, facts, because, children)


def _validation(validation: Validation) -> Node:
    verdict = "passed" if validation.success else "failed"
    failed = tuple(
        (f"{each.expectation} on {each.column}", f"expected {each.expected}, observed {each.observed}")
        for each in validation.failed
    )
    facts = (("suite digest", validation.suite_digest), ("rows", f"{validation.rows:,}"), *failed)
    title = f"suite {validation.suite} {verdict} ({validation.expectations} expectations)"
    return Node(validation.id, "validation", title, facts, "checked by")


def _history(ledger: Ledger, release: Release) -> Iterator[Node]:
    """The releases before this one, newest first, each with why it came."""
    previous = release.previous_id
    while previous:
        earlier = _get(ledger, Release, previous)
        cause = _cause(ledger, _get(ledger, Cause, earlier.cause_id))
        yield dataclasses.replace(_earlier(earlier, "before that"), children=(cause,))
        previous = earlier.previous_id


def _cause(ledger: Ledger, cause: Cause) -> Node:
    facts = (
        ("as of", said(cause.as_of)),
        ("asked for by", cause.requested_by or "nobody by name"),
        ("on record", _recorded(ledger, cause)),
    )
    ruling = (_ruling(ledger, _get(ledger, Ruling, cause.ruling_id)),) if cause.ruling_id else ()
    title = f"cause: {cause.trigger}, {cause.reason or 'no reason given'}"
    return Node(cause.id, "cause", title, facts, "because of", ruling)


def _ruling(ledger: Ledger, ruling: Ruling) -> Node:
    signals = tuple(
        (
            f"{signal.name}{' (breached)' if signal.breached else ''}",
            f"{number(signal.value)} against {number(signal.threshold)} on {signal.rows:,} rows",
        )
        for signal in ruling.signals
        if signal.breached
    )
    facts = (
        ("window", f"{said(ruling.start)} to {said(ruling.end)}"),
        ("reason", ruling.reason),
        *signals,
        ("policy", ruling.policy_digest),
        ("report", ruling.report or "none"),
    )
    return Node(
        ruling.id,
        "ruling",
        f"ruling {ruling.action} as of {said(ruling.as_of)}",
        facts,
        "asked for by",
        (_earlier(_get(ledger, Release, ruling.release_id), "on"),),
    )


def _earlier(release: Release, because: str) -> Node:
    """A release in short: its own dossiers hold the rest."""
    facts = (("since", said(release.since)), ("artifact", release.artifact_digest))
    return Node(release.id, "release", f"release of version {release.version}", facts, because)


def _get(ledger: Ledger, kind: type[R], record_id: str) -> R:
    record = ledger.find(kind, record_id)
    # A record's parents are on record: the ledger takes no record without them.
    return record if record is not None else ledger.get(record_id).record  # type: ignore[return-value]


def _recorded(ledger: Ledger, record: Record) -> str:
    entry = ledger.get(record.id)
    run = f", flow run {entry.flow_run_id}" if entry.flow_run_id else ""
    return f"entry {entry.sequence} of the ledger, {said(entry.recorded_at)}{run}"
