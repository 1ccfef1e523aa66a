"""The prediction log: one table, each row once, whatever was sealed and whenever that was cut short."""

import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from contextlib import closing
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.prediction_rows import LATER, T0, make_rows
from trimtab.errors import PredictionLogError, UnknownPredictionError
from trimtab.predictions import PredictionLog, find_prediction, new_prediction_ids
from trimtab.predictions import log as log_module
from trimtab.predictions.schema import id_characters, id_text, new_packed_ids


@pytest.fixture
def log(tmp_path):
    made = PredictionLog(tmp_path / "loan")
    yield made
    made.close()


class Cut(BaseException):
    """Stands for a kill: nothing catches it."""


def ids_of(table):
    return table["prediction_id"].to_pylist()


def ids_in(log):
    return ids_of(log.read(T0, LATER))


def test_ids_are_version_7_and_ascend_over_threads():
    taken = [new_prediction_ids(1000) for _ in range(3)]
    flat = [key for part in taken for key in part]
    assert flat == sorted(set(flat))
    first = uuid.UUID(bytes=flat[0])
    assert (first.version, first.variant, str(first)) == (7, uuid.RFC_4122, id_text(flat[0]))
    assert abs((first.int >> 80) / 1000 - time.time()) < 60
    many = []
    threads = [threading.Thread(target=lambda: many.extend(new_prediction_ids(500))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(many)) == 4000
    assert min(many) > flat[-1]


def test_ids_that_are_made_alone_are_as_those_made_together():
    packed = [new_packed_ids(n) for n in (1, 3, 1, 1, 2, 1)]
    keys = [part[start : start + 16] for part in packed for start in range(0, len(part), 16)]
    assert keys == sorted(set(keys))
    assert {(uuid.UUID(bytes=key).version, uuid.UUID(bytes=key).variant) for key in keys} == {(7, uuid.RFC_4122)}
    assert b"".join(map(id_characters, packed)).decode() == "".join(map(id_text, keys))


def test_ids_do_not_go_back_when_the_clock_does(monkeypatch):
    before = new_prediction_ids(1)[0]
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    assert new_prediction_ids(2)[0] > before


def test_a_log_that_was_never_written_is_an_empty_table(log):
    assert len(log.read(T0, LATER)) == log.count(T0, LATER) == 0
    assert log.read(T0, LATER, ["income", "score"]).column_names == ["income", "score"]
    assert (log.seal(), log.spans(), log.verify()) == ([], [], 0)
    assert not log.folder.exists()
    with pytest.raises(UnknownPredictionError, match="no prediction"):
        log.get(id_text(new_prediction_ids(1)[0]))


def test_rows_are_read_by_event_time_release_and_column(log):
    log.append(make_rows(10))
    log.append(make_rows(5, at=T0 + timedelta(days=1), release_id="release-2"))
    for _ in range(2):
        assert log.read(T0, T0 + timedelta(seconds=4))["event_time"].to_pylist() == [
            T0 + timedelta(seconds=second) for second in range(4)
        ]
        assert len(log.read(T0, LATER, release_id="release-2")) == 5
        assert (log.count(T0, T0 + timedelta(seconds=4)), log.count(T0, LATER)) == (4, 15)
        table = log.read(T0, LATER, ["score", "region"], release_id="release-1")
        assert (table.column_names, len(table)) == (["score", "region"], 10)
        assert table["score"].to_pylist() == [i / 10 for i in range(10)]
        with pytest.raises(PredictionLogError, match=r"ever had a column 'shoe'; there are .*'income'"):
            log.read(T0, LATER, ["shoe"])
        log.seal()


def test_a_time_without_timezone_is_refused(log):
    with pytest.raises(ValueError, match="timezone"):
        log.read(T0.replace(tzinfo=None), LATER)


def test_sealing_moves_rows_into_segments_ordered_by_id(log, monkeypatch):
    monkeypatch.setattr(log_module, "SEGMENT_ROWS", 9000)
    batches = [make_rows(1000, at=T0 + timedelta(hours=i)) for i in range(20)]
    for batch in reversed(batches):
        log.append(batch)
    before = log.read(T0, LATER)
    spans = log.seal()
    assert [span.rows for span in spans] == [9000, 9000, 2000]
    assert log.read(T0, LATER).equals(before)
    assert ids_of(before) == sorted(ids_of(before))
    for span in spans:
        file = pq.ParquetFile(span.path)
        ids = file.read(columns=["prediction_id"])["prediction_id"].to_pylist()
        assert ids == sorted(ids)
        assert (id_text(ids[0]), id_text(ids[-1])) == (span.first_id, span.last_id)
        assert file.metadata.row_group(0).num_rows == min(4096, span.rows)
        assert span.size_bytes == span.path.stat().st_size
        file.close()
    assert log.verify() == 3
    with closing(sqlite3.connect(log.folder / "spool.sqlite")) as spool, spool:
        assert spool.execute("SELECT count(*) FROM batches").fetchone() == (0,)
    spool.close()
    for batch in batches:
        key = id_text(batch["prediction_id"][500].as_py())
        assert log.get(key)["prediction_id"] == key


def test_sealed_spans_are_named_until_they_are_acknowledged(log):
    log.append(make_rows(3))
    first = log.seal()
    assert log.seal() == first, "a caller that died before recording them gets them again"
    log.append(make_rows(3))
    second = log.seal()
    assert second[:1] == first
    log.acknowledge(second)
    assert log.seal() == []
    assert log.spans() == second


@pytest.mark.parametrize("point", ["while writing", "before counting", "before deleting", "while deleting"])
def test_a_seal_that_is_cut_short_loses_and_doubles_nothing(log, monkeypatch, point):
    for _ in range(450):
        log.append(make_rows(2))
    kept = ids_in(log)
    batch_bytes = len(make_rows(2).serialize())

    def cut_after(turns, real):
        left = iter(range(turns))

        def act(*arguments):
            if next(left, None) is None:
                raise Cut
            return real(*arguments)

        return act

    spool = log._spool
    places = {
        "while writing": ("trimtab.predictions.segments.sync", cut_after(0, None)),
        "before counting": (spool, "commit_segment", cut_after(0, None)),
        "before deleting": (spool, "drop_sealed", cut_after(1, spool.drop_sealed)),
        # One intends the segment, one counts it, one deletes the first 100 batches.
        "while deleting": (spool._database, "writing", cut_after(3, spool._database.writing)),
    }
    with monkeypatch.context() as patch:
        patch.setattr("trimtab.predictions.spool._DELETE_BYTES", 100 * batch_bytes)
        patch.setattr(*places[point])
        with pytest.raises(Cut):
            log.seal()
    other = PredictionLog(log.folder)
    left = {"while deleting": 350}.get(point, 450)
    with closing(sqlite3.connect(log.folder / "spool.sqlite")) as database, database:
        assert database.execute("SELECT count(*) FROM batches").fetchone() == (left,)
    database.close()
    assert ids_in(other) == kept
    assert other.get(id_text(kept[7]))["region"] == "north"
    other.append(make_rows(1))
    spans = other.seal()
    assert ids_in(other)[:-1] == kept
    assert sum(span.rows for span in spans) == len(kept) + 1
    assert set((log.folder / "segments").iterdir()) == {span.path for span in spans}
    other.close()


def test_a_seal_that_the_disk_refuses_keeps_nothing_of_it(log, monkeypatch):
    """The file that was written aside is as large as the segment: on a full disk the next rows need that room."""
    log.append(make_rows(10))

    def refuse(_):
        raise PredictionLogError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(log._spool, "intend", refuse)
        with pytest.raises(PredictionLogError, match="the disk is full"):
            log.seal()
    assert {path.name for path in log.folder.iterdir()} == {
        "seal.lock",
        *(f"spool.sqlite{end}" for end in ("", "-wal", "-shm")),
    }
    assert sum(span.rows for span in log.seal()) == 10


SEALER = """
import sys
from pathlib import Path
from trimtab.predictions import PredictionLog
log = PredictionLog(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    log.seal()
"""


def test_sealers_killed_at_any_time_lose_and_double_nothing(log):
    """Two sealers at once, killed again and again while rows come in and are read."""
    kept = []
    for round_ in range(3):
        sealers = [
            subprocess.Popen([sys.executable, "-c", SEALER, str(log.folder)], stdout=subprocess.PIPE) for _ in range(2)
        ]
        for sealer in sealers:
            assert sealer.stdout.readline() == b"ready\n"
        for _ in range(60 + 17 * round_):
            batch = make_rows(3)
            log.append(batch)
            kept.extend(batch["prediction_id"].to_pylist())
        assert ids_in(log) == kept
        for sealer in sealers:
            sealer.send_signal(signal.SIGKILL)
            sealer.wait()
            sealer.stdout.close()
        assert ids_in(log) == kept
    log.seal()
    assert ids_in(log) == kept
    assert sum(span.rows for span in log.spans()) == len(kept)


def test_rows_of_an_older_and_a_newer_feature_set_are_one_table(log):
    log.append(make_rows(2, features=(("income", "number"), ("age", "integer"), ("old", "category"))))
    log.seal()
    log.append(make_rows(2, features=(("income", "number"), ("age", "number"), ("region", "category"))))
    table = log.read(T0, LATER)
    assert table.column_names[7:] == ["income", "age", "old", "region", "score"]
    assert table["old"].to_pylist() == ["north", "north", None, None]
    assert table["region"].to_pylist() == [None, None, "north", "north"]
    assert table["age"].type == pa.float64()
    log.seal()
    assert log.read(T0, LATER).equals(table)
    assert log.read(T0, LATER, ["region"]).column_names == ["region"]
    assert log.read(LATER, LATER + timedelta(days=1), ["old"]).schema.field("old").type == pa.string()
    assert "old" not in log.get(id_text(ids_in(log)[-1])) or log.get(id_text(ids_in(log)[-1]))["old"] is None


def test_a_column_that_changed_from_text_to_number_is_read_as_text(log):
    log.append(make_rows(1, features=(("income", "category"),)))
    log.append(make_rows(1, features=(("income", "number"),)))
    assert log.read(T0, LATER)["income"].to_pylist() == ["north", "1.5"]


def test_a_batch_that_lacks_a_column_or_a_score_is_refused(log):
    batch = make_rows(2)
    with pytest.raises(PredictionLogError, match="'version' of the batch is missing; it must be string"):
        log.append(batch.drop_columns(["version"]))
    with pytest.raises(PredictionLogError, match="'score' of the batch holds null"):
        log.append(make_rows(2, score=[None, 1.0]))
    assert len(log.read(T0, LATER)) == 0


def test_damaged_and_absent_files_are_named(log):
    log.append(make_rows(5))
    key = id_text(ids_in(log)[0])
    (span,) = log.seal()
    log.close()
    good = span.path.read_bytes()
    span.path.write_bytes(good[:100] + b"\xff" * 20 + good[120:])
    with pytest.raises(PredictionLogError, match=f"{span.path.name} was altered"):
        log.verify()
    for damage in (lambda: span.path.write_bytes(good[:50]), span.path.unlink):
        damage()
        for use in (lambda: log.read(T0, LATER), lambda: log.get(key), log.verify):
            with pytest.raises(PredictionLogError, match=span.path.name):
                use()
    span.path.write_bytes(good)
    (log.folder / "spool.sqlite").rename(log.folder / "away")
    with pytest.raises(PredictionLogError, match=r"spool\.sqlite is gone"):
        log.read(T0, LATER)
    (log.folder / "spool.sqlite").write_bytes(b"no database at all, " * 100)
    for use in (lambda: log.read(T0, LATER), lambda: log.append(make_rows(1)), log.spans):
        with pytest.raises(PredictionLogError, match=r"spool\.sqlite cannot be used"):
            use()


def test_a_damaged_batch_in_the_spool_is_named(log):
    log.append(make_rows(5))
    log.close()
    spool = sqlite3.connect(log.folder / "spool.sqlite")
    (body,) = spool.execute("SELECT body FROM batches").fetchone()
    spool.execute("UPDATE batches SET body = ?", (body[:-8] + b"\x01" * 8,))
    spool.commit()
    spool.close()
    with pytest.raises(PredictionLogError, match=r"batch 1 in .*spool\.sqlite is damaged"):
        log.read(T0, LATER)


def test_a_log_of_a_newer_format_is_not_touched(log):
    log.append(make_rows(1))
    log.close()
    spool = sqlite3.connect(log.folder / "spool.sqlite")
    spool.execute("PRAGMA user_version = 99")
    spool.close()
    for use in (lambda: log.read(T0, LATER), lambda: log.append(make_rows(1))):
        with pytest.raises(PredictionLogError, match="of format 99; this trimtab reads up to 4"):
            use()


def test_a_spool_put_back_from_an_older_copy_does_not_cost_a_segment(log):
    """Sealing refuses rather than remove a file whose rows stand nowhere else."""
    log.append(make_rows(5))
    log.close()
    spool = log.folder / "spool.sqlite"
    older = spool.read_bytes()
    log.append(make_rows(5))
    (span,) = log.seal()
    log.close()
    spool.write_bytes(older)
    with pytest.raises(PredictionLogError, match="put back from an older copy"):
        log.seal()
    assert span.path.exists()


def test_a_prediction_is_found_over_all_models(tmp_path):
    rows = {name: make_rows(3) for name in ("loan", "tax")}
    for name, batch in rows.items():
        log = PredictionLog(tmp_path / name)
        log.append(batch)
        log.close()
    key = id_text(rows["tax"]["prediction_id"][1].as_py())
    model, record = find_prediction(tmp_path, key)
    assert (model, record["prediction_id"], record["age"]) == ("tax", key, 30)
    with pytest.raises(UnknownPredictionError, match="searched the logs of loan, tax"):
        find_prediction(tmp_path, id_text(new_prediction_ids(1)[0]))
    with pytest.raises(UnknownPredictionError, match="an id is a UUID such as"):
        find_prediction(tmp_path, "17")


def test_appends_go_on_while_a_large_spool_is_sealed(log):
    """A seal holds the file for moments only: appends beside it go through before it ends, and all are kept."""
    for _ in range(1000):
        log.append(make_rows(40))
    sealer = threading.Thread(target=PredictionLog(log.folder).seal)
    sealer.start()
    beside, count = 0, 0
    while sealer.is_alive() or count < 20:
        log.append(make_rows(1))
        count += 1
        beside += sealer.is_alive()
    sealer.join()
    assert len(ids_in(log)) == 40_000 + count
    assert beside > 1


def test_features_may_be_named_like_paths(log):
    """Parquet gives dots a meaning; names are taken as they are."""
    log.append(make_rows(2, features=(("a", "number"), ("a.b", "category"), ("select", "boolean"))))
    log.seal()
    assert log.read(T0, LATER, ["a.b", "a"]).to_pydict() == {"a.b": ["north"] * 2, "a": [1.5] * 2}


def put_aside(log, to):
    """Move the spool with what belongs to it; the connection in use goes with it."""
    to.mkdir()
    for path in log.folder.glob("spool.sqlite*"):
        path.rename(to / path.name)


def test_a_spool_that_is_removed_while_in_use_is_never_made_anew(log, tmp_path):
    """Nothing is written until the file is back; then it holds what was written before and after."""
    log.append(make_rows(2))
    put_aside(log, tmp_path / "aside")
    for _ in range(2):
        with pytest.raises(PredictionLogError, match=r"spool\.sqlite or its -wal file was removed or replaced"):
            log.append(make_rows(1))
    assert not (log.folder / "spool.sqlite").exists()
    for path in (tmp_path / "aside").iterdir():
        path.rename(log.folder / path.name)
    log.append(make_rows(3))
    assert len(log.read(T0, LATER)) == 5


def test_a_spool_that_is_replaced_refuses_one_write_and_takes_the_next_under_its_own_schemas(log, tmp_path):
    other = PredictionLog(tmp_path / "other")
    other.append(make_rows(1, features=(("shoe", "number"),)))
    other.close()
    log.append(make_rows(1))
    put_aside(log, tmp_path / "aside")
    (tmp_path / "other" / "spool.sqlite").rename(log.folder / "spool.sqlite")
    with pytest.raises(PredictionLogError, match="removed or replaced while in use"):
        log.append(make_rows(1))
    log.append(make_rows(2))
    rows = log.read(T0, LATER)
    assert len(rows) == 3
    assert rows["income"].to_pylist() == [None, 1.5, 1.5]


def test_a_write_ahead_log_that_is_removed_while_in_use_refuses_the_write(log):
    log.append(make_rows(1))
    (log.folder / "spool.sqlite-wal").unlink()
    with pytest.raises(PredictionLogError, match="-wal file was removed or replaced"):
        log.append(make_rows(1))


def test_a_copy_put_back_in_another_journal_mode_is_guarded_too(log, tmp_path):
    log.append(make_rows(1))
    with closing(sqlite3.connect(log.folder / "spool.sqlite")) as connection:
        connection.execute("VACUUM INTO ?", (str(tmp_path / "copy"),))
    put_aside(log, tmp_path / "aside")
    (tmp_path / "copy").rename(log.folder / "spool.sqlite")
    with pytest.raises(PredictionLogError, match="removed or replaced while in use"):
        log.append(make_rows(1))
    log.append(make_rows(1))
    assert len(log.read(T0, LATER)) == 2
    (log.folder / "spool.sqlite").unlink()
    with pytest.raises(PredictionLogError, match="removed or replaced while in use"):
        log.append(make_rows(1))


def test_nothing_to_acknowledge_makes_no_file(log):
    log.acknowledge([])
    assert not log.folder.exists()


def test_two_logs_of_one_folder_in_turn_find_the_file_their_own(log):
    """Opening and closing beside a writer, as sealers do, removes nothing that it uses."""
    for _ in range(3):
        log.append(make_rows(1))
        other = PredictionLog(log.folder)
        other.append(make_rows(1))
        other.seal()
        other.close()
    assert len(log.read(T0, LATER)) == 6


def test_an_id_is_found_in_batches_of_any_ids(log):
    """Batches that overlap, come in any order and hold ids of several moments, beside those of one moment."""
    one, two, three = (new_prediction_ids(2) for _ in range(3))
    later = [bytes([key[0] + 1]) + key[1:] for key in new_prediction_ids(2)]
    for ids in ([later[1], one[0]], three, [two[1], later[0], one[1]], [two[0]]):
        log.append(make_rows(len(ids), prediction_id=ids))
    everything = [*one, *two, *three, *later]
    for key in everything:
        assert log.get(id_text(key))["prediction_id"] == id_text(key)
    assert log.missing([*everything, *new_prediction_ids(1)])[0] not in everything
    assert log.missing(everything) == []
