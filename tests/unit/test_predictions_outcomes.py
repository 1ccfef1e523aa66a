"""Outcomes: stated once, corrected openly, and seen only from when they were known."""

import resource
from datetime import timedelta

import duckdb
import pytest

from tests.prediction_rows import LATER, T0, make_rows
from trimtab.errors import OutcomeConflictError, PredictionLogError, UnknownPredictionError
from trimtab.predictions import Outcome, Outcomes, PredictionLog, Receipt, new_prediction_ids, read_window
from trimtab.predictions.database import Database
from trimtab.predictions.scan import register
from trimtab.predictions.schema import id_text
from trimtab.predictions.window import register_window

HOUR = timedelta(hours=1)


@pytest.fixture
def ids(tmp_path):
    """Ten predictions, half of them sealed."""
    log = PredictionLog(tmp_path)
    log.append(make_rows(5))
    log.seal()
    log.append(make_rows(5, at=T0 + HOUR))
    found = [id_text(key) for key in log.read(T0, LATER)["prediction_id"].to_pylist()]
    log.close()
    return found


@pytest.fixture
def outcomes(tmp_path):
    return Outcomes(tmp_path)


def known(outcomes, as_of):
    table = outcomes.table(as_of)
    return {
        id_text(key): value
        for key, value in zip(table["prediction_id"].to_pylist(), table["outcome"].to_pylist(), strict=True)
    }


def test_stating_an_outcome_again_changes_nothing(outcomes, ids):
    batch = [Outcome(key, 1.0, T0 + HOUR) for key in ids]
    assert outcomes.add(batch) == Receipt(10, 0, 0)
    assert outcomes.add(batch) == Receipt(0, 10, 0)
    assert outcomes.add([batch[0], batch[0]]) == Receipt(0, 2, 0)
    assert known(outcomes, LATER) == dict.fromkeys(ids, 1.0)


def test_a_contradiction_is_refused_and_nothing_is_stored(outcomes, ids):
    outcomes.add([Outcome(ids[0], 1.0, T0)])
    with pytest.raises(OutcomeConflictError, match=f"{ids[0]} has the outcome 1; 0 contradicts it"):
        outcomes.add([Outcome(ids[1], 1.0, T0), Outcome(ids[0], 0.0, T0)])
    with pytest.raises(OutcomeConflictError, match="contradicts"):
        outcomes.add([Outcome(ids[2], 1.0, T0), Outcome(ids[2], 0.0, T0)])
    assert known(outcomes, LATER) == {ids[0]: 1.0}


def test_a_correction_counts_from_when_it_was_known_and_both_values_are_kept(outcomes, ids):
    outcomes.add([Outcome(ids[0], 1.0, T0 + HOUR)])
    correction = Outcome(ids[0], 0.0, T0 + 3 * HOUR, correction=True)
    assert outcomes.add([correction]) == Receipt(0, 0, 1)
    assert outcomes.add([correction]) == Receipt(0, 1, 0)
    assert outcomes.add([Outcome(ids[0], 1.0, T0 + HOUR)]) == Receipt(0, 1, 0), "the first statement, repeated"
    assert known(outcomes, T0) == {}
    assert known(outcomes, T0 + 2 * HOUR) == {ids[0]: 1.0}
    assert known(outcomes, T0 + 3 * HOUR) == {ids[0]: 0.0}
    assert [(past["value"], past["correction"]) for past in outcomes.history(ids[0])] == [(1.0, False), (0.0, True)]
    assert outcomes.history(ids[1]) == []


def test_a_correction_of_nothing_is_an_outcome(outcomes, ids):
    assert outcomes.add([Outcome(ids[0], 0.0, T0, correction=True)]) == Receipt(1, 0, 0)


def test_an_unknown_prediction_is_named_and_nothing_is_stored(outcomes, ids):
    stranger = id_text(new_prediction_ids(1)[0])
    with pytest.raises(UnknownPredictionError, match=f"{stranger} is on record .*1 of 3 are unknown"):
        outcomes.add([Outcome(key, 1.0, T0) for key in (ids[0], stranger, ids[7])])
    with pytest.raises(UnknownPredictionError, match="'seventeen'"):
        outcomes.add([Outcome(ids[0], 1.0, T0), Outcome("seventeen", 1.0, T0)])
    assert known(outcomes, LATER) == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_outcome_is_a_finite_number(outcomes, ids, value):
    with pytest.raises(PredictionLogError, match=f"{ids[0]} is {value}; it must be a finite number"):
        outcomes.add([Outcome(ids[0], value, T0)])


def test_a_window_holds_the_outcomes_known_at_its_time(tmp_path, outcomes, ids):
    outcomes.add([Outcome(key, float(i), T0 + i * HOUR) for i, key in enumerate(ids)])
    table = read_window(tmp_path, T0, LATER, T0 + 6 * HOUR)
    assert [id_text(key) for key in table["prediction_id"].to_pylist()] == ids
    assert table["outcome"].to_pylist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, None, None, None]
    assert table["observed_at"].to_pylist()[6:8] == [T0 + 6 * HOUR, None]
    narrow = read_window(tmp_path, T0 + HOUR, LATER, LATER, ["income", "score"])
    assert narrow.column_names == ["income", "score", "outcome", "observed_at"]
    assert narrow["outcome"].to_pylist() == [5.0, 6.0, 7.0, 8.0, 9.0]
    nothing = read_window(tmp_path, LATER, LATER + HOUR, LATER, ["income"])
    assert (len(nothing), nothing.column_names) == (0, ["income", "outcome", "observed_at"])
    assert len(read_window(tmp_path / "never", T0, LATER, LATER)) == 0


def test_outcomes_that_are_no_database_are_named(outcomes, ids):
    outcomes.path.write_bytes(b"nothing of the kind " * 50)
    for use in (lambda: outcomes.add([Outcome(ids[0], 1.0, T0)]), lambda: outcomes.table(LATER)):
        with pytest.raises(PredictionLogError, match=r"outcomes\.sqlite cannot be used"):
            use()


def test_a_file_that_the_disk_does_not_take_leaves_nothing(tmp_path):
    """Each thread that tried left a part of it for ever. A limit on files stands for a full disk."""
    database = Database(tmp_path / "new.sqlite", "CREATE TABLE known (one INTEGER);", 1)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, unlimited[1]))
    try:
        with pytest.raises(PredictionLogError, match=r"new\.sqlite cannot be used: "), database.writing():
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert list(tmp_path.iterdir()) == []
    with database.writing() as connection:
        connection.execute("INSERT INTO known VALUES (1)")
    database.close()
    assert [path.name for path in tmp_path.iterdir()] == ["new.sqlite"]


def test_a_window_says_which_rows_are_mature(tmp_path, outcomes, ids):
    """A row is mature from the very moment on at which its time and the maturity have passed."""
    outcomes.add([Outcome(ids[0], 1.0, T0)])
    as_of = T0 + HOUR + timedelta(seconds=2)
    table = read_window(tmp_path, T0, LATER, as_of, ["score"], maturity=HOUR)
    assert table.column_names == ["score", "outcome", "observed_at", "mature"]
    assert table["mature"].to_pylist() == [True] * 3 + [False] * 7
    assert read_window(tmp_path, T0, T0, as_of, ["score"], maturity=HOUR)["mature"].to_pylist() == []


def test_one_query_in_duckdb_gives_the_window(tmp_path, outcomes, ids):
    outcomes.add([Outcome(key, float(i), T0 + i * HOUR) for i, key in enumerate(ids[1:])])
    outcomes.add([Outcome(ids[1], 9.0, T0 + HOUR, correction=True), Outcome(ids[2], 9.0, LATER, correction=True)])
    as_of = T0 + HOUR + timedelta(seconds=2)
    window = read_window(tmp_path, T0, LATER, as_of, maturity=HOUR)
    with duckdb.connect() as connection:
        register(connection, "loan", PredictionLog(tmp_path), T0, LATER)
        for _ in range(2):
            register_window(connection, "loan", outcomes, as_of, HOUR)
        found = connection.sql("SELECT * FROM predictions_with_outcomes ORDER BY prediction_id").to_arrow_table()
        assert found.column_names == window.column_names
        # DuckDB says times in the machine's timezone.
        assert found.cast(window.schema).to_pylist() == window.to_pylist()
        rate = "SELECT count(*), avg(outcome) FROM predictions_with_outcomes WHERE mature AND outcome IS NOT NULL"
        assert connection.sql(rate).fetchall() == [(2, 5.0)]
