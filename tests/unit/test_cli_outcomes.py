"""``trimtab outcomes``: a file is loaded with one command, and what is known is shown as a person reads it."""

from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.prediction_rows import T0, make_rows
from trimtab.cli import app
from trimtab.errors import TrimtabError
from trimtab.predictions import Outcome, Outcomes, PredictionLog, new_prediction_ids
from trimtab.predictions.gaps import Gaps
from trimtab.predictions.schema import id_text, microseconds

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def trimtab(tmp_path, monkeypatch):
    """Run the command in a home of its own; its exit code and what it said."""
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    monkeypatch.setenv("TRIMTAB_MODELS_DIR", str(ROOT / "tests/models"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(app, ["outcomes", *arguments])
        if isinstance(result.exception, TrimtabError):
            raise result.exception
        return result.exit_code, result.output

    return run


@pytest.fixture
def ids(tmp_path):
    """Three predictions on each of two days, of a binary model; request ids r0 to r5."""
    log = PredictionLog(tmp_path / "predictions" / "loan")
    log.append(make_rows(3, at=T0 + HOUR, request_id=["r0", "r1", "r2"]))
    log.seal()
    log.append(make_rows(3, at=T0 + DAY, request_id=["r3", "r4", "r5"]))
    found = log.read(T0, T0 + 2 * DAY, ["prediction_id"])["prediction_id"].to_pylist()
    log.close()
    return [id_text(key) for key in found]


def test_a_file_is_tried_loaded_and_loaded_again(trimtab, tmp_path, ids):
    stranger = id_text(new_prediction_ids(1)[0])
    file = tmp_path / "january.csv"
    file.write_text(f"prediction_id,value\n{ids[0]},1\n{stranger},1\n{ids[1]},3\n{ids[2]},0\n")
    said = "4 rows: 2 accepted, 0 duplicates, 0 corrected, 2 rejected"
    code, output = trimtab("load", "january.csv", "--model", "loan", "--dry-run")
    assert (code, f"{said} (nothing is stored: a dry run)" in output) == (1, True), output
    assert Outcomes(tmp_path / "predictions" / "loan").history(ids[0]) == []
    code, output = trimtab("load", "january.csv", "--model", "loan")
    assert code == 1, "rejected rows are no success"
    for part in ("100%  4 rows", said, "1  unknown prediction", "1  neither 0 nor 1", "january.csv.rejects.csv"):
        assert part in output
    code, output = trimtab("load", "january.csv", "--model", "loan", "--rejects", "elsewhere.csv")
    assert "0 accepted, 2 duplicates, 0 corrected, 2 rejected" in output
    assert (tmp_path / "elsewhere.csv").read_text().startswith("line,reason,detail,prediction_id,value,observed_at,")


def test_a_file_of_corrections_by_request_id_is_loaded(trimtab, tmp_path, ids):
    Outcomes(tmp_path / "predictions" / "loan").add([Outcome(ids[0], 0.0, T0 + DAY)])
    (tmp_path / "a.jsonl").write_text('{"order": "r0", "good": 1}\n{"order": "r5", "good": 0}\n')
    options = ["--request-id-column", "order", "--value-column", "good", "--corrections", "--observed-at", "2024-01-05"]
    code, output = trimtab("load", "a.jsonl", "--model", "loan", *options)
    assert (code, "2 rows: 1 accepted, 0 duplicates, 1 corrected, 0 rejected" in output) == (0, True), output
    code, output = trimtab("show", ids[0])
    lines = output.splitlines()
    assert lines[0] == f"prediction {ids[0]} of loan, 2024-01-01 01:00:00 UTC"
    assert lines[1].startswith("0  known 2024-01-02 00:00:00  recorded 20")
    assert lines[2].startswith("1  known 2024-01-05 00:00:00  recorded 20")
    assert lines[2].endswith("a correction, counts")
    assert trimtab("show", ids[1])[1].endswith("no outcome is known\n")


def test_status_counts_by_day_what_is_mature_and_known(trimtab, tmp_path, ids):
    outcomes = Outcomes(tmp_path / "predictions" / "loan")
    outcomes.add([Outcome(key, 1.0, T0 + 2 * DAY) for key in (ids[0], ids[1], ids[3])])
    outcomes.add([Outcome(ids[0], 0.0, T0 + 2 * DAY, correction=True), Outcome(ids[1], 0.0, T0 + 9 * DAY, True)])
    gaps = Gaps(tmp_path / "predictions" / "loan")
    gaps.count(new_prediction_ids(7), [microseconds(T0 + HOUR)] * 7, "1", "release-1", "no space left")
    gaps.close()
    code, output = trimtab("status", "loan", "--as-of", "2024-01-03", "--maturity-days", "1.5")
    assert code == 0
    assert [line.split() for line in output.splitlines()[1:4]] == [
        ["2024-01-01", "3", "3", "2", "66.7%", "1"],
        ["2024-01-02", "3", "0", "1", "-", "0"],
        ["total", "6", "3", "3", "66.7%", "1"],
    ]
    assert "7 predictions were answered and not logged between" in output
    later = trimtab("status", "loan", "--as-of", "2024-01-10", "--from", "2024-01-02", "--to", "2024-01-02T00:00:02")[1]
    assert later.splitlines()[1].split() == ["2024-01-02", "2", "2", "1", "50.0%", "0"]
    assert "an outcome is due 6 hours after" in later, "as the spec says"


def test_what_is_not_there_is_said(trimtab, tmp_path, ids):
    (tmp_path / "a.csv").write_text("prediction_id,value\n")
    with pytest.raises(TrimtabError, match=r"of a model .lone. are on record in .*; there are those of loan"):
        trimtab("load", "a.csv", "--model", "lone")
    with pytest.raises(TrimtabError, match=r"there is no file b\.csv"):
        trimtab("load", "b.csv", "--model", "loan")
    assert trimtab("load", "a.csv", "--model", "loan")[0] == 0
    assert trimtab("load", "a.csv", "--model", "loan", "--id-column", "a", "--request-id-column", "b")[0] == 2
