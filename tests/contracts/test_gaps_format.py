"""A record of gaps that the first release to keep one wrote (samples/gaps-1) is read, and written on, for ever."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tests.prediction_rows import T0
from trimtab.predictions import new_prediction_ids
from trimtab.predictions.gaps import Gap, Gaps, gap_over, read_gaps
from trimtab.predictions.schema import id_bytes, microseconds

SAMPLE = Path(__file__).parent / "samples" / "gaps-1"
HOUR = timedelta(hours=1)
GAP = Gap(
    rows=3,
    version="1",
    release_id="release-1",
    reason="/srv/loan/spool.sqlite cannot be used: database or disk is full",
    first_id="018cc251-f400-7000-8000-000000000000",
    last_id="018cc251-f400-7000-8000-000000000002",
    min_event_time=T0,
    max_event_time=T0 + 2 * HOUR,
    first_answered_at=T0 + timedelta(microseconds=1),
    last_answered_at=T0 + timedelta(seconds=2),
)


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(SAMPLE, tmp_path / "loan"))


def test_it_is_read(folder):
    assert read_gaps(folder) == read_gaps(folder, T0 + 2 * HOUR, T0 + 3 * HOUR) == [GAP]
    assert read_gaps(folder, T0 + 3 * HOUR) == read_gaps(folder, None, T0) == []
    assert gap_over(folder, id_bytes(GAP.last_id)) == GAP
    assert gap_over(folder, new_prediction_ids(1)[0]) is None


def test_it_is_written_on(folder):
    gaps = Gaps(folder)
    gaps.count(new_prediction_ids(2), [microseconds(T0)] * 2, "2", "release-2", "again")
    gaps.close()
    first, second = read_gaps(folder)
    assert (first, second.rows, second.release_id) == (GAP, 2, "release-2")
