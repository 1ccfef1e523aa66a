"""What serves in a replay, and how the next one is made: retrained, judged and gated as the retrain flow does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trimtab.backtest.rows import PastRows
from trimtab.decay.answers import scores_of, target_of
from trimtab.decay.performance import realised
from trimtab.decay.policy import History
from trimtab.decay.reference import Reference, write_reference
from trimtab.errors import SourceError, TrainingError
from trimtab.gates import decide
from trimtab.records import Cause, Decision, LeftOut, Metric, Release, Validation, content_id
from trimtab.scoring.model import Encoder, estimator_scorer
from trimtab.spec import ModelSpec, Trainer
from trimtab.training.fitting import fit
from trimtab.training.judging import judge
from trimtab.training.snapshots import feature_columns
from trimtab.training.windows import (
    Interval,
    blocked_spans,
    change_since,
    evaluation_span,
    least_rows,
    leave_out,
    require_rows,
    training_span,
    training_windows,
    within,
)

Scorer = Callable[[pa.Table], np.ndarray]
"""Rows with the features in, scores of shape (rows,) out, of several classes (rows, classes)."""
Validate = Callable[[pa.Table, bool], Validation | None]
"""What a suite says of rows; True for incoming rows, which have no target. None: there is no suite."""


@dataclass(frozen=True)
class Deployment:
    """What serves in a replay; ``trained_on`` is None where it was not trained here."""

    release: Release
    score: Scorer
    reference: Reference
    at_evaluation: Metric | None
    predecessor: Deployment | None = None
    trained_on: Interval | None = None


@dataclass(frozen=True)
class Retrained:
    """How a retraining ended: a new deployment, or the champion kept; or ``failed``, and why."""

    deployment: Deployment | None
    decision: Decision | None
    failed: str = ""


class Workshop:
    """Trains, judges and gates on the rows of a history.

    Parameters
    ----------
    rows
        The history.
    functions
        What each trainer's ``function`` names, by that name.
    folder
        Where references are written; the caller's to remove.
    validate
        What the model's suite says of training and evaluation rows.
    """

    def __init__(
        self, rows: PastRows, functions: Mapping[str, Callable[..., Any]], folder: Path, validate: Validate
    ) -> None:
        self.rows, self.spec = rows, rows.spec
        self._functions, self._folder, self._validate = functions, folder, validate
        self._versions = 0

    def train(self, trainer: Trainer, table: pa.Table) -> Scorer:
        """A scorer that was trained on these rows."""
        features, estimator = fit(self.spec, trainer, self._functions[trainer.function], table)
        encode, score = Encoder(features), estimator_scorer(estimator, self.spec.target.kind)
        return lambda rows: score(encode(feature_columns(self.spec, rows)))

    def retrain(self, cause: Cause, champion: Deployment | None, past: History) -> Retrained:
        """Train every candidate at ``cause.as_of``, judge them beside the champion, and decide."""
        try:
            return self._retrain(cause, champion, past)
        except (SourceError, TrainingError) as error:
            return Retrained(None, None, failed=str(error))

    def _retrain(self, cause: Cause, champion: Deployment | None, past: History) -> Retrained:
        spec, as_of = self.spec, cause.as_of
        blocked = blocked_spans((), past.rulings, (), as_of)
        spans = self._spans(champion, as_of, past, blocked)
        judged = self._slice(evaluation_span(spec, as_of), blocked, least_rows(spec, "evaluation"))
        made: dict[str, tuple[Scorer, Interval, pa.Table]] = {}
        for span, table in spans:
            for trainer in spec.trainers:
                key = content_id("candidate", trainer.name, span.start, span.end)
                made[key] = (self.train(trainer, table), span, table)
        scores = {key: scorer(judged) for key, (scorer, _, _) in made.items()}
        champion_id = champion.release.candidate_id if champion else None
        if champion is not None and champion_id is not None:
            scores.setdefault(champion_id, champion.score(judged))
        evaluation = judge(spec, content_id("evaluation", cause.id), "", judged, scores, champion_id)
        decision = decide(spec, cause, evaluation)
        if decision.winner_id is None:
            return Retrained(None, decision)
        scorer, span, table = made[decision.winner_id]
        folder = self._folder / cause.id
        release = self._release(cause, decision.winner_id, champion)
        return Retrained(
            Deployment(
                release=release,
                score=scorer,
                reference=write_reference(folder, spec, table, judged, scores[decision.winner_id], scorer),
                at_evaluation=evaluation.scores[decision.winner_id].get(spec.policy_metric),
                predecessor=champion,
                trained_on=span,
            ),
            decision,
        )

    def _spans(
        self, champion: Deployment | None, as_of: datetime, past: History, blocked: tuple[LeftOut, ...]
    ) -> Iterator[tuple[Interval, pa.Table]]:
        """The distinct spans to train on, with their rows."""
        spec, seen = self.spec, set()
        changed_at = change_since(spec, champion.release.id, past.rulings, as_of) if champion else None
        usual, least = training_span(spec, as_of), least_rows(spec, "training")
        for window in training_windows(spec):
            span = training_span(spec, as_of, window, changed_at)
            try:
                table = self._slice(span, blocked, least)
            except SourceError:
                if window is None or window.span != "since_change" or span == usual:
                    raise
                span, table = usual, self._slice(usual, blocked, least)
            if span not in seen:
                seen.add(span)
                yield span, table

    def _slice(self, span: Interval, blocked: tuple[LeftOut, ...], least: int) -> pa.Table:
        left_out = within(blocked, span)
        table = leave_out(self.rows.between(*span), self.spec.event_time, left_out)
        require_rows(self.spec, table, span, least, left_out)
        if (validation := self._validate(table, False)) and not validation.success:
            first = validation.failed[0]
            raise SourceError(
                f"rows of [{span.start}, {span.end}) break the suite: {first.expectation} on {first.column}: "
                f"expected {first.expected}, observed {first.observed}"
            )
        return table

    def deploy_logged(self, start: datetime) -> Deployment:
        """What gave the scores that the rows hold; the rows before ``start`` are its reference.

        Raises
        ------
        SourceError
            If there are too few of them.
        """
        spec, beginning = self.spec, self.rows.beginning
        before = self.rows.between(beginning, start)
        require_rows(spec, before, Interval(beginning, start), spec.policy.minimum_outcomes, ())
        score, target = scores_of(spec, before), target_of(spec, before).astype(np.float64)
        release = self._release(first_cause(spec, start), content_id("candidate", "logged"), None)
        return Deployment(
            release=release,
            score=lambda rows: scores_of(spec, rows),
            reference=write_reference(self._folder / release.id, spec, before, before, score),
            at_evaluation=realised(spec, score, target).get(spec.policy_metric),
        )

    def _release(self, cause: Cause, candidate_id: str, previous: Deployment | None) -> Release:
        self._versions += 1
        return Release(
            id=content_id("release", cause.id, candidate_id),
            model=self.spec.name,
            version=str(self._versions),
            version_id="",
            candidate_id=candidate_id,
            image_id="",
            artifact_digest=candidate_id,
            runtime="process",
            endpoint="",
            cause_id=cause.id,
            since=cause.as_of,
            previous_id=previous.release.id if previous else None,
        )


def first_cause(spec: ModelSpec, start: datetime) -> Cause:
    """Why the first model of a replay is there."""
    return Cause(
        id=content_id("cause", spec.name, start),
        model=spec.name,
        trigger="manual",
        reason="the first model of the replay",
        as_of=start,
    )
