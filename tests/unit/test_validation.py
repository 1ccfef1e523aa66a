"""Great Expectations says what does not hold, with numbers and rows, and nothing is trained on it."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.data import take_snapshot
from tasks.validation import check_suite, explain, validate
from trimtab.errors import SpecError
from trimtab.models import load_model
from trimtab.settings import Settings
from trimtab.training.snapshots import read_snapshot

SPEC = load_model(Path(__file__).parents[1] / "models", "loan").spec


@pytest.fixture
def table(settings_env: Settings) -> pa.Table:
    """The loans of three days."""
    return read_snapshot(take_snapshot.fn("loan", "evaluation", datetime(2024, 2, 20, tzinfo=UTC)))


def replaced(table: pa.Table, column: str, values: list[Any]) -> pa.Table:
    old = table.column(column).to_pylist()
    new = pa.array([*values, *old[len(values) :]], type=table.schema.field(column).type)
    return table.set_column(table.column_names.index(column), column, new)


def with_suite(settings: Settings, folder: Path, suite: Any) -> Settings:
    (folder / "loan.json").write_text(suite if isinstance(suite, str) else json.dumps(suite))
    return dataclasses.replace(settings, suites_dir=folder)


def test_good_rows_pass_every_expectation(settings_env: Settings, table: pa.Table) -> None:
    """On rows as they should be all expectations hold, and the page says so."""
    validation = validate(SPEC, settings_env, table, "snapshot-1")
    assert validation.success
    assert (validation.expectations, validation.rows) == (6, table.num_rows)
    assert "passed" in (settings_env.reports_dir / validation.page).read_text()


def test_a_failure_has_its_numbers_and_rows(settings_env: Settings, table: pa.Table) -> None:
    """Each failed expectation names its column, how many rows, and shows some of them; the others are not listed."""
    broken = replaced(replaced(table, "age", [None, None, 200]), "region", ["mars"] * 200)
    validation = validate(SPEC, settings_env, broken, "snapshot-1")
    found = {(failed.expectation, failed.column): failed for failed in validation.failed}
    assert set(found) == {
        ("expect_column_values_to_not_be_null", "age"),
        ("expect_column_values_to_be_between", "age"),
        ("expect_column_values_to_be_in_set", "region"),
    }
    nulls = found["expect_column_values_to_not_be_null", "age"]
    assert nulls.unexpected_count == 2
    assert [row["age"] for row in nulls.sample_rows] == [None, None]
    assert found["expect_column_values_to_be_between", "age"].sample_rows[0]["age"] == 200
    assert "200 of" in explain(validation)
    assert type(validation).model_validate_json(validation.model_dump_json()) == validation


def test_the_page_of_a_failure_opens_offline(settings_env: Settings, table: pa.Table) -> None:
    """The page needs no network, shows numbers and rows, and does not run what the data says."""
    broken = replaced(table, "region", ["<script>alert(1)</script>"] * 100)
    page = (settings_env.reports_dir / validate(SPEC, settings_env, broken, "snapshot-1").page).read_text()
    assert not re.search(r"https?://|<script|<link|src=", page)
    assert "&lt;script&gt;" in page
    assert "100 of" in page


def test_a_missing_column_is_a_failure_with_a_reason(settings_env: Settings, table: pa.Table) -> None:
    """An expectation on a column that is not there fails, and says that the column is not there."""
    validation = validate(SPEC, settings_env, table.drop_columns(["income"]), "snapshot-1")
    assert {failed.column for failed in validation.failed} == {"income"}
    assert 'column "income"' in validation.failed[0].observed


def test_incoming_rows_are_not_asked_for_their_target(settings_env: Settings, table: pa.Table, tmp_path: Path) -> None:
    """Expectations on the target or the key are left out of a window, those on features are not."""
    suite = {
        "expectations": [
            {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "repaid", "value_set": [0, 1]}},
            {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "loan_id"}},
            {"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": [*table.column_names]}},
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "age"}},
        ]
    }
    settings = with_suite(settings_env, tmp_path, suite)
    assert validate(SPEC, settings, table, "snapshot-1").expectations == 4
    window = table.select(["event_time", *SPEC.feature_names])
    incoming = validate(SPEC, settings, window, "release-1", incoming=True)
    assert incoming.success
    assert incoming.expectations == 1
    assert "loan_id" in (settings.reports_dir / incoming.page).read_text()
    assert not validate(SPEC, settings, window.drop_columns(["age"]), "release-1", incoming=True).success


def test_two_windows_of_a_release_are_two_validations(settings_env: Settings, table: pa.Table) -> None:
    """Each window of the same release is on record by itself; the same window twice is one."""
    window = table.select(["event_time", *SPEC.feature_names])
    first, again, other = (
        validate(SPEC, settings_env, rows, "release-1", incoming=True).id
        for rows in (window.slice(0, 300), window.slice(0, 300), window.slice(300))
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("suite", "says"),
    [
        (None, "does not exist; `trimtab suggest-suite loan --from"),
        ("{", "is not JSON"),
        ([], "must hold"),
        ({"expectations": []}, "must hold"),
        ({"expectations": [{"type": "expect_magic", "kwargs": {}}]}, "expectation 1 .expect_magic. is refused"),
        ({"expectations": [{"kwargs": {}}]}, "without a type"),
        (
            {"expectations": [{"type": "expect_column_values_to_be_unique", "kwargs": {"colum": "age"}}]},
            r"expect_column_values_to_be_unique. is refused[\s\S]*colum",
        ),
    ],
)
def test_a_wrong_suite_is_refused_before_anything_runs(
    settings_env: Settings, tmp_path: Path, suite: Any, says: str
) -> None:
    """A suite that is missing, no JSON or not Great Expectations' is refused with its path and what is wrong."""
    settings = dataclasses.replace(settings_env, suites_dir=tmp_path)
    if suite is not None:
        settings = with_suite(settings_env, tmp_path, suite)
    with pytest.raises(SpecError, match=says):
        check_suite(SPEC, settings)
