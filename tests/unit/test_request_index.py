"""Request ids are found by an index that is made from the segments, and made again where it is not right."""

import numpy as np
import pyarrow as pa
import pytest

from tests.prediction_rows import make_rows
from trimtab.errors import PredictionLogError
from trimtab.predictions import PredictionLog, Query, list_predictions, request_index, segments
from trimtab.predictions.request_index import RequestIndexes, build_index, hash_text, hash_texts
from trimtab.predictions.schema import id_text


def murmur(data: bytes) -> int:
    """MurmurHash64A as its author wrote it, a number at a time."""
    factor, mask = 0xC6A4A7935BD1E995, 2**64 - 1
    state = len(data) * factor & mask
    for at in range(0, len(data) - len(data) % 8, 8):
        word = int.from_bytes(data[at : at + 8], "little") * factor & mask
        state = (state ^ ((word ^ word >> 47) * factor & mask)) * factor & mask
    if rest := data[len(data) - len(data) % 8 :]:
        state = (state ^ int.from_bytes(rest, "little")) * factor & mask
    state = (state ^ state >> 47) * factor & mask
    return state ^ state >> 47


def test_the_hash_is_murmur_64a():
    """Stored hashes are a promise: they equal the published function, of texts of any length, sliced or not."""
    assert hash_text("hello") == 0x1E68D17C457BF117  # as published
    texts = ["", "a", "é☃", *("request-" * n + "x" * (n % 9) for n in range(40)), "y" * 5000]
    expected = [murmur(text.encode()) for text in texts]
    assert hash_texts(pa.array(texts)).tolist() == expected
    assert hash_texts(pa.array(["skipped", *texts, None])[1:-1]).tolist() == expected
    assert hash_texts(pa.array([], pa.string())).tolist() == []


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "ROW_GROUP_ROWS", 10)
    made = PredictionLog(tmp_path / "loan")
    yield made
    made.close()


def found(log, request_id):
    page = list_predictions(log.folder.parent, Query(request_id=request_id, newest_first=False))
    assert page.next_after is None
    return [row["prediction_id"] for _, row in page.predictions]


def test_each_row_group_that_holds_a_request_is_named_and_no_other(log):
    """A run over a border, a request that comes back, and rows without a request id."""
    ids = [None] * 5 + ["long"] * 20 + ["once"] + [None] * 2 + ["again"] + [None] * 30 + ["again"] + [""]
    log.append(make_rows(len(ids), request_id=ids))
    (span,) = log.seal()
    indexes = RequestIndexes(log.folder)
    groups = {text: indexes.row_groups(span.name, hash_text(text)) for text in ("long", "once", "again", "", "none")}
    assert groups == {"long": [0, 1, 2], "once": [2], "again": [2, 5], "": [6], "none": []}
    (path,) = indexes.folder.iterdir()
    assert path.stat().st_size == 64 + 12 * 7  # "long" has an entry a row group, a row without a request id has none


def test_every_one_of_many_is_found():
    """Where a hash stands is guessed from its value: the guess is widened until it is sure."""
    texts = pa.array([f"request {number}" for number in range(50_000)])
    content = build_index(pa.chunked_array([texts]), 100, "00" * 32)
    assert content == build_index(pa.chunked_array([texts[:7], texts[7:]]), 100, "00" * 32)

    def read(offset, length):
        assert length <= 8 * 2 * 3 * (224 + 8) * 4, "only a small part is read"
        return content[offset : offset + length]

    for row, hashed in list(enumerate(hash_texts(texts).tolist()))[::97]:
        assert request_index._search(read, len(content), hashed) == [row // 100]
    for hashed in (0, 2**64 - 1, hash_text("no request")):
        assert request_index._search(read, len(content), hashed) == []


def test_hashes_that_crowd_one_place_are_all_found():
    """Request ids are the callers' own: they may be many times the same, or chosen to be close."""
    texts = ["same", "other"] * 3000
    content = build_index(pa.chunked_array([pa.array(texts)]), 10, "00" * 32)
    groups = request_index._search(lambda at, length: content[at : at + length], len(content), hash_text("same"))
    assert groups == list(range(600))


@pytest.mark.parametrize("damage", ["absent", "short", "empty", "other", "newer"])
def test_an_index_that_is_not_right_is_made_again(log, damage):
    """A look-up does it, whatever became of the file; a segment that was sealed before there were any has none."""
    log.append(make_rows(30, request_id=[f"request-{i % 15}" for i in range(30)]))
    log.seal()
    wanted = found(log, "request-3")
    (path,) = RequestIndexes(log.folder).folder.iterdir()
    good = path.read_bytes()
    bad = {
        "short": good[:-1],
        "empty": b"",
        "other": b"x" * len(good),
        "newer": good[:8] + (2).to_bytes(4, "little") + good[12:],
    }
    path.unlink() if damage == "absent" else path.write_bytes(bad[damage])
    assert found(log, "request-3") == wanted
    assert len(wanted) == 2
    assert path.read_bytes() == good


def test_a_seal_makes_what_is_missing_and_removes_what_is_of_no_segment(log):
    log.append(make_rows(3, request_id=["a", "b", "c"]))
    log.seal()
    indexes = RequestIndexes(log.folder)
    (path,) = indexes.folder.iterdir()
    path.rename(indexes.folder / "of-a-pruned-segment.index")
    log.append(make_rows(3, request_id=["a", "b", "c"]))
    log.seal()
    assert {file.name for file in indexes.folder.iterdir()} == {
        span.name.replace(".parquet", ".index") for span in log.spans()
    }
    assert path.exists()


def test_a_segment_that_is_gone_hinders_no_seal_and_is_named_by_a_look_up(log):
    log.append(make_rows(2, request_id=["a", "b"]))
    (span,) = log.seal()
    span.path.unlink()
    (path,) = RequestIndexes(log.folder).folder.iterdir()
    path.unlink()
    log.append(make_rows(2, request_id=["c", "d"]))
    log.seal()
    with pytest.raises(PredictionLogError, match=span.name):
        found(log, "a")


def test_where_it_cannot_be_kept_it_is_made_each_time(log):
    """Who may read a log need not be allowed to write into it."""
    log.append(make_rows(2, request_id=["a", "b"]))
    log.seal()
    indexes = RequestIndexes(log.folder)
    (path,) = indexes.folder.iterdir()
    path.unlink()
    indexes.folder.rmdir()
    indexes.folder.write_text("no folder")
    for _ in range(2):
        assert len(found(log, "a")) == 1
    assert indexes.folder.read_text() == "no folder"


def test_rows_of_the_index_are_those_of_the_segment_however_the_ids_came(log):
    """Batches are appended in any order; a segment is in the order of its ids."""
    batches = [make_rows(7, request_id=[f"{i}-{row}" for row in range(7)]) for i in range(9)]
    for number in np.random.default_rng(3).permutation(9):
        log.append(batches[number])
    log.seal()
    for i, batch in enumerate(batches):
        assert found(log, f"{i}-4") == [id_text(batch["prediction_id"][4].as_py())]
