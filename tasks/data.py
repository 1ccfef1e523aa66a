"""Sources and snapshots: what a model's source function returned, checked, and kept under its digest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from trimtab.errors import SourceError, TrimtabError
from trimtab.models import Model, load_model
from trimtab.records import Snapshot, content_id
from trimtab.settings import Settings
from trimtab.spec import ModelSpec

EVALUATION_MINIMUM_ROWS = 100
"""An evaluation slice may be smaller than a training set, but not smaller than this (or ``training.minimum_rows``)."""


def time_windows(
    spec: ModelSpec, as_of: datetime
) -> dict[Literal["training", "evaluation"], tuple[datetime, datetime]]:
    """Which event times train and which judge: the latest slice that is mature at ``as_of``, and the span before it."""
    end = as_of - spec.label_maturity
    middle = end - spec.training.evaluation_window
    return {"training": (middle - spec.training.window, middle), "evaluation": (middle, end)}


@task(
    task_run_name="take {purpose} snapshot of {model}",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=lambda _task, _run, state: _did_not_answer(state.result(raise_on_failure=False)),
    timeout_seconds=3600,
    tags=["source"],
    cache_policy=NO_CACHE,
)
def take_snapshot(model: str, purpose: Literal["training", "evaluation"], as_of: datetime) -> Snapshot:
    """Load a model's rows as they were known at ``as_of`` and keep them under their digest.

    Idempotent: the same rows give the same file and the same record. Does not record.

    Parameters
    ----------
    model
        Name of the model.
    purpose
        Which of the two spans before ``as_of`` (`time_windows`).
    as_of
        Rows whose target became known later are not asked for. Timezone-aware.

    Raises
    ------
    SourceError
        If the source fails, or returns something other than the spec promises.
    """
    from trimtab.training.snapshots import conform, write_table

    settings = Settings.from_env()
    found = load_model(settings.models_dir, model)
    spec = found.spec
    start, end = (moment.astimezone(UTC) for moment in time_windows(spec, as_of)[purpose])
    least = spec.training.minimum_rows if purpose == "training" else _evaluation_minimum(spec)
    table = conform(spec, _load(found, start, end, as_of), start, end, least)
    digest, path = write_table(table, settings.snapshots_dir)
    return Snapshot(
        id=content_id("snapshot", model, digest, start, end, as_of, purpose),
        model=model,
        digest=digest,
        uri=str(path),
        rows=table.num_rows,
        start=start,
        end=end,
        as_of=as_of,
        purpose=purpose,
        columns={field.name: str(field.type) for field in table.schema},
        source=spec.source,
    )


def _evaluation_minimum(spec: ModelSpec) -> int:
    return min(EVALUATION_MINIMUM_ROWS, spec.training.minimum_rows)


def _load(model: Model, start: datetime, end: datetime, as_of: datetime) -> object:
    load = model.function(model.spec.source)
    try:
        return load(start, end, as_of)
    except TrimtabError:
        raise
    except Exception as error:
        hint = ""
        if "datetime" in str(error) and "compar" in str(error):
            hint = "; start, end and as_of are in UTC: make the times of the data so, with dt.tz_localize('UTC')"
        raise SourceError(
            f"source {model.spec.source!r} of {model.spec.name} failed on [{start}, {end}): "
            f"{type(error).__name__}: {error}{hint}"
        ) from error


def _did_not_answer(error: object) -> bool:
    """Whether a source failed on its network or disk: worth another try. Wrong rows stay wrong."""
    return isinstance(error, SourceError) and isinstance(error.__cause__, OSError)
