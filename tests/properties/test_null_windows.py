"""Drift alarms end to end, through the reference, `measure` and `signals`: quiet when nothing changes, and awake."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom

from benchmarks.populations import SPEC, Change, Watched, alarms, draw, make_reference
from trimtab.decay.reference import Reference

RULE = SPEC.policy.drift
ROWS = 300


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder: Path = tmp_path_factory.mktemp("reference")
    return make_reference(folder, np.random.default_rng([0, 0]), 4_000)


def test_null_windows_alarm_no_more_often_than_the_policy_states(reference):
    """Of 100 null windows in a row no more alarm than is likely at the stated rate; p-values keep to theirs."""
    watched, random = Watched(reference), np.random.default_rng(1)
    windows, alarmed, columns, together = 100, 0, 0, 0
    for _ in range(windows):
        measured, told, _ = watched.see(draw(random, ROWS))
        alarmed += bool(alarms(told))
        columns += min(one.adjusted_p for one in measured.distances) < 0.05
        assert measured.separation is not None
        together += measured.separation.p_value < 0.05
    assert alarmed <= binom.ppf(0.999, windows, RULE.false_alarm_rate)
    assert columns <= binom.ppf(0.999, windows, 0.05)
    assert together <= binom.ppf(0.999, windows, 0.05)


def test_a_shift_by_one_deviation_is_found_at_once(reference):
    """In the first window after it, by the column's own drift."""
    watched, random = Watched(reference), np.random.default_rng(2)
    _, told, _ = watched.see(draw(random, ROWS, Change(shift=1.0, columns=1)))
    assert "drift.n00" in {signal.name for signal in told if signal.breached}


def test_a_drift_that_no_window_shows_alone_is_found_over_windows(reference):
    """A third of a deviation is below what alarms in one window, and found by slow drift within 15."""
    watched, random = Watched(reference), np.random.default_rng(3)
    for _ in range(15):
        _, told, _ = watched.see(draw(random, 2_000, Change(shift=0.33, columns=1)))
        breached = {signal.name for signal in told if signal.breached}
        assert "drift.n00" not in breached
        if "slow_drift.n00" in breached:
            return
    pytest.fail("slow drift was not found in 15 windows")


def test_one_absurd_value_in_a_sound_window_is_no_drift(reference):
    """A value of 1e12 in one row, of a normal or of a lognormal column, raises no drift alarm."""
    rows = draw(np.random.default_rng(4), ROWS)
    for column in ("n00", "n12"):
        watched = Watched(reference)
        values = np.array(rows[column].to_numpy())
        values[7] = 1e12
        _, told, _ = watched.see(rows.set_column(rows.column_names.index(column), column, pa.array(values)))
        assert not alarms(told)
