"""A drafted suite holds on its own rows, is Great Expectations' own form, and says from what number each line came."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from tasks.data import take_snapshot
from tasks.validation import check_suite, validate
from trimtab.cli import app
from trimtab.errors import SourceError, SpecError, TrimtabError
from trimtab.ledger import Ledger
from trimtab.models import load_model
from trimtab.settings import Settings
from trimtab.spec import ModelSpec
from trimtab.training.snapshots import read_snapshot
from trimtab.training.suite_draft import draft_suite

SPEC = load_model(Path(__file__).parents[1] / "models", "loan").spec
NOW = datetime(2024, 2, 20, tzinfo=UTC)


@pytest.fixture
def rows(settings_env: Settings) -> pa.Table:
    """The loans that train."""
    return read_snapshot(take_snapshot.fn("loan", "training", NOW))


@pytest.fixture
def drafted(settings_env: Settings, tmp_path: Path, rows: pa.Table) -> Settings:
    """Settings with the drafted suite in place of the model's own."""
    (tmp_path / "loan.json").write_text(draft_suite(SPEC, rows).to_json())
    return dataclasses.replace(settings_env, suites_dir=tmp_path)


def changed(rows: pa.Table, name: str, values: object) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, pa.array(values, rows.schema.field(name).type))


def test_a_draft_loads_and_holds_on_its_own_rows(drafted: Settings, rows: pa.Table) -> None:
    """And on rows of the days after, and on a window of them."""
    assert check_suite(SPEC, drafted) > 12
    assert validate(SPEC, drafted, rows, "snapshot-1").failed == ()
    later = read_snapshot(take_snapshot.fn("loan", "evaluation", NOW))
    assert validate(SPEC, drafted, later, "snapshot-2").failed == ()
    assert validate(SPEC, drafted, later.select(["event_time", *SPEC.feature_names]), "r", incoming=True).failed == ()


def test_every_expectation_says_from_what_number_it_was_drawn(rows: pa.Table) -> None:
    """In meta.notes, an expectation a line, without ids: as the suites that people write."""
    text = draft_suite(SPEC, rows).to_json()
    suite = json.loads(text)
    assert suite["name"] == "loan"
    assert all(set(item) == {"type", "kwargs", "meta"} and item["meta"]["notes"] for item in suite["expectations"])
    assert len(text.splitlines()) == len(suite["expectations"]) + 5
    kinds = {(item["type"], item["kwargs"].get("column")) for item in suite["expectations"]}
    assert kinds >= {
        ("expect_column_values_to_be_unique", "loan_id"),
        ("expect_column_values_to_be_in_set", "region"),
        ("expect_column_values_to_be_between", "income"),
        ("expect_column_values_to_not_be_null", "age"),
        ("expect_column_values_to_be_in_type_list", "employed"),
        ("expect_table_row_count_to_be_between", None),
    }


def test_a_draft_refuses_broken_rows(drafted: Settings, rows: pa.Table) -> None:
    """Another unit, a value that stands still, a new type of value, rows that are there twice."""
    incomes, count = rows["income"].to_pylist(), rows.num_rows

    def failed(broken: pa.Table) -> set[tuple[str, str | None]]:
        return {(one.expectation, one.column) for one in validate(SPEC, drafted, broken, "s").failed}

    cents = changed(rows, "income", [None if income is None else income / 100 for income in incomes])
    assert ("expect_column_values_to_match_reference_units", "income") in failed(cents)
    stuck = changed(rows, "income", [income if at % 2 else 31.25 for at, income in enumerate(incomes)])
    assert ("expect_column_most_common_value_share_to_be_between", "income") in failed(stuck)
    mars = changed(rows, "region", ["mars"] * count)
    assert ("expect_column_values_to_be_in_set", "region") in failed(mars)
    twice = pa.concat_tables([rows, changed(rows, "loan_id", [f"again-{at}" for at in range(count)])])
    assert ("expect_compound_columns_to_be_unique", None) in failed(twice)


def test_a_few_values_beyond_what_was_seen_are_no_fault(drafted: Settings, rows: pa.Table) -> None:
    """A heavy tail brings some in each window; that most of a column is beyond is a fault."""
    incomes = rows["income"].to_numpy(zero_copy_only=False).copy()
    few, many = incomes.copy(), incomes.copy()
    few[: len(few) // 150] = 40 * np.nanmax(incomes)
    many[: len(many) // 20] = 40 * np.nanmax(incomes)
    assert validate(SPEC, drafted, changed(rows, "income", few), "snapshot-1").failed == ()
    [failed] = validate(SPEC, drafted, changed(rows, "income", many), "snapshot-2").failed
    assert (failed.column, failed.expectation) == ("income", "expect_column_values_to_be_between")


def test_a_target_that_moves_does_not_stop_the_retraining_that_answers_it(
    settings_env: Settings, tmp_path: Path, rows: pa.Table
) -> None:
    """A base rate of a third, a number twice as large: the world has changed. A hundred times: another unit."""
    rare = np.zeros(rows.num_rows)
    rare[::33] = 1
    amounts = np.random.default_rng(5).lognormal(8, 0.6, rows.num_rows)
    for kind, before, moved, broken in (
        ("binary", rare, rare * (np.arange(len(rare)) % 99 == 0), rare * 0),
        ("regression", amounts, 2 * amounts, 100 * amounts),
    ):
        spec = SPEC.model_copy(update={"target": SPEC.target.model_copy(update={"kind": kind})})
        settings = dataclasses.replace(settings_env, suites_dir=tmp_path)

        def held(values: np.ndarray, spec: ModelSpec = spec, settings: Settings = settings) -> tuple[str, ...]:
            table = rows.set_column(rows.column_names.index(spec.target.name), spec.target.name, pa.array(values))
            return tuple(one.column for one in validate(spec, settings, table, "snapshot-1").failed)

        table = rows.set_column(rows.column_names.index(spec.target.name), spec.target.name, pa.array(before))
        (tmp_path / "loan.json").write_text(draft_suite(spec, table).to_json())
        assert (held(before), held(moved)) == ((), ())
        assert held(broken) == (spec.target.name,)


def test_a_person_is_told_what_to_look_at(rows: pa.Table) -> None:
    """What was missing, what was far out, a key that is there twice, a column of one value."""
    odd = changed(rows, "age", [20] * rows.num_rows)
    odd = changed(odd, "loan_id", ["same"] * rows.num_rows)
    far = pc.if_else(pc.equal(pa.array(range(rows.num_rows)), 3), 1e6, rows["income"])
    said = "\n".join(draft_suite(SPEC, changed(odd, "income", far.to_pylist())).look_at)
    assert "loan_id: the key is there twice in" in said
    assert "income: 1.75% of its values are missing" in said
    assert "such as 1e+06" in said
    assert "age: it has one value in all rows" in said


def test_values_as_large_as_floats_are_drafted_from(rows: pa.Table) -> None:
    """Without a warning, within bounds that a float holds."""
    largest = sys.float_info.max
    extreme = np.where(np.arange(rows.num_rows) % 2, largest, -largest)
    items = json.loads(draft_suite(SPEC, changed(rows, "income", extreme)).to_json())["expectations"]
    (between,) = (
        item["kwargs"]
        for item in items
        if item["type"] == "expect_column_values_to_be_between" and item["kwargs"]["column"] == "income"
    )
    assert (between["min_value"], between["max_value"]) == (-largest, largest)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("event_time,paid\n", r"has no rows"),
        ("event_time,paid\n2024-01-01,1\n", r"has no columns \['loan_id', .*\]; it has \['event_time', 'paid'\]"),
        ("", r"cannot be read as csv: Empty CSV file"),
        ("event_time;paid\n2024-01-01;1\n", r"are divided by ';': write it with commas"),
    ],
    ids=["no rows", "columns", "empty", "semicolons"],
)
def test_a_file_that_does_not_fit_is_told_of(settings_env: Settings, tmp_path: Path, text: str, said: str) -> None:
    """By its name, not as what the model's source returned."""
    file = tmp_path / "loans.csv"
    file.write_text(text)
    arguments = ["suggest-suite", "loan", "--output", str(tmp_path / "suite.json"), "--file", str(file)]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, SourceError)
    assert re.search(rf"loans\.csv {said}", str(done.exception))


def test_units_that_are_no_quantiles_are_refused(settings_env: Settings, tmp_path: Path) -> None:
    """A suite that a person edited wrongly is refused with what would be right, before anything runs."""
    item = {
        "type": "expect_column_values_to_match_reference_units",
        "kwargs": {"column": "income", "quantiles": [1.0, 2.0]},
    }
    (tmp_path / "loan.json").write_text(json.dumps({"name": "loan", "expectations": [item]}))
    with pytest.raises(SpecError, match="holds 2 numbers; it must hold 49 that ascend"):
        check_suite(SPEC, dataclasses.replace(settings_env, suites_dir=tmp_path))


def test_the_command_drafts_from_a_snapshot_a_span_or_a_file(settings_env: Settings, tmp_path: Path) -> None:
    """Whose times may have nanoseconds; and never writes over a file that is there unless it is told to."""
    snapshot = take_snapshot.fn("loan", "training", NOW)
    Ledger(settings_env.ledger).append(snapshot)
    csv = tmp_path / "loans.csv"
    loans = read_snapshot(snapshot).to_pandas()
    to_the_nanosecond = loans["event_time"].dt.as_unit("ns") + pd.Timedelta(789, "ns")
    loans.assign(event_time=to_the_nanosecond).to_csv(csv, index=False)
    suites = []
    for number, arguments in enumerate(
        [
            [],
            ["--snapshot", snapshot.id],
            ["--from", "2024-02-13T18:00", "--to", "2024-02-18T18:00"],
            ["--file", str(csv)],
        ]
    ):
        output = tmp_path / f"{number}.json"
        done = CliRunner().invoke(app, ["suggest-suite", "loan", *arguments, "--output", str(output)])
        assert done.exit_code == 0, done.output
        assert "look at income: 1." in done.output
        suites.append(json.loads(output.read_text()))
    assert suites[0] == suites[1] == suites[3]
    assert len(suites[2]["expectations"]) == len(suites[0]["expectations"])
    again = CliRunner().invoke(app, ["suggest-suite", "loan", "--output", str(tmp_path / "0.json")])
    assert isinstance(again.exception, TrimtabError)
    assert "is there already" in str(again.exception)
    assert CliRunner().invoke(app, ["suggest-suite", "loan", "--output", str(output), "--force"]).exit_code == 0


def test_an_order_of_day_and_month_is_not_guessed(settings_env: Settings, tmp_path: Path) -> None:
    """01.02.2024 is in February where it was written; pandas takes it for a day of January."""
    loans = read_snapshot(take_snapshot.fn("loan", "training", NOW)).to_pandas()
    loans.assign(event_time="01.02.2024 08:30").to_csv(tmp_path / "loans.csv", index=False)
    arguments = ["suggest-suite", "loan", "--output", str(tmp_path / "0.json"), "--file", str(tmp_path / "loans.csv")]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, SourceError)
    assert "'event_time' holds '01.02.2024 08:30' in row 1; it must hold times in ISO 8601" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--snapshot", "snapshot-0"], "no snapshot 'snapshot-0' of loan is on record"),
        ([], "no training snapshot of loan is on record"),
        (["--file", "nowhere.csv"], "there is no file nowhere.csv"),
    ],
)
def test_what_cannot_be_drafted_from_is_said(settings_env: Settings, arguments: list[str], said: str) -> None:
    """With the value and what would be right."""
    output = str(settings_env.home / "suite.json")
    done = CliRunner().invoke(app, ["suggest-suite", "loan", "--output", output, *arguments])
    assert isinstance(done.exception, TrimtabError)
    assert said in str(done.exception)
