"""Retention deletes what its days say, never what a hold covers, and what was there stays on record."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from tests.prediction_rows import LATER, T0, make_rows
from trimtab.decay.profile import Bins, bins_digest
from trimtab.errors import LedgerError, PredictionLogError, PrunedPredictionError
from trimtab.ledger import Ledger
from trimtab.predictions import Outcome, Outcomes, PredictionLog, find_prediction
from trimtab.predictions.holds import all_holds, place_hold, release_hold, standing_holds, too_late
from trimtab.predictions.profile_files import BINS_KEPT
from trimtab.predictions.profiles import profile_segments, window_profile
from trimtab.predictions.retention import due, prune, segment_record
from trimtab.predictions.schema import id_text
from trimtab.records import Hold, Pruned, Pruning, Segment

DAY = timedelta(days=1)
AS_OF = T0 + 400 * DAY
WHO = {"placed_by": "Ada", "placed_at": AS_OF}


class Cut(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def log(tmp_path):
    made = PredictionLog(tmp_path / "loan")
    yield made
    made.close()


@pytest.fixture
def ledger(tmp_path):
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def sealed(log, at, n=5, **columns):
    """A segment of its own; with the outcome of its first prediction."""
    rows = make_rows(n, at=at, **columns)
    log.append(rows)
    key = id_text(rows["prediction_id"][0].as_py())
    Outcomes(log.folder, log).add([Outcome(key, 1.0, at)])
    return log.seal()[-1], key


def outcomes_of(log, key):
    return len(Outcomes(log.folder).history(key))


def test_segments_go_when_the_newest_of_both_their_times_is_too_old(log, ledger):
    old, key = sealed(log, T0)
    late, _ = sealed(log, T0, logged_at=[T0] * 4 + [T0 + 390 * DAY])
    new, _ = sealed(log, T0 + 100 * DAY)
    log.append(make_rows(2))
    assert [each.span for each in due(log, [], 300, AS_OF)] == [old]
    assert prune(log, ledger, "loan", None, AS_OF) == []
    (pruned,) = prune(log, ledger, "loan", 300, AS_OF)
    assert (pruned.digest, pruned.rows, pruned.first_id) == (old.digest, 5, old.first_id)
    assert log.spans() == [late, new]
    assert len(log.read(T0, LATER)) == 12
    assert (old.path.exists(), outcomes_of(log, key), log.verify()) == (False, 0, 2)
    assert prune(log, ledger, "loan", 300, AS_OF) == []
    assert log.seal()[:2] == [late, new], "a segment that is gone is named no more, and sealing goes on"


def test_a_look_up_says_when_and_why_it_was_deleted(log, ledger):
    _, key = sealed(log, T0)
    prune(log, ledger, "loan", 300, AS_OF)
    message = rf"prediction '{key}' was deleted on 2025-02-04 under the retention of 300 days.*\(5 predictions\)"
    with pytest.raises(PrunedPredictionError, match=message):
        log.get(key)
    with pytest.raises(PrunedPredictionError, match=message):
        find_prediction(log.folder.parent, key)


def test_what_was_deleted_stays_in_the_ledger(log, ledger):
    span, _ = sealed(log, T0)
    (pruned,) = prune(log, ledger, "loan", 300, AS_OF, "run-1")
    chain = ledger.ancestors(pruned.id)
    assert {entry.record.kind for entry in chain} == {"pruned", "pruning", "segment"}
    assert [entry.flow_run_id for entry in chain] == ["run-1"] * 3
    (pruning,) = ledger.records(Pruning, "loan")
    assert (pruning.newest_event_time, pruning.newest_logged_at) == (span.max_event_time, T0)
    assert ledger.records(Segment, "loan") == [segment_record("loan", span)]
    assert ledger.verify() == 3


def test_what_a_hold_covers_stays_until_it_is_released(log, ledger):
    one, key = sealed(log, T0)
    sealed(log, T0 + 10 * DAY)
    three, _ = sealed(log, T0 + 20 * DAY)
    place_hold(ledger, log, "other", "case 1", **WHO)
    by_time = place_hold(ledger, log, "loan", "case 2", start=T0 + 20 * DAY + timedelta(seconds=4), **WHO)
    by_id = place_hold(ledger, log, "loan", "case 3", prediction_id=key, **WHO)
    assert [[hold.id for hold in each.holds] for each in due(log, standing_holds(ledger, "loan"), 300, AS_OF)] == [
        [by_id.id],
        [],
        [by_time.id],
    ]
    assert len(prune(log, ledger, "loan", 300, AS_OF)) == 1
    assert log.spans() == [one, three]
    release_hold(ledger, by_id.id, "closed", "Bob", AS_OF)
    again = release_hold(ledger, by_id.id, "closed twice", "Bob", AS_OF)
    assert again.reason == "closed"
    assert [standing.released for standing in all_holds(ledger, "loan")] == [None, again]
    prune(log, ledger, "loan", 300, AS_OF)
    assert log.spans() == [three]
    assert outcomes_of(log, key) == 0


@pytest.mark.parametrize(
    ("start", "end", "kept"),
    [
        (None, None, True),
        (None, T0, False),
        (None, T0 + timedelta(seconds=1), True),
        (T0 + timedelta(seconds=4), None, True),
        (T0 + timedelta(seconds=5), None, False),
        (T0 + timedelta(seconds=1), T0 + timedelta(seconds=2), True),
    ],
)
def test_a_hold_covers_from_its_start_until_before_its_end(log, ledger, start, end, kept):
    sealed(log, T0)
    place_hold(ledger, log, "loan", "case 1", start=start, end=end, **WHO)
    assert bool(prune(log, ledger, "loan", 300, AS_OF)) is not kept


def test_a_hold_that_comes_while_a_pruning_is_stated_is_seen_and_told_of_it(log, ledger, monkeypatch):
    span, _ = sealed(log, T0)
    real, placed = ledger.append, []

    def append(record, flow_run_id=""):
        entry = real(record, flow_run_id)
        if isinstance(record, Pruning):
            placed.append(place_hold(Ledger(f"sqlite:///{ledger_path}"), log, "loan", "just in time", **WHO))
        return entry

    ledger_path = log.folder.parent / "ledger.db"
    monkeypatch.setattr(ledger, "append", append)
    assert prune(log, ledger, "loan", 300, AS_OF) == []
    assert log.spans() == [span]
    (pruning,) = too_late(ledger, placed[0])
    assert pruning.segment_id == segment_record("loan", span).id


def test_a_hold_that_comes_too_late_is_told_so(log, ledger):
    sealed(log, T0)
    prune(log, ledger, "loan", 300, AS_OF)
    assert len(too_late(ledger, place_hold(ledger, log, "loan", "case 1", start=T0, **WHO))) == 1
    assert too_late(ledger, place_hold(ledger, log, "loan", "case 2", start=T0 + DAY, **WHO)) == []
    assert too_late(ledger, place_hold(ledger, log, "loan", "case 3", end=T0, **WHO)) == []


def test_a_hold_that_would_hold_nothing_is_refused(log, ledger):
    _, key = sealed(log, T0)
    for wrong, message in [
        ({"reason": " "}, "gives no reason"),
        ({"start": T0, "end": T0}, "must end after it starts"),
        ({"start": T0, "prediction_id": key}, "the one or the other"),
        ({"prediction_id": id_text(bytes(16))}, "no prediction"),
    ]:
        with pytest.raises(PredictionLogError, match=message):
            place_hold(ledger, log, "loan", **{"reason": "case 1", **WHO, **wrong})
    prune(log, ledger, "loan", 300, AS_OF)
    with pytest.raises(PrunedPredictionError, match="was deleted"):
        place_hold(ledger, log, "loan", "case 1", prediction_id=key, **WHO)
    with pytest.raises(LedgerError, match="no hold is on record under 'hold-1'"):
        release_hold(ledger, "hold-1", "closed", "Bob", AS_OF)
    assert ledger.records(Hold) == []


def test_nothing_is_deleted_before_its_time(log, ledger):
    with pytest.raises(PredictionLogError, match="must be due now, not later"):
        prune(log, ledger, "loan", 300, datetime.now(UTC) + DAY)
    assert prune(log, ledger, "loan", 300, AS_OF) == []


@pytest.mark.parametrize(
    "point",
    ["before the intention", "after it", "after the mark", "after outcomes", "after the file", "after the record"],
)
def test_a_pruning_that_is_cut_short_is_finished_by_the_next(log, ledger, monkeypatch, point):
    span, key = sealed(log, T0)
    kept, _ = sealed(log, T0 + 350 * DAY)
    stones, appended = log.tombstones, ledger.append

    def append(record, flow_run_id=""):
        if point == "before the intention" and isinstance(record, Pruning):
            raise Cut
        if point == "after the file" and isinstance(record, Pruned):
            raise Cut
        return appended(record, flow_run_id)

    def cut(*_):
        raise Cut

    places = {
        "after it": (stones, "mark"),
        "after the mark": (Outcomes, "forget"),
        "after outcomes": (type(span.home), "delete"),
        "after the record": (stones, "finish"),
    }
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "append", append)
        if point in places:
            patch.setattr(*places[point], cut)
        with pytest.raises(Cut):
            prune(log, ledger, "loan", 300, AS_OF)
    other = PredictionLog(log.folder)
    marked = point not in ("before the intention", "after it")
    assert other.spans() == ([kept] if marked else [span, kept])
    assert other.verify() == len(other.spans())
    other.seal()
    (pruned,) = prune(other, ledger, "loan", None if marked else 300, AS_OF)
    assert ledger.records(Pruned) == [pruned]
    assert (other.spans(), span.path.exists(), outcomes_of(other, key)) == ([kept], False, 0)
    assert prune(other, ledger, "loan", 300, AS_OF) == []
    other.close()


def test_a_spool_put_back_from_before_a_pruning_is_told_of_it_by_the_ledger(log, ledger):
    _, key = sealed(log, T0)
    log.close()
    spool = log.folder / "spool.sqlite"
    before = spool.read_bytes()
    prune(log, ledger, "loan", 300, AS_OF)
    log.close()
    spool.write_bytes(before)
    assert len(log.spans()) == 1
    assert prune(log, ledger, "loan", 300, AS_OF) == []
    assert log.spans() == []
    with pytest.raises(PrunedPredictionError):
        log.get(key)


def test_stored_profiles_go_with_their_segment_and_none_comes_back(log, ledger):
    """Also one that was kept by somebody who had begun to read before, and those on bins that nobody uses any more."""
    bins = [(Bins(column="income", type="number", edges=(float(place),)),) for place in range(BINS_KEPT + 1)]
    old, _ = sealed(log, T0)
    new, _ = sealed(log, T0 + 350 * DAY)
    for each in bins:
        profile_segments(log.folder, [old, new], each)
    kept = {path: path.read_bytes() for path in (log.folder / "profiles").glob("*/*.arrow")}
    oldest = log.folder / "profiles" / bins_digest(bins[0])
    os.utime(oldest / "used", (0, 0))
    prune(log, ledger, "loan", 300, AS_OF)
    left = list((log.folder / "profiles").glob("*/*.arrow"))
    assert {path.stem for path in left} == {new.name.removesuffix(".parquet")}
    assert {path.parent.name for path in left} == {bins_digest(each) for each in bins[1:]}
    late = next(path for path in kept if path not in left and path.parent != oldest)
    late.write_bytes(kept[late])
    prune(log, ledger, "loan", 300, AS_OF)
    assert not late.exists()


def test_sums_of_days_go_with_their_segments_and_none_comes_back(log, ledger):
    """A day that keeps a segment is added up again without the other."""
    bins = (Bins(column="income", type="number", edges=(0.0,)),)
    old, _ = sealed(log, T0)
    new, _ = sealed(log, T0 + 350 * DAY)
    profile_segments(log.folder, [old, new], bins)
    window_profile(log, T0, T0 + 400 * DAY, bins)
    sums = log.folder / "profiles" / bins_digest(bins) / "days"
    first, second = sorted(sums.iterdir())
    kept = first.read_bytes()
    prune(log, ledger, "loan", 300, AS_OF)
    assert list(sums.iterdir()) == [second]
    first.write_bytes(kept)
    (sums / ".cut-short.arrow").write_bytes(kept)
    prune(log, ledger, "loan", 300, AS_OF)
    assert list(sums.iterdir()) == [second]
