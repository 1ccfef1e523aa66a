"""Files of outcomes: what is good is stored, what is bad is set aside with its reason, and loading twice is as once."""

import csv
import json
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.prediction_rows import LATER, T0, make_rows
from trimtab.errors import OutcomeFileError
from trimtab.predictions import Outcome, Outcomes, PredictionLog, new_prediction_ids
from trimtab.predictions.bulk import Load, load_outcomes
from trimtab.predictions.outcome_files import Layout
from trimtab.predictions.schema import id_text

HOUR = timedelta(hours=1)
N = 300
BY_REQUEST = Load(Layout("request_id", by_request=True))


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory):
    """A log of 300 predictions, two thirds of them sealed; request ids r0 to r299, but r7 answered twice."""
    folder = tmp_path_factory.mktemp("log") / "loan"
    log = PredictionLog(folder)
    names = [f"r{i}" for i in range(N)]
    names[8] = "r7"
    for start in (0, 100, 200):
        log.append(make_rows(100, at=T0, request_id=names[start : start + 100]))
        if start == 100:
            log.seal()
    log.close()
    return folder


@pytest.fixture
def log(log_folder):
    return PredictionLog(log_folder)


@pytest.fixture
def ids(log):
    return [id_text(key) for key in log.read(T0, LATER, ["prediction_id"])["prediction_id"].to_pylist()]


@pytest.fixture
def outcomes(tmp_path, log):
    """Outcomes of that log, in a folder of the test's own."""
    return Outcomes(tmp_path / "own", log)


def write(path, rows):
    """A file of rows, each a dict, in the format that its name tells."""
    if path.suffix == ".csv":
        names = list(dict.fromkeys(name for row in rows for name in row))
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=70)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(path, outcomes, log, how=None, **options):
    return load_outcomes(path, outcomes, log, how or Load(), path.with_suffix(".rejects.csv"), **options)


def told(report):
    return report.accepted, report.duplicates, report.corrected, dict(report.rejected)


def rejected(path):
    """The rejects file of a load, as dicts; none if it is not there."""
    file = path.with_suffix(".rejects.csv")
    return list(csv.DictReader(file.read_text().splitlines())) if file.exists() else []


@pytest.mark.parametrize(
    ("suffix", "typed"), [(".csv", False), (".jsonl", False), (".parquet", False), (".parquet", True)]
)
def test_each_format_is_read_in_chunks_and_loading_it_again_changes_nothing(
    tmp_path, outcomes, log, ids, suffix, typed
):
    times = [T0 + i * HOUR for i in range(N)]
    given = times if typed else [time.isoformat() for time in times]
    values = [i % 2 == 0 for i in range(N)] if typed else [float(i % 2 == 0) for i in range(N)]
    rows = [
        {"prediction_id": key, "value": value, "observed_at": time}
        for key, value, time in zip(ids, values, given, strict=True)
    ]
    file = write(tmp_path / f"outcomes{suffix}", rows)
    seen = []
    report = load(file, outcomes, log, chunk_rows=64, on_progress=seen.append)
    assert told(report) == (N, 0, 0, {})
    assert [part.rows for part in seen] == [64, 128, 192, 256, 300]
    assert seen[-1].done == 1.0
    assert told(load(file, outcomes, log)) == (0, N, 0, {})
    table = outcomes.table(LATER)
    assert table["observed_at"].to_pylist() == times
    assert table["outcome"].to_pylist() == [float(i % 2 == 0) for i in range(N)]
    assert not file.with_suffix(".rejects.csv").exists()


BAD = [
    ("nothing", "1", "", "unknown prediction"),
    ("018cc251-f400-7000-8000-000000000000", "1", "", "unknown prediction"),
    ("", "1", "", "no id"),
    (3, "one", "", "not a finite number"),
    (4, "nan", "", "not a finite number"),
    (5, "inf", "", "not a finite number"),
    (6, "", "", "not a finite number"),
    (7, "1_0", "", "not a finite number"),
    (8, "2", "", "neither 0 nor 1"),
    (9, "1", "yesterday", "bad time"),
    (10, "1", "2024-01-01T00:00:00", "bad time"),
    (11, "1", "9999-12-31T23:59:59-14:00", "bad time"),
    (0, "0", "2024-01-01T00:00:00Z", "conflicting value"),
]


def test_bad_rows_are_set_aside_with_line_and_reason_and_what_is_good_is_stored(tmp_path, outcomes, log, ids):
    outcomes.add([Outcome(ids[0], 1.0, T0)])
    lines = ["prediction_id,value,observed_at", f"{ids[1]},1,2024-01-01T00:00:00Z"]
    lines += [f"{ids[key] if isinstance(key, int) else key},{value},{time}" for key, value, time, _ in BAD]
    lines += ["only,two", "", f'{{{ids[2].upper().replace("-", "")}}}, 1 ,"2024-01-01 03:00:00+01:00"']
    file = tmp_path / "outcomes.csv"
    file.write_text("\n".join(lines))
    report = load(file, outcomes, log, Load(binary=True), chunk_rows=4)
    reasons = [reason for *_, reason in BAD] + ["malformed row"]
    assert told(report) == (2, 0, 0, dict(Counter(reasons)))
    found = rejected(file)
    assert [row["reason"] for row in found] == reasons
    assert [int(row["line"]) for row in found] == list(range(3, 3 + len(reasons)))
    assert found[3]["detail"] == "it must be a number with a decimal point, such as 1234.5"
    assert found[9]["detail"] == "it must be ISO 8601 with a timezone, such as 2024-01-31T00:00:00Z"
    assert found[-2]["detail"] == "the outcome is 1; --corrections replaces it"
    assert found[-1]["detail"] == "2 cells, where the header has 3"
    assert outcomes.history(ids[2])[0]["observed_at"] == datetime(2024, 1, 1, 2, tzinfo=UTC)


def test_lines_are_counted_also_where_a_cell_holds_more_than_one(tmp_path, outcomes, log, ids):
    """And a quote that is never closed takes no more than the cells that it swallows."""
    file = tmp_path / "outcomes.csv"
    note = '"two\nlines\r\nor three"'
    rows = ["prediction_id,note,value", f"{ids[0]},{note},1", f"{ids[1]},,x", "", f"{ids[2]},{note},x"]
    file.write_text("\n".join([*rows, f"{ids[3]},,1", f'{ids[4]},"never closed,1', "y" * 140_000, f"{ids[5]},,1"]))
    report = load(file, outcomes, log)
    assert told(report)[0] == 3
    assert [(int(row["line"]), row["reason"]) for row in rejected(file)] == [
        (5, "not a finite number"),
        (9, "not a finite number"),
        (12, "malformed row"),
    ]
    assert "field larger than field limit" in rejected(file)[-1]["detail"]


def test_the_file_of_rejects_put_right_is_loaded_in_its_turn(tmp_path, outcomes, log, ids):
    file = write(
        tmp_path / "outcomes.csv", [{"prediction_id": ids[0], "value": "l"}, {"prediction_id": ids[1], "value": "0"}]
    )
    assert told(load(file, outcomes, log)) == (1, 0, 0, {"not a finite number": 1})
    rejects = file.with_suffix(".rejects.csv")
    rejects.write_text(rejects.read_text().replace(",l,", ",1,"))
    assert told(load(rejects, outcomes, log)) == (1, 0, 0, {})
    write(file, [{"prediction_id": ids[0], "value": "1"}])
    assert told(load(file, outcomes, log)) == (0, 1, 0, {})
    assert not rejects.exists(), "an earlier load's rejects do not stay beside a file that is all good"


def test_json_lines_that_are_no_rows_are_named(tmp_path, outcomes, log, ids):
    file = tmp_path / "outcomes.ndjson"
    rows = [json.dumps({"prediction_id": ids[0], "value": True}), "{", "[1]", "", '{"value": 1}']
    rows += [json.dumps({"prediction_id": ids[1], "value": value}) for value in ("1", None, [1])]
    rows.append(rows[0].replace("true", "1e999"))
    file.write_text("\n".join(rows))
    report = load(file, outcomes, log)
    assert told(report) == (1, 0, 0, {"malformed row": 3, "no id": 1, "not a finite number": 3})
    assert [int(row["line"]) for row in rejected(file)] == [2, 3, 5, 6, 7, 8, 9]


def test_a_correction_is_taken_from_a_file_that_says_when_it_was_known(tmp_path, outcomes, log, ids):
    outcomes.add([Outcome(key, 1.0, T0) for key in ids[:3]])
    rows = [{"prediction_id": key, "value": 0} for key in ids[:3]]
    file = write(tmp_path / "outcomes.csv", rows)
    assert told(load(file, outcomes, log)) == (0, 0, 0, {"conflicting value": 3})
    assert told(load(file, outcomes, log, Load(corrections=True))) == (0, 0, 0, {"bad time": 3})
    corrections = Load(corrections=True, observed_at=T0 + HOUR)
    assert told(load(file, outcomes, log, corrections)) == (0, 0, 3, {})
    assert told(load(file, outcomes, log, corrections)) == (0, 3, 0, {})
    assert outcomes.table(T0)["outcome"].to_pylist() == [1.0] * 3
    assert outcomes.table(T0 + HOUR)["outcome"].to_pylist() == [0.0] * 3


def test_a_column_may_say_which_rows_are_corrections(tmp_path, outcomes, log, ids):
    outcomes.add([Outcome(key, 1.0, T0) for key in ids[:3]])
    marks = ["true", "", "maybe"]
    rows = [
        {"prediction_id": key, "value": 0, "observed_at": "2024-01-01T05:00Z", "fix": mark}
        for key, mark in zip(ids[:3], marks, strict=True)
    ]
    report = load(write(tmp_path / "outcomes.csv", rows), outcomes, log, Load(Layout(correction_column="fix")))
    assert told(report) == (0, 0, 1, {"conflicting value": 1, "bad correction mark": 1})


@pytest.mark.parametrize("n", [20, N], ids=["few, by the index", "many, by a scan"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_outcomes_come_by_the_callers_own_request_ids(tmp_path, outcomes, log, ids, n, suffix):
    rows = [{"request_id": f"r{i}", "value": float(i % 2)} for i in range(n)] + [{"request_id": None, "value": 1.0}]
    file = write(tmp_path / f"outcomes{suffix}", rows)
    report = load(file, outcomes, log, BY_REQUEST)
    # r7 answered rows 7 and 8; nothing has r8.
    assert told(report) == (n - 2, 0, 0, {"ambiguous request id": 1, "unknown prediction": 1, "no id": 1})
    assert [row["request_id"] for row in rejected(file)] == ["r7", "r8", ""]
    assert [row["detail"] for row in rejected(file)] == ["several predictions have it; name one by its id", "", ""]
    table = outcomes.table(LATER)
    kept = [i for i in range(n) if i not in (7, 8)]
    assert [id_text(key) for key in table["prediction_id"].to_pylist()] == [ids[i] for i in kept]
    assert table["outcome"].to_pylist() == [float(i % 2) for i in kept]


def test_a_load_that_was_killed_is_finished_by_loading_again(tmp_path, log, ids):
    file = write(tmp_path / "outcomes.csv", [{"prediction_id": key, "value": 1} for key in ids])
    program = f"""
import os, signal
from pathlib import Path
from trimtab.predictions import Outcomes, PredictionLog
from trimtab.predictions.bulk import Load, load_outcomes
log = PredictionLog(Path({str(log.folder)!r}))
kill = lambda report: report.rows >= 120 and os.kill(os.getpid(), signal.SIGKILL)
outcomes = Outcomes(Path({str(tmp_path / "own")!r}), log)
load_outcomes(Path({str(file)!r}), outcomes, log, Load(), Path("rejects"), kill, 40)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert told(load(file, Outcomes(tmp_path / "own", log), log)) == (N - 120, 120, 0, {})


@pytest.mark.parametrize(
    ("name", "content", "layout", "part"),
    [
        ("outcomes.xlsx", b"", Layout(), "no format that is read; its name must end in one of .csv"),
        ("missing.csv", None, Layout(), "there is no file"),
        ("outcomes.csv", b"id,value\n", Layout(), "has no column 'prediction_id'; its columns are ['id', 'value']"),
        ("outcomes.csv", b"prediction_id,value,value\n", Layout(), "has more than one column 'value'"),
        ("outcomes.csv", b"", Layout(), "has no column 'prediction_id'"),
        ("outcomes.csv", b"prediction_id,value\n", Layout(observed_at_column="known"), "has no column 'known'"),
        ("outcomes.parquet", b"nothing of the kind", Layout(), "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, outcomes, log, name, content, layout, part):
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OutcomeFileError) as refusal:
        load(file, outcomes, log, Load(layout))
    assert str(file) in str(refusal.value)
    assert part in str(refusal.value)


def test_an_unknown_id_among_known_ones_is_left_out_alone(outcomes, log, ids, tmp_path):
    strangers = [id_text(key) for key in new_prediction_ids(2)]
    rows = [{"prediction_id": key, "value": 1} for key in (strangers[0], ids[250], ids[3], strangers[1])]
    assert told(load(write(tmp_path / "outcomes.jsonl", rows), outcomes, log)) == (2, 0, 0, {"unknown prediction": 2})
