"""The rows that wait in the spool are counted right, however appends, seals and readings follow each other."""

import os
import sqlite3
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prediction_rows import make_rows
from trimtab.errors import PredictionLogError
from trimtab.predictions import PredictionLog
from trimtab.predictions.backlog import Backlog, BacklogReader


def test_a_log_that_was_never_written_has_no_backlog(tmp_path):
    assert BacklogReader(tmp_path / "loan").read() == Backlog(0, None)


def test_the_oldest_row_is_as_old_as_its_id(tmp_path):
    predictions = PredictionLog(tmp_path)
    before = time.time()
    predictions.append(make_rows(3))
    after = time.time()
    predictions.append(make_rows(2))
    found = BacklogReader(tmp_path).read()
    assert found.rows == 5
    assert before - 0.001 <= found.oldest_at_s <= after


def seal_oldest(folder, batches, delete):
    """What a seal does to the spool, cut short after one segment of so many batches, its batches deleted or not yet."""
    with closing(sqlite3.connect(folder / "spool.sqlite", isolation_level=None)) as spool:
        waiting = "sequence > (SELECT coalesce(max(through_sequence), 0) FROM segments)"
        taken = f"(SELECT * FROM batches WHERE {waiting} ORDER BY sequence LIMIT {batches})"
        spool.execute(
            "INSERT INTO segments (name, through_sequence, digest, row_count, size_bytes, first_id, last_id, "
            "min_event_time, max_event_time, manifest) SELECT hex(max(last_id)), max(sequence), '', sum(row_count), 1, "
            f"min(first_id), max(last_id), 0, 0, x'' FROM {taken} HAVING count(*) > 0"
        )
        if delete:
            spool.execute("DELETE FROM batches WHERE sequence <= (SELECT max(through_sequence) FROM segments)")


steps = st.lists(
    st.just("append") | st.just("read") | st.tuples(st.integers(1, 4), st.booleans()), min_size=3, max_size=16
)


@settings(max_examples=20, deadline=None)
@given(steps)
def test_a_reader_that_adds_up_says_what_one_that_starts_anew_says(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("log")
    predictions, reader, waiting = PredictionLog(folder), BacklogReader(folder), [1]
    predictions.append(make_rows(1))
    for number, step in enumerate(steps):
        if step == "append":
            predictions.append(make_rows(number + 2))
            waiting.append(number + 2)
        elif step == "read":
            assert reader.read().rows == sum(waiting)
        else:
            seal_oldest(folder, *step)
            del waiting[: step[0]]
    assert reader.read() == BacklogReader(folder).read()
    assert reader.read().rows == sum(waiting)
    assert (reader.read().oldest_at_s is None) == (not waiting)
    predictions.close()


def test_what_was_really_sealed_waits_no_more(tmp_path):
    predictions, reader = PredictionLog(tmp_path), BacklogReader(tmp_path)
    predictions.append(make_rows(3))
    assert reader.read().rows == 3
    predictions.seal()
    assert reader.read() == Backlog(0, None)
    predictions.append(make_rows(2))
    assert reader.read().rows == 2


def test_a_file_put_in_its_place_is_counted_anew_and_a_damaged_one_is_named(tmp_path):
    reader = BacklogReader(tmp_path / "a")
    PredictionLog(tmp_path / "a").append(make_rows(3))
    assert reader.read().rows == 3
    other = PredictionLog(tmp_path / "b")
    other.append(make_rows(1))
    other.close()
    for suffix in ("-wal", "-shm"):
        (tmp_path / "a" / f"spool.sqlite{suffix}").unlink(missing_ok=True)
    os.replace(tmp_path / "b" / "spool.sqlite", tmp_path / "a" / "spool.sqlite")
    assert reader.read().rows == 1
    (tmp_path / "a" / "spool.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(PredictionLogError, match=r"spool\.sqlite cannot be read"):
        BacklogReader(tmp_path / "a").read()
