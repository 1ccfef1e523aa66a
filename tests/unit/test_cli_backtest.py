"""``trimtab backtest`` on a file: what it prints, writes, and refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from trimtab.backtest.files import target_kind
from trimtab.backtest.plot import check_plot_path, write_plot
from trimtab.backtest.results import Backtest
from trimtab.cli import app
from trimtab.cli.backtest_shown import show
from trimtab.errors import TrimtabError

SPEC = """
time = "at"
target = "repaid"
score = "said"
maturity = "2d"
features = ["income", "region"]

[policy]
metric = "roc_auc"
cooldown = "7d"
"""


@pytest.fixture
def loans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eighty days of 50 loans in a CSV file; after sixty, what the scores say is not what happens."""
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    random, count = np.random.default_rng(1), 80 * 50
    times = np.datetime64("2024-01-01T00:00:00") + (np.arange(count) * 28).astype("timedelta64[m]")
    income = random.lognormal(3, 0.5, count)
    said = 1 / (1 + np.exp(-4 * (np.log(income) - 3)))
    happens = np.where(times < np.datetime64("2024-03-01"), said, 1 - said)
    table = pa.table(
        {
            "id": np.arange(count),
            "at": np.datetime_as_string(times),
            "income": income,
            "region": random.choice(["north", "south"], count),
            "said": said,
            "repaid": (random.random(count) < happens).astype(int),
        }
    )
    path = tmp_path / "loans.csv"
    pyarrow.csv.write_csv(table, path)
    pq.write_table(table, tmp_path / "loans.parquet")
    (tmp_path / "loans.toml").write_text(SPEC)
    return path


def asked(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["backtest", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_csv_with_a_small_spec_is_replayed_as_a_table_a_plot_and_json(
    loans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And as Parquet just so; nothing else is written."""
    files = ["--json", str(tmp_path / "out" / "b.json"), "--plot", str(tmp_path / "out" / "b.png")]
    common = ["--spec", str(tmp_path / "loans.toml"), "--from", "2024-02-02", *files]
    told = asked(str(loans), *common)
    assert "loans from 2024-02-02 to" in told
    assert "performance is lost: roc_auc" in told
    assert "windows were ruled on: " in told
    found = Backtest.model_validate_json((tmp_path / "out" / "b.json").read_text())
    assert found.actions["RETRAIN"] >= 1
    assert (tmp_path / "out" / "b.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "home").exists()
    show(found.model_copy(update={"kept": {found.metric: -0.002}}), tmp_path, tmp_path)
    assert re.search(r"(?<!-)\b0%\n", capsys.readouterr().out), "a loss too small for a percent is none"
    asked(str(loans.with_suffix(".parquet")), *common)
    assert Backtest.model_validate_json((tmp_path / "out" / "b.json").read_text()) == found


def test_the_picture_says_what_its_lines_are(loans: Path, tmp_path: Path) -> None:
    """Each once: where another version began to serve, too."""
    asked(
        str(loans), "--spec", str(tmp_path / "loans.toml"), "--from", "2024-02-02", "--json", str(tmp_path / "b.json")
    )
    found = Backtest.model_validate_json((tmp_path / "b.json").read_text())
    some = [one.model_copy(update={"outcome": "version 2 serves from here on"}) for one in found.windows[:2]]
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        write_plot(found, tmp_path / "none.svg")
        write_plot(found.model_copy(update={"windows": (*some, *found.windows[2:])}), tmp_path / "two.svg")
    assert "another version serves" not in (tmp_path / "none.svg").read_text()
    drawn = (tmp_path / "two.svg").read_text()
    assert [drawn.count(f">{label}<") for label in ("the policy", "RETRAIN", "another version serves")] == [1, 1, 1]


def test_a_picture_that_cannot_be_written_is_refused_before_anything_runs(
    loans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its suffix, which is named with those that would do, whatever their case."""
    monkeypatch.setattr("trimtab.backtest.prepare.of_file", lambda *_: pytest.fail("it ran"))
    for name in ("x.bmp2", "x"):
        done = CliRunner().invoke(app, ["backtest", str(loans), "--plot", str(tmp_path / name)])
        assert isinstance(done.exception, TrimtabError)
        assert f"{name} ends in '{Path(name).suffix}'; a picture must end in one of" in str(done.exception)
    check_plot_path(tmp_path / "x.PNG")


def test_without_paths_the_files_go_into_a_folder_of_their_own(loans: Path, tmp_path: Path) -> None:
    """Under the home, and nothing beside them; a threshold that is tried is on record there."""
    tried = ("--set", "policy.performance_drop=0.9", "--set", "policy.retrain_without_skill=false")
    told = asked(str(loans), "--spec", str(tmp_path / "loans.toml"), *tried)
    (folder,) = (tmp_path / "home" / "backtests").iterdir()
    assert folder.name.endswith("-policy.performance_drop=0.9-policy.retrain_without_skill=false")
    assert list((tmp_path / "home").iterdir()) == [folder.parent]
    assert sorted(path.name for path in folder.iterdir()) == ["backtest.json", "backtest.png"]
    assert json.loads((folder / "backtest.json").read_text())["policy"]["performance_drop"] == 0.9
    assert "--from is left out" in told
    assert "RETRAIN" not in told


def test_what_a_reader_should_know_is_told(loans: Path, tmp_path: Path) -> None:
    """Windows that hold too few outcomes, a maturity that was not given, and texts where numbers were to be."""
    lines = loans.read_text().splitlines()
    for row, text in ((3, "n/a"), (4, "NULL"), (5, "")):
        cells = lines[row].split(",")
        lines[row] = ",".join([*cells[:2], text, *cells[3:]])
    loans.write_text("\n".join(lines))
    common = ["--time", "at", "--target", "repaid", "--score", "said", "--window", "2d", "--from", "2024-02-02"]
    told = asked(str(loans), *common)
    windows = re.search(r"(\d+) windows were ruled on", told)
    assert windows is not None
    assert f"{windows[1]} of {windows[1]} windows could not be judged: fewer than 300 mature outcomes." in told
    assert "--maturity is left out: a target counts as known 1 day after" in told
    assert "2 values of 'income' are no numbers and count as missing" in told
    told = asked(str(loans), *common, "--maturity", "1d", "--set", "policy.minimum_outcomes=50")
    assert "could not be judged" not in told
    assert "--maturity is left out" not in told


@pytest.mark.parametrize("columns", [[], ["--features", "income,region"]])
def test_a_few_texts_that_make_a_column_of_numbers_one_of_texts_are_told(loans: Path, columns: list[str]) -> None:
    """With how many and which, whether the column is a feature then or is left out; empty cells mend it."""
    header, *rows = [line.split(",") for line in loans.read_text().splitlines()]
    at, texts = header.index('"income"'), ("-", "?", "-", "unknown", "not said", "later")
    for row, text in enumerate(texts):
        rows[row][at] = text
    loans.write_text("\n".join(",".join(cells) for cells in (header, *rows)))
    common = [*("--time", "at", "--target", "repaid", "--score", "said", "--window", "2d"), *columns]
    told = asked(str(loans), *common)
    assert (
        f"'income' counts as texts, not as numbers: 6 of its {len(rows):,} cells hold none, such as '-'; "
        "empty those cells" in told
    )
    assert "'region' counts" not in told
    for row in range(len(texts)):
        rows[row][at] = ""
    loans.write_text("\n".join(",".join(cells) for cells in (header, *rows)))
    assert "counts as texts" not in asked(str(loans), *common)


def test_a_column_that_is_mostly_texts_such_as_na_is_refused(loans: Path) -> None:
    """With how many there are, and one of them."""
    head, *rows = loans.read_text().splitlines()
    texts = [
        ",".join([*cells[:2], "n/a" if row % 3 else cells[2], *cells[3:]])
        for row, cells in enumerate(line.split(",") for line in rows)
    ]
    loans.write_text("\n".join([head, *texts]))
    with pytest.raises(TrimtabError, match=r"'income' holds no numbers in 2,666 of 4,000 rows, such as 'n/a'"):
        CliRunner().invoke(app, ["backtest", str(loans), "--time", "at", "--target", "repaid"], catch_exceptions=False)


def test_flags_alone_suffice_and_features_are_all_that_name_no_row(loans: Path) -> None:
    """The id is told apart from what describes the loan."""
    told = asked(str(loans), "--time", "at", "--target", "repaid", "--score", "said", "--from", "2024-02-02")
    assert "the features are income, region; left out" in told
    assert "['id']" in told


def test_a_kind_that_is_left_out_is_what_the_values_say(loans: Path) -> None:
    """And a reader is told, unless it is the usual one."""
    told = asked(str(loans), "--time", "at", "--target", "income", "--from", "2024-03-01", "--always", "never")
    assert "Note: --kind is left out: by its values 'income' is of kind regression" in told
    assert "root_mean_squared_error" in told
    for values, kind in (
        ([0, 1, None, 1], "binary"),
        ([True, False], "binary"),
        ([1.0, 0.0], "binary"),
        ([1, 2, 1], "binary"),
        ([1, 2, 3], "regression"),
        ([0, 1, 0.5], "regression"),
        (["a", "b", "c", None], "multiclass"),
        (["no", "yes"], "binary"),
    ):
        assert target_kind(pa.chunked_array([values])) == kind


def test_a_history_of_two_days_is_split_and_told_by_the_hour(loans: Path) -> None:
    """A third of it is not the midnight before its first row, and its windows are not all called by one day."""
    rows = pd.read_csv(loans)
    rows["at"] = pd.date_range("2024-01-01", periods=len(rows), freq="40s")
    rows.to_csv(loans, index=False)
    told = asked(str(loans), "--time", "at", "--target", "repaid", "--features", "income", "--maturity", "1h")
    assert "--from is left out: the rows before 2024-01-01 14:00:00, a third of the time" in told
    assert "2024-01-01 14:00 " in told
    assert "--window is left out: it is 5 hours" in told
    assert "2024-01-01 19:00 " in told


@pytest.mark.parametrize(("negative", "positive"), [("NO", "yes, paid"), ("1", "2")])
def test_a_target_of_two_values_is_told_which_is_positive(loans: Path, negative: str, positive: str) -> None:
    """Texts or numbers: the very backtest that 0 and 1 give."""
    (loans.parent / "plain.csv").write_bytes(loans.read_bytes())
    arguments = [*("--time", "at", "--target", "repaid", "--features", "income"), *("--from", "2024-03-01")]
    plain = asked(str(loans.parent / "plain.csv"), *arguments, "--always", "never")
    rows = pd.read_csv(loans)
    rows["repaid"] = rows["repaid"].map({0: negative, 1: positive})
    rows.to_csv(loans.parent / "named.csv", index=False)
    named = asked(str(loans.parent / "named.csv"), *arguments, "--always", "never", "--positive", positive)
    assert named.replace("named", "plain") == plain


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target", "repaid"), "no time column is named"),
        (("--time", "when", "--target", "repaid"), "there is no column 'when', which is to be the time; there are"),
        (("--time", "income", "--target", "repaid"), "it must hold times, such as"),
        (("--time", "region", "--target", "repaid"), "holds '(north|south)' in row 1; it must hold times in ISO 8601"),
        (("--time", "at", "--target", "region"), "'north' and 'south'; --positive, .* such as --positive south"),
        (("--time", "at", "--target", "region", "--kind", "multiclass"), "--positive, .* such as --positive south"),
        (("--time", "at", "--target", "region", "--positive", "east"), r"it must be one of two values"),
        (("--time", "at", "--target", "income", "--positive", "1"), r"and \d[\d]* more; it must be one of two values"),
        (("--time", "at", "--target", "regio", "--positive", "north"), "no column 'regio', which is to be the target"),
        (
            ("--time", "at", "--target", "region", "--positive", "north", "--kind", "multiclass"),
            "only a binary target has a positive value",
        ),
        (
            ("--time", "at", "--target", "income", "--kind", "binary"),
            "a binary target is 0 or 1: other numbers are of kind regression",
        ),
        (("--time", "at", "--target", "repaid", "--kind", "ordinal"), "must be one of"),
        (("--time", "at", "--target", "repaid", "--score", "income"), "a score is a probability between 0 and 1"),
        (
            ("--time", "at", "--target", "repaid", "--from", "2024-03-01", "--to", "2024-02-01"),
            "--from must come first",
        ),
        (
            ("--time", "at", "--target", "repaid", "--from", "2025-03-01", "--to", "2025-04-01"),
            r"--from is 2025-03-01 .* the file's rows lie between 2024-01-01 .* and 2024-03-18",
        ),
        (("--time", "at", "--target", "repaid", "--from", "2025-03-01"), "and some after it, to judge"),
        (("--time", "at", "--target", "repaid", "--from", "2023-03-01"), "some must come before it, to train on"),
        (
            ("--time", "at", "--target", "repaid", "--from", "2024-01-02"),
            "first model cannot be made .* the first there is lies at 2024-01-01",
        ),
        (
            ("--time", "at", "--target", "repaid", "--set", "training.evaluation_window=1d"),
            r"100 are needed; .*training.minimum_rows is 200\) and judge \(training.evaluation_window is 1 day",
        ),
        (("--time", "at", "--target", "repaid", "--window", "7"), "must be a timedelta, such as 7d or 12h"),
        (("--time", "at", "--target", "repaid", "--set", "policy.cooldwn=3d"), "did you mean 'policy.cooldown'"),
        (("--time", "at", "--target", "repaid", "--set", "policy.budget=-1"), "policy.budget is -1"),
        (("--time", "at", "--target", "repaid", "--set", "policy"), "sets nothing"),
        (("--time", "at", "--target", "repaid", "--spec", "no.toml"), "there is no file no.toml"),
    ],
)
def test_what_is_wrong_is_refused_with_what_would_be_right(loans: Path, arguments: tuple[str, ...], words: str) -> None:
    """Before anything is trained."""
    with pytest.raises(TrimtabError, match=words):
        CliRunner().invoke(app, ["backtest", str(loans), *arguments], catch_exceptions=False)


@pytest.mark.parametrize("text", ["tiem = 'at'", "time = at"])
def test_a_small_spec_that_is_wrong_is_refused(loans: Path, tmp_path: Path, text: str) -> None:
    """A field that there is none of, and what is no TOML."""
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(TrimtabError, match=r"did you mean 'time'|is not TOML"):
        CliRunner().invoke(
            app, ["backtest", str(loans), "--spec", str(tmp_path / "wrong.toml")], catch_exceptions=False
        )


def test_a_file_that_is_not_there_or_empty_is_refused(loans: Path) -> None:
    """With its path."""
    columns = ["--time", "at", "--target", "repaid"]
    with pytest.raises(TrimtabError, match="there is no file"):
        CliRunner().invoke(app, ["backtest", str(loans.with_name("no.csv")), *columns], catch_exceptions=False)
    empty = loans.with_name("empty.csv")
    empty.write_text("at,x,repaid\n")
    with pytest.raises(TrimtabError, match="has no rows"):
        CliRunner().invoke(app, ["backtest", str(empty), *columns, "--features", "x"], catch_exceptions=False)


def test_three_rows_are_refused_with_why(loans: Path) -> None:
    """Whole numbers that differ in each row name it; with features named, a start beyond the rows is told so."""
    few = loans.with_name("few.csv")
    few.write_text("at,x,repaid\n2024-01-01,1,0\n2024-01-02,2,1\n2024-01-03,3,1\n")
    given = ["backtest", str(few), "--time", "at", "--target", "repaid", "--from", "2024-02-01"]
    with pytest.raises(TrimtabError, match=r"no column is left to be a feature: \['x'\] name the row"):
        CliRunner().invoke(app, given, catch_exceptions=False)
    with pytest.raises(TrimtabError, match=r"the file's rows lie between 2024-01-01 .* and 2024-01-03"):
        CliRunner().invoke(app, [*given, "--features", "x"], catch_exceptions=False)


def test_options_of_files_are_refused_for_a_model(loans: Path) -> None:
    """Its spec says these; the exit code is that of a wrong use."""
    for arguments in (["loan", "--time", "at"], ["loan"], [str(loans), "--logged"], ["loan", "--always", "daily"]):
        assert CliRunner().invoke(app, ["backtest", *arguments]).exit_code == 2


def test_a_window_of_too_few_rows_is_told_as_such_though_its_outcomes_were_judged(loans: Path) -> None:
    """What the mature rows achieved is no reason for a ruling that was not made."""
    told = asked(str(loans), "--spec", str(loans.with_suffix(".toml")), "--from", "2024-02-02", *NO_WINDOW_IS_LARGE)
    assert "too few rows to judge: 360 of the 1,000" in told
    assert "on mature outcomes" not in told


NO_WINDOW_IS_LARGE = ("--window", "7d", "--set", "policy.minimum_rows=1000")
