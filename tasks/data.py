"""Sources and snapshots: what a model's source function returned, checked, and kept under its digest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from trimtab.errors import SourceError, TooFewRowsError
from trimtab.ledger import Ledger
from trimtab.models import Model, load_model
from trimtab.records import LeftOut, Release, Ruling, Snapshot, content_id
from trimtab.settings import Settings
from trimtab.spec import ModelSpec, TrainingWindow
from trimtab.training.blocks import standing_blocks
from trimtab.training.windows import (
    Interval,
    change_since,
    evaluation_span,
    least_rows,
    leave_out,
    require_rows,
    training_span,
    within,
)


@task(
    task_run_name="take {purpose} snapshot of {model}",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=lambda _task, _run, state: _did_not_answer(state.result(raise_on_failure=False)),
    timeout_seconds=3600,
    tags=["source"],
    cache_policy=NO_CACHE,
)
def take_snapshot(
    model: str, purpose: Literal["training", "evaluation"], as_of: datetime, window: str = ""
) -> Snapshot:
    """Load a model's rows as they were known at ``as_of`` and keep them under their digest.

    Rows within a blocked span are left out, and the snapshot says which spans. Idempotent: the same rows give the same
    file and the same record. Does not record.

    Parameters
    ----------
    model
        Name of the model.
    purpose
        Which of the two spans before ``as_of`` (trimtab/training/windows.py).
    as_of
        Rows whose target became known later are not asked for. Timezone-aware.
    window
        Name of one of ``training.windows``, where several compete.

    Raises
    ------
    SourceError
        If the source fails, or returns something other than the spec promises.
    """
    settings = Settings.from_env()
    found = load_model(settings.models_dir, model)
    spec, ledger = found.spec, Ledger(settings.ledger)
    blocked = standing_blocks(ledger, model, as_of)
    asked = _training_window(spec, window)
    if purpose == "evaluation":
        return _snapshot(found, purpose, as_of, evaluation_span(spec, as_of), blocked, window)
    span = training_span(spec, as_of, asked, _changed_at(spec, ledger, as_of, asked))
    usual = training_span(spec, as_of)
    if asked is None or asked.span != "since_change" or span == usual:
        return _snapshot(found, purpose, as_of, span, blocked, window)
    try:
        return _snapshot(found, purpose, as_of, span, blocked, window)
    except TooFewRowsError:
        return _snapshot(found, purpose, as_of, usual, blocked, window)


def _snapshot(
    model: Model,
    purpose: Literal["training", "evaluation"],
    as_of: datetime,
    span: Interval,
    blocked: Sequence[LeftOut],
    window: str,
) -> Snapshot:
    from trimtab.training.snapshots import conform, load_rows, write_table

    spec, (start, end) = model.spec, span
    left_out = within(blocked, span)
    table = leave_out(conform(spec, load_rows(model, start, end, as_of), start, end, 0), spec.event_time, left_out)
    require_rows(spec, table, span, least_rows(spec, purpose), left_out)
    digest, path = write_table(table, Settings.from_env().snapshots_dir)
    # Snapshots that leave nothing out keep the ids that they had before blocks were thought of.
    besides = [*([window] if window else []), *(one.model_dump(mode="json") for one in left_out)]
    return Snapshot(
        id=content_id("snapshot", spec.name, digest, start, end, as_of, purpose, *besides),
        model=spec.name,
        digest=digest,
        uri=str(path),
        rows=table.num_rows,
        start=start,
        end=end,
        as_of=as_of,
        purpose=purpose,
        columns={field.name: str(field.type) for field in table.schema},
        source=spec.source,
        window=window,
        left_out=left_out,
    )


def _training_window(spec: ModelSpec, name: str) -> TrainingWindow | None:
    if not name:
        return None
    for window in spec.training.windows:
        if window.name == name:
            return window
    there = [window.name for window in spec.training.windows]
    raise SourceError(f"{spec.name} has no training window {name!r}; it has {there or 'none by name'}")


def _changed_at(spec: ModelSpec, ledger: Ledger, as_of: datetime, window: TrainingWindow | None) -> datetime | None:
    if window is None or window.span != "since_change":
        return None
    releases = [release for release in ledger.records(Release, spec.name) if release.since <= as_of]
    return change_since(spec, releases[-1].id, ledger.records(Ruling, spec.name), as_of) if releases else None


def _did_not_answer(error: object) -> bool:
    """Whether a source failed on its network or disk: worth another try. Wrong rows stay wrong."""
    return isinstance(error, SourceError) and isinstance(error.__cause__, OSError)
