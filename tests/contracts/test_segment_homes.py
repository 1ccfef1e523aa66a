"""What a home of segments promises, the same for a folder, moto's S3 server and a real one (TRIMTAB_TEST_S3_URL)."""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.prediction_rows import LATER, T0, make_rows
from tests.s3_servers import Wire, credentials, moto_server, new_bucket, real_server
from trimtab.errors import PredictionLogError
from trimtab.ledger import Ledger
from trimtab.predictions import PredictionLog, homes_s3
from trimtab.predictions import log as log_module
from trimtab.predictions.homes import home_at, home_for
from trimtab.predictions.retention import due, prune
from trimtab.predictions.schema import id_text
from trimtab.settings import Settings

AS_OF = T0 + timedelta(days=120)
NAME = "00-ff-0123456789abcdef.parquet"


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    with moto_server(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture(scope="module")
def real():
    return real_server()


@contextmanager
def settings_at(kind, request):
    """Settings under which a log has its segments in that kind of home."""
    if kind == "folder":
        yield Settings()
        return
    url = request.getfixturevalue(kind)
    with credentials(kind), new_bucket(url) as bucket:
        yield Settings(segments_url=f"{bucket}/some/where", s3_endpoint_url=url)


@pytest.fixture(scope="module", params=["folder", "moto", "real"])
def at(request):
    with settings_at(request.param, request) as settings:
        yield settings


@pytest.fixture(scope="module", params=["moto", "real"])
def in_s3(request):
    """The same of the homes in S3 alone."""
    with settings_at(request.param, request) as settings:
        yield settings


@pytest.fixture
def folder(tmp_path):
    # In S3 the tests share a bucket: the name of a log's folder keeps them apart.
    return tmp_path / tmp_path.name


@pytest.fixture
def home(at, folder):
    return home_for(folder, at)


@pytest.fixture
def log(at, folder):
    made = PredictionLog(folder, at)
    yield made
    made.close()


def written(tmp_path, content=b"0123456789" * 1000):
    path = tmp_path / "source"
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def ids_in(log):
    return log.read(T0, LATER, ["prediction_id"])["prediction_id"].to_pylist()


def test_what_was_put_is_read_at_any_place(home, tmp_path):
    source, digest = written(tmp_path)
    home.put(NAME, source, digest)
    assert home.digest(NAME) == digest
    for size_bytes in (None, 10_000):
        with home.open(NAME, size_bytes) as file:
            assert file.size() == 10_000
            assert file.read_at(7, 5003) == b"3456789"
            file.seek(9_995)
            assert file.read() == b"56789"


def test_a_home_is_found_again_from_what_a_row_keeps_of_it(home, at, folder, tmp_path):
    home.put(NAME, *written(tmp_path))
    assert home_at(folder, home.stored_as, at) == home
    assert home_at(folder, home.stored_as, at).names() == [NAME]
    assert home.uri(NAME).endswith(f"/{folder.name}/{'' if home.is_remote else 'segments/'}{NAME}")


def test_putting_the_same_again_changes_nothing_and_other_content_is_refused(home, tmp_path):
    source, digest = written(tmp_path)
    home.put(NAME, source, digest)
    home.put(NAME, written(tmp_path)[0], digest)
    with pytest.raises(PredictionLogError, match=f"{NAME} holds other content .*nothing was replaced"):
        home.put(NAME, *written(tmp_path, b"another"))
    assert (home.digest(NAME), home.names()) == (digest, [NAME])


def test_two_that_put_the_same_at_once_both_succeed(home, tmp_path):
    def put(i):
        (tmp_path / str(i)).mkdir()
        home.put(NAME, *written(tmp_path / str(i)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(4)))
    assert home.digest(NAME) == written(tmp_path)[1]


def test_what_retention_says_is_deleted_and_the_rest_is_read(log, home, tmp_path):
    log.append(make_rows(5))
    (old,) = log.seal()
    log.append(make_rows(5, at=T0 + timedelta(days=100)))
    log.seal()
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    (pruned,) = prune(log, ledger, log.folder.name, 30, AS_OF)
    assert (pruned.digest, home.has(old.name), len(home.names())) == (old.digest, False, 1)
    assert (len(ids_in(log)), log.verify(), len(log.seal())) == (5, 1, 1)


def test_names_are_whole_files_in_order(home, tmp_path):
    assert home.names() == []
    for name in ("b.parquet", "a.parquet", "c.parquet"):
        home.put(name, *written(tmp_path))
    assert home.names() == ["a.parquet", "b.parquet", "c.parquet"]
    assert (home.has("a.parquet"), home.has("a")) == (True, False)


def test_what_is_deleted_is_gone_and_may_be_deleted_again(home, tmp_path):
    home.delete(NAME)
    home.put(NAME, *written(tmp_path))
    for _ in range(2):
        home.delete(NAME)
        assert home.names() == []
    for use in (lambda: home.open(NAME).read(), lambda: home.open(NAME, 5).read(), lambda: home.digest(NAME)):
        with pytest.raises(PredictionLogError, match=f"{NAME} is gone; put it back from a copy"):
            use()


def test_a_log_in_it_is_one_table_before_and_after_sealing(log, home, monkeypatch):
    monkeypatch.setattr(log_module, "SEGMENT_ROWS", 9000)
    for _ in range(20):
        log.append(make_rows(1000))
    before = log.read(T0, LATER)
    spans = log.seal()
    assert [span.name for span in spans] == home.names()
    assert {span.uri for span in spans} == {home.uri(name) for name in home.names()}
    log.append(make_rows(5))
    assert log.read(T0, LATER).slice(0, 20_000).equals(before)
    assert log.verify() == 3
    for place in (0, 8_999, 9_000, 19_999):
        assert log.get(id_text(before["prediction_id"][place].as_py()))["score"] == before["score"][place].as_py()
    assert log.seal()[:3] == spans


def test_what_a_seal_left_that_did_not_count_is_taken_away(log, home, monkeypatch):
    log.append(make_rows(5))
    kept = ids_in(log)
    with monkeypatch.context() as patch:
        patch.setattr(log._spool, "commit_segment", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            log.seal()
    assert (len(home.names()), ids_in(log), log.spans()) == (1, kept, [])
    log.append(make_rows(2))
    (span,) = log.seal()
    assert (home.names(), ids_in(log)[:5]) == ([span.name], kept)


def test_two_sealers_that_do_not_see_each_others_lock_cannot_both_count(log, home, folder, at, monkeypatch):
    """As on a network file system without locks: the second finds the rows sealed and says so; none is there twice."""
    log.append(make_rows(5))
    kept = ids_in(log)
    real, other = log._spool.commit_segment, PredictionLog(folder, at)

    def commit(*arguments):
        (folder / "seal.lock").unlink()
        other.append(make_rows(1))
        other.seal()
        real(*arguments)

    monkeypatch.setattr(log._spool, "commit_segment", commit)
    with pytest.raises(PredictionLogError, match="were sealed or given up meanwhile"):
        log.seal()
    assert ids_in(other)[:5] == kept
    assert len(ids_in(other)) == sum(span.rows for span in other.spans()) == 6
    other.close()


def test_a_segment_that_another_sealer_took_for_a_leftover_does_not_count(log, home, folder, at, monkeypatch):
    """As when the lock is removed by hand between a put and its commit."""
    log.append(make_rows(5))
    kept = ids_in(log)
    real, other = log._spool.commit_segment, PredictionLog(folder, at)

    def commit(*arguments):
        (folder / "seal.lock").unlink()
        with monkeypatch.context() as patch:
            patch.setattr(other._spool, "unsealed", lambda *_: (range(0), []))
            other.seal()
        real(*arguments)

    monkeypatch.setattr(log._spool, "commit_segment", commit)
    with pytest.raises(PredictionLogError, match="were sealed or given up meanwhile"):
        log.seal()
    assert (home.names(), log.spans(), ids_in(log)) == ([], [], kept)
    assert [span.rows for span in other.seal()] == [5]
    assert ids_in(other) == kept
    other.close()


def test_a_log_whose_spool_is_gone_is_not_begun_anew(log, folder, at):
    log.append(make_rows(5))
    log.seal()
    log.close()
    (folder / "spool.sqlite").rename(folder / "away")
    after_restart = PredictionLog(folder, at)
    for use in (lambda: after_restart.append(make_rows(1)), after_restart.spans, lambda: ids_in(after_restart)):
        with pytest.raises(PredictionLogError, match=r"spool\.sqlite is gone, but 1 segments .* put the file back"):
            use()
    assert not (folder / "spool.sqlite").exists()
    (folder / "away").rename(folder / "spool.sqlite")
    after_restart.append(make_rows(1))
    assert len(ids_in(after_restart)) == 6
    after_restart.close()


def test_a_spool_put_back_from_an_older_copy_does_not_cost_a_segment(log, home, folder):
    log.append(make_rows(5))
    log.close()
    older = (folder / "spool.sqlite").read_bytes()
    log.append(make_rows(5))
    log.seal()
    log.close()
    (folder / "spool.sqlite").write_bytes(older)
    with pytest.raises(PredictionLogError, match="put back from an older copy"):
        log.seal()
    assert len(home.names()) == 1


def written_rows(tmp_path, log):
    """A segment that was put and did not come to count, of rows that stand in the spool."""
    path = tmp_path / "source"
    pq.write_table(log.read(T0, LATER).slice(5), path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_segments_stay_readable_where_they_are_when_the_setting_moves(log, home, at, folder, tmp_path):
    log.append(make_rows(5))
    (first,) = log.seal()
    moved = PredictionLog(folder, Settings(s3_endpoint_url=at.s3_endpoint_url))
    moved.append(make_rows(5))
    home.put(NAME, *written_rows(tmp_path, moved))
    spans = moved.seal()
    assert not home.has(NAME), "what a seal left in the home of before goes, too"
    assert (spans[0], len(ids_in(moved)), moved.verify()) == (first, 10, 2)
    assert Path(spans[1].path).parent == folder / "segments"
    moved.close()


@pytest.fixture
def wire(in_s3):
    made = Wire(in_s3.s3_endpoint_url)
    yield made
    made.close()


@pytest.fixture
def wired(in_s3, wire, folder):
    """A log that reaches its home through the wire."""
    made = PredictionLog(folder, Settings(segments_url=in_s3.segments_url, s3_endpoint_url=wire.url))
    yield made
    made.close()


@pytest.mark.parametrize("cut", [{"cut_ask_after": 20_000}, {"cut_answer_after": 10}, {"cut_ask_after": 0}])
def test_a_put_that_breaks_loses_nothing_and_is_repeated(wired, wire, cut):
    """While its bytes go out, after they are there but before it says so, and when the server is not there."""
    for _ in range(4):
        wired.append(make_rows(200))
    kept = ids_in(wired)
    for name, value in cut.items():
        setattr(wire, name, value)
    with pytest.raises(PredictionLogError, match=r"s3://trimtab-.*cannot be used"):
        wired.seal()
    assert ids_in(wired) == kept
    wired.append(make_rows(1))
    wire.cut_ask_after = wire.cut_answer_after = None
    (span,) = wired.seal()
    assert (span.rows, ids_in(wired)[:800], wired.verify()) == (801, kept, 1)


def test_a_look_up_in_s3_fetches_one_row_group(wired, wire):
    for _ in range(40):
        wired.append(make_rows(1000))
    ids = ids_in(wired)
    (span,) = wired.seal()
    wired.get(id_text(ids[3]))
    before = wire.answered_bytes
    assert wired.get(id_text(ids[25_000]))["score"] == 0
    assert wire.answered_bytes - before < span.size_bytes * 1.2 * 4096 / 40_000


def test_a_scan_in_s3_takes_few_requests_whatever_the_columns(wired, wire):
    """Not one a column and row group: each would take as long as a megabyte."""
    for _ in range(40):
        wired.append(make_rows(1000))
    before = wired.read(T0, LATER, ["income", "score"])
    wired.seal()
    wired.read(T0, LATER, ["age"])
    requests, events = [], homes_s3._client(wire.url, os.getpid()).meta.events
    events.register("before-send.s3.GetObject", lambda **_: requests.append(1), unique_id="count")
    try:
        assert wired.read(T0, LATER, ["income", "score"]).equals(before)
    finally:
        events.unregister("before-send.s3.GetObject", unique_id="count")
    assert 0 < len(requests) < 8


def test_a_break_while_a_segment_is_read_names_it(wired, wire):
    wired.append(make_rows(3000))
    (span,) = wired.seal()
    wire.cut_answer_after = 5_000
    with pytest.raises(PredictionLogError, match=span.name):
        wired.read(T0, LATER)
    wire.cut_answer_after = None
    assert len(wired.read(T0, LATER)) == 3000


def test_a_pruning_that_breaks_is_finished_by_the_next(wired, wire, tmp_path):
    """The segment is read no more, and what is left of it goes when the server answers again."""
    wired.append(make_rows(5))
    (span,) = wired.seal()
    due(wired, [], 30, AS_OF)
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    wire.cut_ask_after = 0
    with pytest.raises(PredictionLogError, match="cannot be used"):
        prune(wired, ledger, wired.folder.name, 30, AS_OF)
    wire.cut_ask_after = None
    assert (ids_in(wired), span.home.has(span.name)) == ([], True)
    wired.seal()
    assert len(prune(wired, ledger, wired.folder.name, None, AS_OF)) == 1
    assert not span.home.has(span.name)


def test_an_altered_segment_is_named(log, at, home):
    log.append(make_rows(5))
    (span,) = log.seal()
    if home.is_remote:
        bucket, key = span.uri.removeprefix("s3://").split("/", 1)
        boto3.client("s3", endpoint_url=at.s3_endpoint_url).put_object(Bucket=bucket, Key=key, Body=b"x" * 5000)
    else:
        span.path.write_bytes(b"x" * 5000)
    with pytest.raises(PredictionLogError, match=f"{span.name} was altered"):
        log.verify()


def test_a_versioned_bucket_keeps_no_older_version_of_what_is_deleted(in_s3, folder, tmp_path):
    with new_bucket(in_s3.s3_endpoint_url, versioned=True) as bucket:
        home = home_for(folder, Settings(segments_url=bucket, s3_endpoint_url=in_s3.s3_endpoint_url))
        home.put(NAME, *written(tmp_path))
        home.put(f"{NAME}.parquet", *written(tmp_path))
        home.delete(NAME)
        client = boto3.client("s3", endpoint_url=in_s3.s3_endpoint_url)
        left = client.list_object_versions(Bucket=bucket.removeprefix("s3://"))
        assert [version["Key"] for version in left["Versions"]] == [f"{folder.name}/{NAME}.parquet"]
        assert "DeleteMarkers" not in left


def test_a_bucket_that_is_not_there_is_named(in_s3, folder):
    nowhere = Settings(segments_url="s3://trimtab-nowhere", s3_endpoint_url=in_s3.s3_endpoint_url)
    with pytest.raises(PredictionLogError, match=r"s3://trimtab-nowhere.*NoSuchBucket"):
        PredictionLog(folder, nowhere).append(make_rows(1))


def test_reading_many_segments_at_once_from_threads_is_safe(log, monkeypatch):
    monkeypatch.setattr(log_module, "SEGMENT_ROWS", 100)
    for _ in range(8):
        log.append(make_rows(100))
    log.seal()
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda _: log.read(T0, LATER), range(8)))
    assert all(isinstance(table, pa.Table) and table.equals(tables[0]) for table in tables)
