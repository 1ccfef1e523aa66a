"""Great Expectations: what a model's suite says about a snapshot, or about a window of incoming rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from trimtab.errors import SpecError, ValidationFailedError
from trimtab.records import FailedExpectation, Snapshot, Validation, content_id
from trimtab.settings import Settings
from trimtab.spec import ModelSpec, load_model
from trimtab.validation_page import write_page

SAMPLE_ROWS = 5
_POSITION = "position"


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
    from trimtab.snapshots import read_snapshot

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
    left_out = [item for item in suite if incoming and _is_about(item) - {*table.column_names, *spec.feature_names}]
    asked = [item for item in suite if item not in left_out]
    # A window has no digest of its own: its span tells it from the other windows of the same release.
    subject = (subject_id, *_span(spec, table)) if incoming else (subject_id,)
    record_id = content_id("validation", *subject, digest)
    failed = _run(asked, table)
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
    write_page(validation, settings.reports_dir / validation.page, [_headline(item) for item in left_out])
    return validation


def check_suite(spec: ModelSpec, settings: Settings) -> int:
    """Check that the model's suite is there and that each expectation in it is a real one; returns their number.

    Raises
    ------
    SpecError
        If it is missing, no JSON, or holds an expectation that Great Expectations does not know; names it.
    """
    return len(read_suite(spec, settings)[0])


def read_suite(spec: ModelSpec, settings: Settings) -> tuple[list[dict[str, Any]], str]:
    """The expectations of a model's suite, each checked, and the suite's digest.

    Raises
    ------
    SpecError
        As in :func:`check_suite`.
    """
    path = settings.suites_dir / f"{spec.suite}.json"
    try:
        suite = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpecError(f"{spec.name}: suite is {spec.suite!r}, but {path} does not exist") from error
    except ValueError as error:
        raise SpecError(f"{path} is not JSON: {error}") from error
    listed = suite.get("expectations") if isinstance(suite, dict) else None
    if not isinstance(listed, list) or not listed or not all(isinstance(item, dict) for item in listed):
        raise SpecError(f'{path} must hold {{"name": ..., "expectations": [{{"type": ..., "kwargs": ...}}, ...]}}')
    for position, item in enumerate(listed):
        _build(item, f"{path}: expectation {position + 1}")
    return listed, content_id("suite", listed)


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


def _build(item: Mapping[str, Any], where: str) -> Any:
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        return ExpectationConfiguration(**item).to_domain_obj()
    except (GreatExpectationsError, ValueError, TypeError) as error:
        raise SpecError(f"{where} ({item.get('type', 'without a type')}) is refused: {error}") from error


def _run(items: Sequence[Mapping[str, Any]], table: pa.Table) -> tuple[FailedExpectation, ...]:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("rows").get_batch({"dataframe": table.to_pandas()})

    def outcomes(some: Iterable[int], result_format: str) -> dict[int, Any]:
        # Results come in an order of their own; each is known by its position in the suite.
        asked = [_build({**items[at], "meta": {_POSITION: at}}, "suite") for at in some]
        suite = gx.ExpectationSuite(name="suite", expectations=asked)
        results = batch.validate(suite, result_format=result_format).results
        return {one.expectation_config.meta[_POSITION]: one for one in results}

    held = outcomes(range(len(items)), "BOOLEAN_ONLY")
    failed = [at for at in range(len(items)) if not held[at].success]
    if not failed:
        return ()
    # Whole lists of rows are costly, so only what failed is asked for them.
    detailed = outcomes(failed, "COMPLETE")
    return tuple(_failure(items[at], detailed[at], table) for at in failed)


def _failure(item: Mapping[str, Any], outcome: Any, table: pa.Table) -> FailedExpectation:
    kwargs = item.get("kwargs", {})
    result = outcome.result
    expected = {name: value for name, value in kwargs.items() if name != "column"}
    rows = [int(index) for index in (result.get("unexpected_index_list") or [])[:SAMPLE_ROWS]]
    count = result.get("unexpected_count")
    percent = result.get("unexpected_percent")
    return FailedExpectation(
        expectation=item["type"],
        column=kwargs.get("column"),
        expected=", ".join(f"{name} {value!r}" for name, value in expected.items()) or "every row",
        observed=_observed(outcome),
        unexpected_count=None if count is None else int(count),
        unexpected_percent=None if percent is None else float(percent),
        sample_rows=tuple(_row(table, index) for index in rows),
    )


def _observed(outcome: Any) -> str:
    result = outcome.result
    if result.get("observed_value") is not None:
        return f"{result['observed_value']}"
    if result.get("unexpected_count") is not None:
        examples = ", ".join(repr(_plain(value)) for value in result.get("partial_unexpected_list", [])[:SAMPLE_ROWS])
        percent = result.get("unexpected_percent")
        share = "" if percent is None else f" ({percent:.3g} %)"
        return f"{result['unexpected_count']} of {result['element_count']} rows{share}, such as {examples}"
    return f"nothing: {_exception(outcome.exception_info)}"


def _exception(info: Mapping[str, Any]) -> str:
    # Either one exception, or one a metric, by the metric's id.
    found = [info] if "exception_message" in info else list(info.values())
    messages = {str(one["exception_message"]) for one in found if one.get("exception_message")}
    return "; ".join(sorted(messages)) or "no reason is given"


def _row(table: pa.Table, index: int) -> dict[str, Any]:
    return {name: _plain(value) for name, value in table.slice(index, 1).to_pylist()[0].items()}


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, datetime):
        return value.isoformat()
    return None if value != value else value


def _is_about(item: Mapping[str, Any]) -> set[str]:
    kwargs = item.get("kwargs", {})
    single = {kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs}
    return single.union(*(kwargs.get(name) or () for name in ("column_list", "column_set")))


def _headline(item: Mapping[str, Any]) -> str:
    return f"{item['type']} ({', '.join(sorted(_is_about(item)))})"


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
