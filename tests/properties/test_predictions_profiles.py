"""However rows were appended and sealed: a window's stored profiles add up to the profile of its rows."""

from __future__ import annotations

import math
import tempfile
from datetime import timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prediction_rows import T0, make_rows
from trimtab.decay.profile import SCORE, Bins, Profile, bins_digest, profile
from trimtab.errors import PredictionLogError
from trimtab.predictions import PredictionLog, profiles
from trimtab.predictions.profile_files import ProfileFiles
from trimtab.predictions.profiles import profile_segments, unprofiled, window_profile

pytestmark = pytest.mark.usefixtures("small_parts")

_FEATURES = (
    (("income", "number"), ("size", "integer"), ("region", "category"), ("employed", "boolean")),
    # A feature that comes later, and one that changes its type.
    (("income", "number"), ("size", "number"), ("region", "category")),
)
BINS = (
    Bins(column="income", type="number", edges=(-1.0, 0.0, 1.5, 1e6)),
    Bins(column="size", type="number", edges=(-3.5, 0.0, 2.0), discrete=True),
    Bins(column="region", type="category", categories=("", "north", "o'hare")),
    Bins(column="employed", type="boolean", categories=("false", "true")),
    Bins(column=SCORE, type="number", edges=(0.0, 0.5, 1.0)),
)
# Minutes since T0: within hours, across them, and years away.
_minutes = st.one_of(st.integers(0, 300), st.integers(0, 8).map(lambda hour: 60 * hour), st.integers(-(10**6), 10**6))
_number = st.one_of(st.none(), st.integers(-5, 5).map(float), st.sampled_from([math.nan, math.inf, -math.inf, 0.1]))
_row = st.tuples(
    _minutes,
    _number,
    st.one_of(st.none(), st.integers(-4, 3)),
    st.one_of(st.none(), st.sampled_from(["", "north", "south", "ü"])),
    st.one_of(st.none(), st.booleans()),
    st.sampled_from([0.0, 0.25, 0.5, 2.0]),
)
_batch = st.tuples(st.lists(_row, min_size=1, max_size=9), st.sampled_from([0, 1]), st.sampled_from("12"))
_window = st.one_of(st.tuples(_minutes, _minutes), st.tuples(st.integers(0, 60), st.integers(120, 400)))
_step = st.one_of(_batch, st.just("seal"), _window)


@settings(max_examples=60, deadline=None)
@given(
    first=st.lists(_row, min_size=1, max_size=9),
    steps=st.lists(_step, max_size=8),
    window=_window,
    release_id=st.sampled_from([None, "release-1", "release-2"]),
)
def test_stored_profiles_add_up_to_the_profile_of_the_rows(first, steps, window, release_id):
    """Any split into batches, segments, hours and spool; with what was stored before, with nothing, and again."""
    with tempfile.TemporaryDirectory() as folder:
        log = PredictionLog(Path(folder) / "loan")
        for step in [(first, 0, "1"), *steps]:
            if step == "seal":
                log.seal()
            elif len(step) == 2:
                _found(log, step, None)
            else:
                log.append(_appended(*step))
        expected = _expected(log, window, release_id)
        for _ in range(2):
            assert _same(_found(log, window, release_id), expected)
        log.close()


def _appended(rows, which, release):
    times, income, size, region, employed, score = zip(*rows, strict=True)
    sizes = size if which == 0 else [None if value is None else float(value) for value in size]
    columns = {"income": income, "size": sizes, "region": region, "employed": employed, "score": score}
    return make_rows(
        len(rows),
        features=_FEATURES[which],
        release_id=f"release-{release}",
        event_time=[T0 + timedelta(minutes=minute) for minute in times],
        **{name: list(values) for name, values in columns.items()},
    )


def _found(log: PredictionLog, window: tuple[int, int], release_id: str | None) -> Profile:
    start, end = (T0 + timedelta(minutes=minute) for minute in window)
    return window_profile(log, start, end, BINS, release_id)


def _expected(log: PredictionLog, window: tuple[int, int], release_id: str | None) -> Profile:
    start, end = (T0 + timedelta(minutes=minute) for minute in window)
    rows = log.read(start, end, [*(one.column for one in BINS), "release_id"])
    own = rows if release_id is None else rows.filter(pc.equal(rows["release_id"], release_id))
    of_features, of_score = profile(rows, BINS[:-1]), profile(own, BINS[-1:])
    return Profile(columns=of_features.columns + of_score.columns)


def _same(one: Profile, other: Profile) -> bool:
    """Equal in all counts, and in sums but for their rounding."""
    for a, b in zip(one.columns, other.columns, strict=True):
        found, wanted = a.model_dump(), b.model_dump()
        for name in ("total", "sums", "squares"):
            assert found.pop(name) == pytest.approx(wanted.pop(name), rel=1e-12, abs=1e-12)
        assert found == wanted
    return True


def test_each_segment_is_counted_once_and_again_only_where_its_profile_is_lost(tmp_path, monkeypatch):
    """What is stored is not counted again; damaged, cut off, or of another bins' reference, it is."""
    log = PredictionLog(tmp_path / "loan")
    log.append(make_rows(8, features=_FEATURES[0], size=list(range(8))))
    (span,) = log.seal()
    counted: list[int] = []
    real = profiles.profile
    monkeypatch.setattr(profiles, "profile", lambda rows, bins: counted.append(len(rows)) or real(rows, bins))
    hours = (T0, T0 + timedelta(hours=2))
    assert unprofiled(log, BINS, *hours) == [span]
    assert unprofiled(log, BINS, T0 + timedelta(days=1)) == unprofiled(log, BINS, None, T0) == []
    assert profile_segments(log.folder, [span], BINS) == 8
    assert (unprofiled(log, BINS), counted) == ([], [8, 8])
    wanted = window_profile(log, *hours, BINS)
    assert counted == [8, 8], "nothing is scanned twice"
    (path,) = (log.folder / "profiles").glob("*/*.arrow")
    whole = path.read_bytes()
    half = len(whole) // 2
    for damaged in (b"", whole[:half], whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]):
        path.write_bytes(damaged)
        assert window_profile(log, *hours, BINS) == wanted
        assert path.read_bytes() == whole
    assert len(counted) == 8
    window_profile(log, *hours, BINS[1:])
    assert len(counted) == 10
    log.close()


def test_a_whole_day_is_added_up_once_and_again_when_a_row_has_come_or_its_sum_is_damaged(tmp_path, monkeypatch):
    """From then on no segment's own profile is read for it, until the day has other segments."""
    log = PredictionLog(tmp_path / "loan")
    days = (0, 3 * 24 * 60)
    read: list[str] = []
    real = ProfileFiles.read
    monkeypatch.setattr(ProfileFiles, "read", lambda files, span: read.append(span.name) or real(files, span))

    def sealed(*hours: int) -> None:
        log.append(make_rows(len(hours), features=_FEATURES[0], event_time=[T0 + timedelta(hours=at) for at in hours]))
        log.seal()

    def found() -> int:
        """How many segments' profiles were read to find what the rows say."""
        read.clear()
        assert _same(_found(log, days, None), _expected(log, days, None))
        return len(read)

    sealed(1, 5, 23)
    sealed(22, 25)
    profile_segments(log.folder, log.spans(), BINS)
    sums = log.folder / "profiles" / bins_digest(BINS) / "days"
    assert (found(), found()) == (3, 0)
    assert [path.name[:10] for path in sorted(sums.iterdir())] == ["2024-01-01", "2024-01-02"]
    sealed(30)
    assert (found(), found(), found()) == (4, 2, 0), "its profile was not there yet, so the day waited for it"
    assert [path.name[:10] for path in sorted(sums.iterdir())] == ["2024-01-01", "2024-01-02"]
    for path in sums.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert (found(), found()) == (4, 0)
    days = (0, 24 * 60 + 90)
    assert found() == 1, "of a day that is not whole the hours are read"
    log.close()


def test_a_day_that_a_piece_lies_across_is_not_added_up(tmp_path):
    """A segment of many hours is kept in pieces of days and weeks."""
    log = PredictionLog(tmp_path / "loan")
    for hours in (range(0, 8 * 24, 30), range(2, 8)):
        times = [T0 + timedelta(hours=at) for at in hours]
        log.append(make_rows(len(times), features=_FEATURES[0], event_time=times))
        log.seal()
    profile_segments(log.folder, log.spans(), BINS)
    for _ in range(2):
        assert _same(_found(log, (0, 7 * 24 * 60), None), _expected(log, (0, 7 * 24 * 60), None))
    log.close()


def test_a_window_across_hours_reads_the_rows_of_its_ends_only(tmp_path, monkeypatch):
    """Two hours of three are cut by the window: their rows are counted, the hour between comes from the store."""
    log = PredictionLog(tmp_path / "loan")
    times = [T0 + timedelta(minutes=10 * place) for place in range(18)]
    log.append(make_rows(18, features=_FEATURES[0], event_time=times))
    (span,) = log.seal()
    profile_segments(log.folder, [span], BINS)
    counted: list[int] = []
    real = profiles.profile
    monkeypatch.setattr(profiles, "profile", lambda rows, bins: counted.append(len(rows)) or real(rows, bins))
    found = window_profile(log, T0 + timedelta(minutes=30), T0 + timedelta(minutes=140), BINS)
    assert found.column("income").rows == 11
    assert counted == [3, 3, 2, 2]
    log.close()


def test_a_column_that_no_row_ever_had_is_refused(tmp_path):
    """A feature that the spec misspells is not a feature that is always null."""
    log = PredictionLog(tmp_path / "loan")
    log.append(make_rows(2, features=_FEATURES[0][:1]))
    with pytest.raises(PredictionLogError, match="ever had a column 'size'"):
        window_profile(log, T0, T0 + timedelta(days=1), BINS)
    log.close()


def test_a_log_whose_folder_cannot_be_written_is_judged_all_the_same(tmp_path):
    """The profiles are then made each time."""
    log = PredictionLog(tmp_path / "loan")
    log.append(make_rows(8, features=_FEATURES[0]))
    log.seal()
    (log.folder / "profiles").write_text("in the way")
    day = (T0, T0 + timedelta(days=1))
    assert window_profile(log, *day, BINS).column("income").rows == 8
    assert len(unprofiled(log, BINS)) == 1
    log.close()
