"""However many outcomes come at once, and in whatever form, the rule is the one that holds for each alone."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prediction_rows import T0, make_rows
from trimtab.predictions import Outcomes, PredictionLog, new_prediction_ids
from trimtab.predictions.outcome_cells import parse_ids, parse_times, parse_values
from trimtab.predictions.schema import id_bytes, id_text, microseconds
from trimtab.predictions.statements import Fate, Statements

HOUR = timedelta(hours=1)
IDS = 6
_statement = st.tuples(st.integers(0, IDS), st.sampled_from([0.0, 1.0, -2.5]), st.integers(0, 5), st.booleans())
_chunks = st.lists(st.lists(_statement, min_size=1, max_size=10), max_size=6)


def naive(chunks):
    """The rule said plainly, one statement after the other: what becomes of each, and what is kept of each id."""
    kept, fates = {which: [] for which in range(IDS)}, []
    for which, value, hour, correction in (statement for chunk in chunks for statement in chunk):
        past = kept.get(which)
        if past is None:
            fate = Fate.UNKNOWN
        elif not past:
            fate = Fate.ACCEPTED
        elif correction:
            again = (value, hour) in past or value == past[-1][0]
            fate = Fate.DUPLICATE if again else Fate.CORRECTED
        else:
            fate = Fate.DUPLICATE if value in [was for was, _ in past] else Fate.CONFLICT
        if fate in (Fate.ACCEPTED, Fate.CORRECTED):
            past.append((value, hour))
        fates.append(fate)
    return kept, fates


def statements(chunk, ids):
    which, values, hours, corrections = zip(*chunk, strict=True)
    times = [microseconds(T0 + hour * HOUR) for hour in hours]
    return Statements(
        pa.array([ids[i] for i in which], pa.binary(16)), np.array(values), np.array(times), np.array(corrections)
    )


@settings(max_examples=30, deadline=None)
@given(_chunks)
def test_many_outcomes_at_once_fare_as_if_they_came_one_by_one(chunks):
    """Both values of a correction are kept; what is read as of any time before or after it is what was known then."""
    kept, fates = naive(chunks)
    with tempfile.TemporaryDirectory() as folder:
        log = PredictionLog(Path(folder))
        log.append(make_rows(IDS))
        known = log.read(T0, T0 + HOUR, ["prediction_id"])["prediction_id"].to_pylist()
        ids = [*known, new_prediction_ids(1)[0]]
        outcomes = Outcomes(Path(folder), log)
        found = [outcomes.add_each(statements(chunk, ids)).fates.tolist() for chunk in chunks]
        assert [fate for some in found for fate in some] == fates
        for which, past in kept.items():
            history = outcomes.history(id_text(ids[which]))
            assert [(row["value"], row["observed_at"]) for row in history] == [(v, T0 + h * HOUR) for v, h in past]
        for hour in range(-1, 7):
            seen = {which: [value for value, at in past if at <= hour] for which, past in kept.items()}
            counting = {ids[which]: values[-1] for which, values in seen.items() if values}
            table = outcomes.table(T0 + hour * HOUR)
            assert dict(zip(*(table[i].to_pylist() for i in range(2)), strict=True)) == counting
        outcomes.close()
        log.close()


@pytest.mark.parametrize("n", [65_536, 65_537])
def test_what_counts_is_the_same_wherever_a_batch_of_reading_ends(tmp_path, n):
    """Each id twice: the border between two batches falls between its two values for some n."""
    log = PredictionLog(tmp_path)
    rows = make_rows(n // 2 + 1)
    log.append(rows)
    outcomes = Outcomes(tmp_path, log)
    ids = rows["prediction_id"]
    for value in (0.0, 1.0):
        outcomes.add_each(
            Statements(ids, np.full(len(ids), value), np.full(len(ids), microseconds(T0)), np.full(len(ids), True))
        )
    table = outcomes.table(T0)
    assert table["prediction_id"].combine_chunks().equals(ids)
    assert set(table["outcome"].to_pylist()) == {1.0}
    outcomes.close()
    log.close()


_zones = st.sampled_from(["", "Z", "+00:00", "+05:30", "-14:00", "+14:00", "+0100", "+01"])
_stamp = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))  # noqa: DTZ001
_time = st.builds(
    lambda stamp, zone, separator, part: stamp.isoformat(separator, part) + zone,
    *(_stamp, _zones, st.sampled_from("T "), st.sampled_from(["auto", "minutes", "seconds", "milliseconds"])),
)


@given(st.lists(_time | st.sampled_from(["", "now", "2024-01-31", "2024-02-30T00:00:00Z"]), min_size=1, max_size=5))
def test_times_are_read_alike_in_a_column_and_one_by_one(texts):
    def moment(text):
        if text == "":
            return 7
        try:
            stamp = datetime.fromisoformat(text)
            return microseconds(stamp.astimezone(UTC)) if stamp.tzinfo else None
        except (ValueError, OverflowError):
            return None

    for cells in (texts, pa.chunked_array([texts])):
        times, good = parse_times(cells, len(texts), 7)
        found = [time if fine else None for time, fine in zip(times.tolist(), good.tolist(), strict=True)]
        assert found == [moment(text) for text in texts]


@given(st.lists(st.uuids(), max_size=4), st.sampled_from([str, lambda x: x.hex, lambda x: f"{{{x}}}".upper(), repr]))
def test_ids_are_read_alike_in_a_column_and_one_by_one(uuids, form):
    texts = [form(uuid) for uuid in uuids]
    assert parse_ids(texts).to_pylist() == [None if form is repr else id_bytes(text) for text in texts]


@given(st.lists(st.floats() | st.integers(-(2**70), 2**70) | st.booleans()))
def test_a_number_is_the_same_typed_and_written(values):
    for cells, is_text in ((values, False), ([str(value) for value in values], True)):
        assert np.array_equal(parse_values(cells, is_text), [float(value) for value in values], equal_nan=True)
