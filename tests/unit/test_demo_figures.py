"""The figures, the baselines and the reading back of what was logged."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from demo.baselines import _months, retrained_monthly
from demo.course import START, WEEK
from demo.errors import DemoError
from demo.figures import MONTHLY, NEVER, TRIMTAB, Comparison, Week, compare
from demo.flights import Flights, read_flights
from demo.results import in_order_of, with_metrics
from trimtab.models import load_model
from trimtab.predictions.schema import microseconds

ROOT = Path(__file__).parents[2]


def day(month: int, number: int = 1) -> datetime:
    return datetime(2013, month, number, tzinfo=UTC)


def comparison(late: np.ndarray, **scores: np.ndarray) -> Comparison:
    names = {"never": NEVER, "monthly": MONTHLY, "own": TRIMTAB}
    counts = dict.fromkeys(names.values(), 1)
    return compare(np.arange(len(late)), late, {names[name]: given for name, given in scores.items()}, counts, counts)


def test_figures_are_those_of_scikit_learn_on_flights_with_an_outcome() -> None:
    """Log-loss and AUC agree with scikit-learn's, and flights without an outcome count for nobody."""
    random = np.random.default_rng(0)
    late = random.integers(0, 2, 500).astype(float)
    late[::7] = np.nan
    score = random.random(500)
    policy = comparison(late, never=score, monthly=score, own=score).named(TRIMTAB)
    known = ~np.isnan(late)
    assert policy.log_loss == pytest.approx(log_loss(late[known], score[known]))
    assert policy.roc_auc == pytest.approx(roc_auc_score(late[known], score[known]))


def test_the_kept_share_is_of_what_monthly_retraining_gains() -> None:
    """A model half-way between never and monthly keeps half; the saved log-loss ends at the whole difference."""
    late = np.array([1.0, 0.0, 1.0, 0.0])
    right = np.where(late == 1, 0.9, 0.1)
    half = np.where(late == 1, np.sqrt(0.45), 1 - np.sqrt(0.45))
    found = comparison(late, never=np.full(4, 0.5), monthly=right, own=half)
    assert found.kept_share("log_loss") == pytest.approx(0.5)
    assert found.saved(MONTHLY)[-1] == pytest.approx(4 * (np.log(0.9) - np.log(0.5)))
    assert not found.saved(NEVER).any()


def test_a_flight_without_a_score_is_an_error() -> None:
    """A policy that has no score for a flight with an outcome is not compared on fewer flights."""
    scores = np.array([0.5, np.nan])
    with pytest.raises(ValueError, match="no score for 1 flights"):
        comparison(np.array([1.0, 0.0]), never=scores, monthly=scores, own=scores)


def test_logged_rows_are_brought_into_the_order_of_the_flights(flights: Flights) -> None:
    """Scores and outcomes land on their own flights, whatever the order of the log; a gap or a double is an error."""
    ids = flights.table["flight_id"].to_pylist()
    order = np.random.default_rng(1).permutation(len(ids))
    outcome = [None if row % 3 == 0 else float(row % 2) for row in order]
    rows = pa.table({"request_id": [ids[row] for row in order], "score": order / len(ids), "outcome": outcome})
    score, late = in_order_of(flights, rows)
    assert score.tolist() == (np.arange(len(ids)) / len(ids)).tolist()
    assert np.isnan(late[::3]).all()
    assert late[1::3].tolist() == [float(row % 2) for row in range(len(ids))][1::3]
    with pytest.raises(DemoError, match="1 flights are missing"):
        in_order_of(flights, rows.slice(1))
    with pytest.raises(DemoError, match="1 are there more than once"):
        in_order_of(flights, pa.concat_tables([rows, rows.slice(0, 1)]))


def test_requests_say_what_the_flight_is(flights: Flights) -> None:
    """Each body is a V2 request of one row, with the flight's id and its departure as event time."""
    bodies = flights.bodies(range(3, 5))
    request = json.loads(bodies[0])
    assert request["id"] == flights.table["flight_id"][3].as_py()
    assert microseconds(datetime.fromisoformat(request["parameters"]["event_time"])) == flights.event_time[3]
    assert [tensor["name"] for tensor in request["inputs"]] == flights.model.spec.feature_names
    assert all(tensor["shape"] == [1] for tensor in request["inputs"])


def test_months_are_all_firsts_within_the_replay() -> None:
    """Every first of a month after the start and before the end is a retraining, over the turn of the year too."""
    assert [month.month for month in _months(day(3), datetime(2014, 1, 1, tzinfo=UTC))] == [
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        12,
    ]
    assert list(_months(day(11, 15), datetime(2014, 1, 2, tzinfo=UTC)))[-1] == datetime(2014, 1, 1, tzinfo=UTC)
    assert list(_months(day(3, 15), day(4))) == []


def test_monthly_retraining_changes_only_what_comes_after_the_first_of_a_month(flights: Flights) -> None:
    """Until the first of the month version 1 answers; from then on a model trained on what was known."""
    first = np.full(len(flights.event_time), 0.25)
    scores, retrains = retrained_monthly(flights, first, day(3, 30), day(4, 3))
    later = flights.event_time >= microseconds(day(4))
    assert retrains == 1
    assert retrained_monthly(flights, first, day(3, 30), day(4))[1] == 0
    assert (scores[~later] == 0.25).all()
    assert (scores[later] != 0.25).all()
    assert ((scores > 0) & (scores < 1)).all()


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Flights:
    patch = pytest.MonkeyPatch()
    patch.setenv("TRIMTAB_HOME", str(tmp_path_factory.mktemp("home")))
    yield read_flights(load_model(ROOT / "deployments" / "models", "flight-delay"), day(3, 30), day(4, 3))
    patch.undo()


def test_a_week_is_measured_on_its_own_flights() -> None:
    """The timeline's log-loss and AUC are of the flights that departed within the week, no others."""
    start = microseconds(START)
    event_time = start + np.array([0, 1, 2, 3]) * (WEEK // timedelta(microseconds=1)) // 2
    late, score = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.9, 0.2, 0.3, 0.6])
    found = compare(event_time, late, {TRIMTAB: score}, {TRIMTAB: 0}, {TRIMTAB: 0})
    blank = Week(1, START + WEEK, 2, np.nan, np.nan, 0.7, 0.6, "NONE", "calm", "", ("1",))
    weeks = with_metrics([blank, dataclasses.replace(blank, number=2, end=START + 2 * WEEK)], found)
    assert [week.roc_auc for week in weeks] == [1.0, 0.0]
    assert weeks[0].log_loss == pytest.approx(log_loss([1, 0], [0.9, 0.2]))
