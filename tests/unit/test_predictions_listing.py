"""Listing stays right beside writers, and reads no more than it must."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.prediction_rows import T0, make_rows
from trimtab.errors import PredictionLogError, UnknownPredictionError
from trimtab.predictions import PredictionLog, Query, list_predictions, segments
from trimtab.predictions import log as log_module
from trimtab.predictions.schema import id_text


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "ROW_GROUP_ROWS", 50)
    monkeypatch.setattr(log_module, "SEGMENT_ROWS", 400)
    made = PredictionLog(tmp_path / "loan")
    yield made
    made.close()


def walk(log, query):
    """All pages; the ids in the order in which they came."""
    found = []
    while True:
        page = list_predictions(log.folder.parent, query)
        found += [record["prediction_id"] for _, record in page.predictions]
        if page.next_after is None:
            return found
        query = replace(query, after=page.next_after)


@pytest.mark.parametrize("newest_first", [True, False])
def test_sealing_and_appending_beside_a_listing_lose_and_double_nothing(log, newest_first):
    """What was on record before the first page is listed once, whatever is sealed and appended between and within."""
    before = []
    for number in range(40):
        rows = make_rows(30, request_id=[f"{number}-{row}" for row in range(30)])
        before += [id_text(key) for key in rows["prediction_id"].to_pylist()]
        log.append(rows)
    stop, errors = threading.Event(), []

    def work():
        other = PredictionLog(log.folder)
        try:
            while not stop.is_set():
                other.append(make_rows(5))
                other.seal()
        except Exception as error:  # noqa: BLE001 (told to the test)
            errors.append(error)
        finally:
            other.close()

    writer = threading.Thread(target=work)
    writer.start()
    try:
        known = set(before)
        for _ in range(3):
            # Newest first what is appended meanwhile is before the first page, oldest first it is on the last ones.
            query = Query(newest_first=newest_first, limit=170)
            if not newest_first:
                query = replace(query, end=T0 + timedelta(days=1))
            found = walk(log, query)
            assert len(found) == len(set(found))
            assert [key for key in found if key in known] == (before[::-1] if newest_first else before)
    finally:
        stop.set()
        writer.join()
    assert errors == []


def test_a_segment_that_is_pruned_while_it_is_read_is_passed_over(log, monkeypatch):
    """The list that was read before says that it is there; the next says that it is not."""
    log.append(make_rows(3))
    (span,) = log.seal()
    log.append(make_rows(2))
    log.seal()
    original, calls = segments.open_segment, []

    def open_segment(opened):
        if opened.name == span.name:
            calls.append(opened.name)
            if len(calls) == 1:
                with log._spool._database.writing() as connection:
                    connection.execute("UPDATE segments SET pruned_at = 0 WHERE name = ?", (span.name,))
                span.home.delete(span.name)
        return original(opened)

    monkeypatch.setattr("trimtab.predictions.visiting.open_segment", open_segment)
    assert len(list_predictions(log.folder.parent, Query()).predictions) == 2
    assert calls == [span.name]


def test_a_segment_that_is_gone_is_named(log):
    log.append(make_rows(3))
    (span,) = log.seal()
    span.path.unlink()
    with pytest.raises(PredictionLogError, match=span.name):
        list_predictions(log.folder.parent, Query())


def test_what_cannot_hold_an_answer_is_not_read(log, monkeypatch):
    """Row groups are passed over by their ids, times and values, and a page reads no further than it is full."""
    for number in range(8):
        rows = make_rows(200, at=T0 + timedelta(hours=number), version=[str(number)] * 200)
        log.append(rows.set_column(1, rows.schema.field(1), make_rows(200, request_id=[f"{number}"] * 200).column(1)))
    log.seal()
    read, original = [], segments.pq.ParquetFile.read_row_group

    def read_row_group(self, number, *arguments, **how):
        read.append(number)
        return original(self, number, *arguments, **how)

    monkeypatch.setattr(segments.pq.ParquetFile, "read_row_group", read_row_group)

    def groups_read(**asked):
        read.clear()
        page = list_predictions(log.folder.parent, Query(**asked))
        return len(page.predictions), len(read)

    # Of a row group that has what is asked for, first the columns that decide are read, then the page's rows.
    assert groups_read(limit=50) == (50, 2)
    assert groups_read(limit=50, newest_first=False) == (50, 2)
    assert groups_read(version="5", limit=1) == (1, 2)
    assert groups_read(request_id="6", limit=1) == (1, 2)
    assert groups_read(request_id="none") == (0, 0)
    assert groups_read(version="x") == (0, 0)
    assert groups_read(start=T0 + timedelta(hours=3), end=T0 + timedelta(hours=3, seconds=40)) == (40, 2)


def test_a_page_that_examined_enough_ends_early_and_says_where_to_go_on(log):
    for number in range(10):
        log.append(make_rows(100, caller=["rare" if (number, row) == (0, 0) else "often" for row in range(100)]))
    log.seal()
    query, found, pages = Query(caller="rare"), [], 0
    while True:
        page = list_predictions(log.folder.parent, query, max_examined=200)
        found += page.predictions
        pages += 1
        if page.next_after is None:
            break
        query = replace(query, after=page.next_after)
    assert (len(found), found[0][1]["caller"]) == (1, "rare")
    assert 3 <= pages <= 20
    assert len(list_predictions(log.folder.parent, Query(caller="rare")).predictions) == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"limit": 0}, "the limit is 0; it must be 1 to 1000"),
        ({"limit": 1001}, "the limit is 1001"),
        ({"start": T0.replace(tzinfo=None)}, "has no timezone"),
        ({"start": T0, "end": T0}, "is not before the end"),
        ({"caller": "\udcff"}, "it must be text that UTF-8 can hold"),
    ],
)
def test_an_impossible_query_is_refused_with_what_would_be_right(asked, said):
    with pytest.raises(ValueError, match=said):
        Query(**asked)
    with pytest.raises(UnknownPredictionError, match="an id is a UUID such as"):
        Query(after="17")


def test_there_is_nothing_where_no_log_is(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        assert list_predictions(folder, Query()).predictions == []
        assert list_predictions(folder, Query(model="../..")).next_after is None
