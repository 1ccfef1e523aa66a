"""A log that the first release wrote (samples/prediction-log-1) is read, and written on, for ever."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tests.prediction_rows import LATER, T0, make_rows
from trimtab.predictions import Outcome, Outcomes, PredictionLog, Receipt, read_window

SAMPLE = Path(__file__).parent / "samples" / "prediction-log-1"
FIRST_ID = "018cc251-f400-7000-8000-000000000000"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(SAMPLE, tmp_path / "loan"))


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
