"""What was answered and not logged is counted, and a scan can say so."""

import resource
from datetime import timedelta

import pytest

from tests.prediction_rows import T0
from trimtab.errors import PredictionLogError
from trimtab.predictions import new_prediction_ids
from trimtab.predictions.gaps import Gaps, read_gaps, tell_gaps
from trimtab.predictions.schema import id_text, microseconds

HOUR = timedelta(hours=1)


def count(gaps, n=1, at=T0, release_id="release-1", reason="the disk is full"):
    ids = new_prediction_ids(n)
    gaps.count(ids, [microseconds(at)] * n, "1", release_id, reason)
    return ids


def test_a_stretch_of_lost_rows_is_one_record_with_its_bounds(tmp_path):
    now = [100.0]
    gaps = Gaps(tmp_path, lambda: now[0])
    ids = count(gaps) + count(gaps, 3, T0 + HOUR) + count(gaps, 2, T0 - HOUR)
    assert (gaps.total, gaps.pending) == (6, 5), "the first is on disk at once, what follows within a second"
    now[0] += 2
    ids += count(gaps)
    assert (gaps.total, gaps.pending) == (7, 0)
    first, rest = read_gaps(tmp_path)
    assert (first.rows, rest.rows) == (1, 6)
    assert (rest.first_id, rest.last_id) == (id_text(ids[1]), id_text(ids[-1]))
    assert (rest.min_event_time, rest.max_event_time) == (T0 - HOUR, T0 + HOUR)
    assert first.first_answered_at <= rest.first_answered_at <= rest.last_answered_at
    assert tell_gaps([first, rest]).startswith("7 predictions were answered and not logged between 20")
    gaps.close()


def test_gaps_are_told_by_release_and_by_window(tmp_path):
    gaps = Gaps(tmp_path)
    count(gaps, release_id="release-1")
    count(gaps, 2, T0 + HOUR, "release-2")
    count(gaps, 3, T0 + 2 * HOUR, "release-3")
    gaps.close()
    assert [(gap.release_id, gap.rows) for gap in read_gaps(tmp_path, T0 + HOUR, T0 + 2 * HOUR)] == [("release-2", 2)]
    assert len(read_gaps(tmp_path)) == 3
    assert tell_gaps([]) == ""


def test_where_nothing_was_lost_there_is_no_file(tmp_path):
    gaps = Gaps(tmp_path / "loan")
    gaps.flush()
    gaps.close()
    assert not (tmp_path / "loan").exists()
    assert read_gaps(tmp_path / "loan") == []


def test_what_the_disk_does_not_take_is_counted_in_memory_until_it_does(tmp_path):
    gaps, limit = Gaps(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # Python ignores the signal, so a write past the limit fails as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, limit[1]))
        count(gaps, 2)
        assert (gaps.total, gaps.pending) == (2, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    gaps.flush()
    assert (gaps.total, gaps.pending) == (2, 0)
    assert [gap.rows for gap in read_gaps(tmp_path)] == [2]
    gaps.close()


def test_a_record_of_gaps_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "gaps.sqlite").write_bytes(b"nothing of the kind " * 50)
    with pytest.raises(PredictionLogError, match=r"gaps\.sqlite cannot be used"):
        read_gaps(tmp_path)
