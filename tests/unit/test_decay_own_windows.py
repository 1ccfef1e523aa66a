"""What is usual for data whose rows come in clusters: windows of the reference are held against the rest of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trimtab.decay.distance import compare
from trimtab.decay.measurements import Measurements
from trimtab.decay.null_windows import calibrated, null_laws
from trimtab.decay.own_windows import OwnWindows
from trimtab.decay.profile import profile
from trimtab.decay.reference import Reference, write_reference
from trimtab.decay.sequential import shifts
from trimtab.decay.signals.drift import of_drift
from trimtab.models import load_model
from trimtab.spec import DriftRule

DAY = timedelta(days=1)
START = datetime(2024, 2, 1, tzinfo=UTC)
A_DAY = 300
SPEC = load_model(Path(__file__).parents[1] / "models", "loan").spec
SPEC = SPEC.model_copy(
    update={"window": DAY, "policy": SPEC.policy.model_copy(update={"drift": DriftRule(multivariate=False)})}
)


def loans(days: int) -> pa.Table:
    random, rows = np.random.default_rng(1), days * A_DAY
    return pa.table(
        {
            "event_time": [START + DAY * place / A_DAY for place in range(rows)],
            "income": random.lognormal(3.5, 0.5, rows),
            "age": random.integers(18, 80, rows),
            "region": random.choice(["north", "south"], rows),
            "employed": random.random(rows) < 0.7,
            "repaid": random.integers(0, 2, rows),
        }
    )


def scores(days: int, fair: bool | None = None) -> np.ndarray:
    """Every third day is fair, and its scores are high; or all days are, or none."""
    number = np.repeat(np.arange(days), A_DAY)
    high = number % 3 == 0 if fair is None else np.full(len(number), fair)
    return np.random.default_rng(2).beta(np.where(high, 6, 2), np.where(high, 2, 6))


def reference(folder: Path, days: int) -> Reference:
    """Of ten days of training, and so many that judged."""
    return write_reference(folder, SPEC, loans(10), loans(days), scores(days))


def signal_of_score(made: Reference, of_window: np.ndarray) -> tuple[bool, float, str]:
    """Whether the window's scores are breached, the limit, and what is said."""
    window = profile(pa.table({"score": of_window}), made.profile.bins("score"))
    of_scores = made.profile.model_copy(update={"columns": (made.profile.column("score"),)})
    laws = null_laws(of_scores, window)
    distances = calibrated(compare(of_scores, window), laws)
    found = Measurements(
        **{"start": START, "end": START + DAY, "as_of": START + DAY, "rows": len(of_window)},
        distances=distances,
        shifts=shifts(SPEC.policy.drift, distances, laws, made.own_windows),
    )
    (signal,) = (one for one in of_drift(SPEC, found) if one.name == "drift.score")
    return signal.breached, signal.threshold, signal.detail


def test_scores_that_come_in_clusters_are_no_news_where_the_evaluation_rows_tell_of_it(tmp_path: Path) -> None:
    """A fair day is far from the days of its evaluation, as those were from each other; what none of them was, is."""
    many, few = reference(tmp_path / "many", 10), reference(tmp_path / "few", 4)
    fair = scores(1, fair=True)
    breached, limit, said = signal_of_score(many, fair)
    assert not breached
    assert limit == many.own_windows.largest["score"] > SPEC.policy.drift_effect
    assert "the reference's own windows are up to" in said
    assert signal_of_score(few, fair)[:2] == (True, SPEC.policy.drift_effect)
    assert signal_of_score(many, 1 - fair / 10)[0]


def test_windows_are_counted_by_what_they_are_of_and_a_few_tell_nothing(tmp_path: Path) -> None:
    """Ten days of rows hold nine whole days back from the newest; of features the training rows', of the score the
    evaluation rows'."""
    own = reference(tmp_path / "many", 10).own_windows
    assert (own.windows, own.judged_windows) == (9, 9)
    assert {*own.largest} == {*own.mean} == {*SPEC.feature_names, "score"}
    assert max(own.largest[name] for name in SPEC.feature_names) < 0.1 < own.mean["score"] <= own.largest["score"]
    few = reference(tmp_path / "few", 4).own_windows
    assert (few.windows, few.judged_windows) == (9, 0)
    assert {*few.largest} == {*SPEC.feature_names}


def test_a_reference_of_before_knows_nothing_of_its_score() -> None:
    """Its file has no such windows; it is read as it is."""
    stored = OwnWindows.model_validate_json('{"windows": 9, "mean": {"age": 0.01}, "largest": {"age": 0.02}}')
    assert stored.judged_windows == 0
    assert stored.largest == pytest.approx({"age": 0.02})
