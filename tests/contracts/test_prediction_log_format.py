"""Logs of every format that was ever written (samples/prediction-log-*) are read, and written on, for ever.

1: the first release. 2: segments say where they live, and what retention took away stays known. 3: indexes.
4: sequences come from what was sealed, no longer from AUTOINCREMENT.
"""

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.prediction_rows import LATER, T0, make_rows
from trimtab.errors import PrunedPredictionError
from trimtab.predictions import Outcome, Outcomes, PredictionLog, Receipt, read_window
from trimtab.predictions.spool_format import FORMAT_VERSION

SAMPLES = Path(__file__).parent / "samples"
FIRST_ID = "018cc251-f400-7000-8000-000000000000"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(SAMPLES / "prediction-log-1", tmp_path / "loan"))


@pytest.fixture
def second(tmp_path):
    return Path(shutil.copytree(SAMPLES / "prediction-log-2", tmp_path / "loan"))


def test_its_rows_are_read(folder):
    table = read_window(folder, T0, LATER, T0 + timedelta(hours=3))
    assert table.select(["income", "age", "region", "employed", "size", "outcome"]).to_pydict() == {
        "income": [1.5, None, -2.0, 1.5, 1.5],
        "age": [30, None, 2**53 + 1, None, None],
        "region": ["north", "", None, None, None],
        "employed": [True, False, None, None, None],
        "size": [None, None, None, 0.25, None],
        "outcome": [1.0, None, None, 0.0, None],
    }
    assert table["release_id"].to_pylist() == ["release-1"] * 3 + ["release-2"] * 2
    assert PredictionLog(folder).get(FIRST_ID)["age"] == 30
    assert PredictionLog(folder).verify() == 1


def test_its_outcomes_are_read(folder):
    assert read_window(folder, T0, LATER, LATER)["outcome"].to_pylist() == [0.0, None, None, 0.0, None]
    assert [past["value"] for past in Outcomes(folder).history(FIRST_ID)] == [1.0, 0.0]


def test_it_is_written_on(folder):
    log = PredictionLog(folder)
    log.append(make_rows(2))
    assert [span.rows for span in log.seal()] == [3, 4]
    assert len(log.read(T0, LATER)) == 7
    assert Outcomes(folder, log).add([Outcome(FIRST_ID, 0.0, LATER)]) == Receipt(0, 1, 0)
    log.close()


def test_it_is_brought_up_to_the_newest_format_once_by_whoever_comes_first(folder):
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda _: PredictionLog(folder).read(T0, LATER), range(8)))
    assert all(table.equals(tables[0]) for table in tables)
    with closing(sqlite3.connect(folder / "spool.sqlite")) as spool:
        assert spool.execute("PRAGMA user_version").fetchone() == (FORMAT_VERSION,)
        made = PredictionLog(folder.parent / "new")
        made.append(make_rows(1))
        made.close()
        with closing(sqlite3.connect(folder.parent / "new" / "spool.sqlite")) as new:
            for kind in ("table", "index"):
                # The one that AUTOINCREMENT has stays in a file that had it.
                query = (
                    f"SELECT name FROM sqlite_master WHERE type = '{kind}' AND name <> 'sqlite_sequence' ORDER BY name"
                )
                assert spool.execute(query).fetchall() == new.execute(query).fetchall()
            columns = "SELECT name, type, \"notnull\", dflt_value FROM pragma_table_info('segments') ORDER BY name"
            assert spool.execute(columns).fetchall() == new.execute(columns).fetchall()


def test_the_second_formats_rows_and_outcomes_are_read_and_what_was_pruned_is_known(second):
    log = PredictionLog(second)
    table = read_window(second, T0, LATER, LATER)
    assert table.select(["income", "size", "outcome"]).to_pydict() == {
        "income": [1.5, 1.5, 1.5],
        "size": [None, None, 1.5],
        "outcome": [0.0, None, None],
    }
    with pytest.raises(PrunedPredictionError, match=r"deleted on 2024-11-26 under the retention of 90 days.*\(3 pred"):
        log.get(FIRST_ID)
    assert (log.verify(), [span.rows for span in log.spans()]) == (1, [2])


def test_the_second_format_is_written_on(second):
    log = PredictionLog(second)
    log.append(make_rows(2))
    assert [span.rows for span in log.seal()] == [3]
    assert len(log.read(T0, LATER)) == 5
    log.close()


@pytest.mark.parametrize("sample", ["prediction-log-1", "prediction-log-2", None])
def test_a_sequence_is_never_given_twice(tmp_path, sample):
    """Else a batch that is appended after all before it were sealed and deleted would count as sealed: lost."""
    folder = tmp_path / "loan"
    if sample:
        shutil.copytree(SAMPLES / sample, folder)
    log, given, found = PredictionLog(folder), [], len(PredictionLog(folder).read(T0, LATER))
    for _ in range(3):
        log.append(make_rows(2))
        log.append(make_rows(1))
        with closing(sqlite3.connect(folder / "spool.sqlite")) as spool:
            given += [number for (number,) in spool.execute("SELECT sequence FROM batches ORDER BY sequence")]
        log.seal()
        found += 3
        with closing(sqlite3.connect(folder / "spool.sqlite")) as spool:
            assert spool.execute("SELECT count(*) FROM batches").fetchone() == (0,)
        assert len(log.read(T0, LATER)) == found
        log.close()
    assert given == sorted(set(given))
