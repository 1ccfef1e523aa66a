"""Great Expectations: what a model's suite says about a snapshot, or about a window of incoming rows.

suite.py (reading and running a suite) · trimtab/pages/validation.py (the page that opens offline)
"""

from __future__ import annotations

import pyarrow as pa
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from tasks.validation.suite import check_suite, columns_of, headline, read_suite, run_suite
from trimtab.errors import ValidationFailedError
from trimtab.models import load_model
from trimtab.pages.validation import write_page
from trimtab.records import FailedExpectation, Snapshot, Validation, content_id
from trimtab.settings import Settings
from trimtab.spec import ModelSpec

__all__ = ["check_suite", "explain", "read_suite", "validate", "validate_snapshot", "validate_window"]


@task(
    task_run_name="validate {snapshot.purpose} snapshot of {model}",
    timeout_seconds=1800,
    tags=["validation"],
    cache_policy=NO_CACHE,
)
def validate_snapshot(model: str, snapshot: Snapshot) -> Validation:
    """Hold a snapshot against the model's expectation suite.

    Writes the validation's page; a failed suite also becomes artifacts of the run, before the error is raised.
    Idempotent. Does not record.

    Raises
    ------
    ValidationFailedError
        If an expectation does not hold; it carries the record as ``validation``, and its message lists what failed.
    SpecError
        If the suite is missing or wrong.
    """
    from trimtab.training.snapshots import read_snapshot

    settings = Settings.from_env()
    spec = load_model(settings.models_dir, model).spec
    validation = validate(spec, settings, read_snapshot(snapshot), snapshot.id)
    if not validation.success:
        _show(validation, settings)
        raise ValidationFailedError(explain(validation), validation)
    return validation


@task(task_run_name="validate window of {model}", timeout_seconds=1800, tags=["validation"], cache_policy=NO_CACHE)
def validate_window(model: str, table: pa.Table, subject_id: str) -> Validation:
    """Hold incoming rows against the model's expectation suite; says what failed, and does not raise for it.

    Expectations on columns that incoming rows cannot have (the target, the key) are left out: they are not among
    ``expectations``, and the page names them.

    Parameters
    ----------
    model
        Name of the model.
    table
        Incoming rows, with ``event_time`` and the features; other columns are ignored.
    subject_id
        Id of the release that the rows were sent to, a parent of the record.

    Raises
    ------
    SpecError
        If the suite is missing or wrong.
    """
    settings = Settings.from_env()
    spec = load_model(settings.models_dir, model).spec
    known = [name for name in ("event_time", *spec.feature_names) if name in table.column_names]
    window = table.select(known).rename_columns([spec.event_time if name == "event_time" else name for name in known])
    validation = validate(spec, settings, window, subject_id, incoming=True)
    if not validation.success:
        _show(validation, settings)
    return validation


def validate(
    spec: ModelSpec, settings: Settings, table: pa.Table, subject_id: str, *, incoming: bool = False
) -> Validation:
    """Hold a table against the suite, and write the page; the plain function under both tasks."""
    suite, digest = read_suite(spec, settings)
    left_out = [item for item in suite if incoming and columns_of(item) - {*table.column_names, *spec.feature_names}]
    asked = [item for item in suite if item not in left_out]
    # A window has no digest of its own: its span tells it from the other windows of the same release.
    subject = (subject_id, *_span(spec, table)) if incoming else (subject_id,)
    record_id = content_id("validation", *subject, digest)
    failed = run_suite(asked, table)
    validation = Validation(
        id=record_id,
        model=spec.name,
        subject_id=subject_id,
        suite=spec.suite,
        suite_digest=digest,
        success=not failed,
        expectations=len(asked),
        rows=table.num_rows,
        failed=failed,
        page=f"{spec.name}/validations/{record_id}.html",
    )
    write_page(validation, settings.reports_dir / validation.page, [headline(item) for item in left_out])
    return validation


def explain(validation: Validation) -> str:
    """What failed, an expectation a line, with its numbers."""
    lines = [
        f"{validation.model}: {len(validation.failed)} of {validation.expectations} expectations of suite "
        f"{validation.suite!r} do not hold on {validation.subject_id} ({validation.rows} rows):"
    ]
    lines += [
        f"  {failed.expectation}{f' on {failed.column!r}' if failed.column else ''}: "
        f"expected {failed.expected}; observed {failed.observed}"
        for failed in validation.failed
    ]
    return "\n".join(lines)


def _span(spec: ModelSpec, table: pa.Table) -> tuple[str, ...]:
    import pyarrow.compute as pc

    times = pc.min_max(table.column(spec.event_time)).as_py()
    return str(times["min"]), str(times["max"]), str(table.num_rows)


def _show(validation: Validation, settings: Settings) -> None:
    """Make the failure readable in the Prefect UI."""
    create_table_artifact(
        key=f"{validation.model}-failed-expectations",
        description=f"{len(validation.failed)} of {validation.expectations} expectations do not hold",
        table=[
            {
                "expectation": failed.expectation,
                "column": failed.column or "",
                "expected": failed.expected,
                "observed": failed.observed,
                "unexpected": "" if failed.unexpected_count is None else failed.unexpected_count,
                "unexpected %": "" if failed.unexpected_percent is None else round(failed.unexpected_percent, 3),
            }
            for failed in validation.failed
        ],
    )
    page = f"{settings.reports_url}/{validation.page}"
    body = "\n\n".join(_markdown(failed) for failed in validation.failed if failed.sample_rows)
    create_markdown_artifact(
        key=f"{validation.model}-unexpected-rows",
        description="sample rows on which expectations do not hold",
        markdown=f"# Sample rows\n\n[the whole page]({page})\n\n{body}",
    )


def _markdown(failed: FailedExpectation) -> str:
    names = list(failed.sample_rows[0])
    lines = [
        f"**{failed.expectation}** on `{failed.column}`: expected {failed.expected}; observed {failed.observed}",
        "",
    ]
    lines += ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in failed.sample_rows]
    return "\n".join(lines)
