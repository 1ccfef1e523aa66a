"""Which rows a watch judges, and of which release."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import AwareDatetime

from trimtab.decay.on_record import read_history as history_on_record
from trimtab.decay.policy import History, ruling_id
from trimtab.errors import LedgerError, TrimtabError
from trimtab.ledger import Ledger
from trimtab.models import load_model
from trimtab.predictions import PredictionLog
from trimtab.predictions.retention import segment_record
from trimtab.records import (
    Cause,
    Decision,
    Evaluation,
    Record,
    Release,
    Segment,
    Value,
    Version,
)
from trimtab.settings import Settings
from trimtab.spec import ModelSpec

R = TypeVar("R", bound=Record)


class Window(Value):
    """One window of one release. Ends are exclusive.

    Incoming rows are those in [start, end); the rows of [mature_start, mature_end) are old enough for their outcomes to
    be known at ``as_of``. ``predecessor`` is what the release must not do worse than; None for the first release, and
    for one that a rollback brought back.
    """

    spec: ModelSpec
    release: Release
    evaluation: Evaluation
    predecessor: Release | None
    start: AwareDatetime
    end: AwareDatetime
    mature_start: AwareDatetime
    mature_end: AwareDatetime
    as_of: AwareDatetime

    @property
    def ruling_id(self) -> str:
        """Id of the ruling on this window."""
        return ruling_id(self.spec, self.release.id, self.start, self.end)


def report_path(window: Window) -> str:
    """Where the window's report is, relative to the reports folder and to their address."""
    return f"{window.spec.name}/{window.end:%Y-%m-%d}-{window.ruling_id.removeprefix('ruling-')[:8]}/drift.html"


@task(task_run_name="seal the log of {model}", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def seal_log(model: str) -> list[Segment]:
    """Move what was logged into segments; returns those that are not yet acknowledged. Idempotent.

    Raises
    ------
    PredictionLogError
        If the disk refuses; no row is lost.
    """
    return [segment_record(model, span) for span in _log(model).seal()]


@task(task_run_name="acknowledge segments of {model}", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def acknowledge_segments(model: str, recorded: Sequence[Segment]) -> None:
    """Note in the log that these segments are in the ledger. Idempotent."""
    log, digests = _log(model), {segment.digest for segment in recorded}
    log.acknowledge([span for span in log.spans() if span.digest in digests])


@task(task_run_name="open the window of {model}", cache_policy=NO_CACHE)
def open_window(model: str, as_of: datetime) -> Window | None:
    """The window that ends at ``as_of``, of the release that served then; None before the first release.

    Raises
    ------
    UnknownModelError
        If there is no such model.
    TrimtabError
        If ``as_of`` has no timezone.
    """
    if as_of.tzinfo is None:
        raise TrimtabError(f"as_of is {as_of.isoformat()}; it must have a timezone, such as +00:00")
    settings = Settings.from_env()
    spec = load_model(settings.models_dir, model).spec
    ledger = Ledger(settings.ledger)
    releases = [release for release in ledger.records(Release, model) if release.since <= as_of]
    if not releases:
        return None
    release, as_of = releases[-1], as_of.astimezone(UTC)
    mature_end = as_of - spec.label_maturity
    return Window(
        spec=spec,
        release=release,
        evaluation=_evaluation(ledger, release),
        predecessor=_predecessor(ledger, release),
        start=as_of - spec.window,
        end=as_of,
        mature_start=mature_end - spec.window,
        mature_end=mature_end,
        as_of=as_of,
    )


@task(task_run_name="read incoming rows of {window.spec.name}", cache_policy=NO_CACHE)
def read_incoming(window: Window) -> pa.Table:
    """The rows of the window: prediction_id, event_time, release_id, the features and the answer, of whichever release
    answered."""
    columns = ["prediction_id", "event_time", "release_id", *window.spec.feature_names, *window.spec.answer_names]
    return _log(window.spec.name).read(window.start, window.end, columns)


def read_history(model: str) -> History:
    """What is on record of a model that the policy reads."""
    return history_on_record(Ledger(Settings.from_env().ledger), model)


def _log(model: str) -> PredictionLog:
    settings = Settings.from_env()
    # Looked up first: a name that is none must not become a path.
    return PredictionLog(settings.predictions_dir / load_model(settings.models_dir, model).spec.name, settings)


def _evaluation(ledger: Ledger, release: Release) -> Evaluation:
    version = _found(ledger, Version, release.version_id)
    decision = _found(ledger, Decision, version.decision_id)
    return _found(ledger, Evaluation, decision.evaluation_id)


def _predecessor(ledger: Ledger, release: Release) -> Release | None:
    if release.previous_id is None or _found(ledger, Cause, release.cause_id).trigger == "rollback":
        return None
    return _found(ledger, Release, release.previous_id)


def _found(ledger: Ledger, kind: type[R], record_id: str) -> R:
    record = ledger.find(kind, record_id)
    if record is None:
        raise LedgerError(f"no {kind.kind} is on record under {record_id!r}, but a release follows from it")
    return record
