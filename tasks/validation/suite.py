"""A suite as Great Expectations reads and runs it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from trimtab.errors import SpecError
from trimtab.records import FailedExpectation, content_id
from trimtab.settings import Settings
from trimtab.spec import ModelSpec

SAMPLE_ROWS = 5
LISTED = 20
"""Values of a list that a message shows."""
_POSITION = "position"


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
        raise SpecError(
            f"{spec.name}: suite is {spec.suite!r}, but {path} does not exist; "
            f"`trimtab suggest-suite {spec.name} --from ... --to ...` drafts one from sound rows"
        ) from error
    except ValueError as error:
        raise SpecError(f"{path} is not JSON: {error}") from error
    listed = suite.get("expectations") if isinstance(suite, dict) else None
    if not isinstance(listed, list) or not listed or not all(isinstance(item, dict) for item in listed):
        raise SpecError(f'{path} must hold {{"name": ..., "expectations": [{{"type": ..., "kwargs": ...}}, ...]}}')
    for position, item in enumerate(listed):
        _build(item, f"{path}: expectation {position + 1}")
    return listed, content_id("suite", listed)


def _build(item: Mapping[str, Any], where: str) -> Any:
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    # Its expectations become known by being defined.
    import tasks.validation.expectations  # noqa: F401

    try:
        return ExpectationConfiguration(**item).to_domain_obj()
    except (GreatExpectationsError, ValueError, TypeError) as error:
        raise SpecError(f"{where} ({item.get('type', 'without a type')}) is refused: {error}") from error


def run_suite(items: Sequence[Mapping[str, Any]], table: pa.Table) -> tuple[FailedExpectation, ...]:
    """Hold a table against expectations; returns those that do not hold, in the suite's order."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    # It tells of each of its temporary folders, at a level that it sets when it is imported.
    logging.getLogger(ProgressBarsConfig.__module__).setLevel(logging.WARNING)
    # Every column that is there costs its copy as pandas holds it.
    asked = set().union(*map(columns_of, items))
    needed = table.select([name for name in table.column_names if name in asked] or table.column_names[:1])
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("rows").get_batch({"dataframe": needed.to_pandas()})

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
        expected=", ".join(f"{name} {_short(value)}" for name, value in expected.items()) or "every row",
        observed=_observed(outcome),
        unexpected_count=None if count is None else int(count),
        unexpected_percent=None if percent is None else float(percent),
        sample_rows=tuple(_row(table, index) for index in rows),
    )


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > LISTED:
        return f"[{', '.join(map(repr, value[:LISTED]))}, ... {len(value)} in all]"
    return repr(value)


def _observed(outcome: Any) -> str:
    result = outcome.result
    if result.get("observed_value") is not None:
        return f"{result['observed_value']}"
    if result.get("unexpected_count") is not None:
        distinct = dict.fromkeys(repr(_plain(value)) for value in result.get("partial_unexpected_list", []))
        examples = ", ".join(list(distinct)[:SAMPLE_ROWS])
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


def columns_of(item: Mapping[str, Any]) -> set[str]:
    """The columns that an expectation is about."""
    kwargs = item.get("kwargs", {})
    single = {kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs}
    return single.union(*(kwargs.get(name) or () for name in ("column_list", "column_set")))


def headline(item: Mapping[str, Any]) -> str:
    """An expectation in a few words."""
    return f"{item['type']} ({', '.join(sorted(columns_of(item)))})"
