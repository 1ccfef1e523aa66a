"""Look-ups, listings and scans give the same wherever segments live: a folder, S3, or some here and some there."""

from __future__ import annotations

import duckdb
import pytest

from tests.prediction_rows import LATER, T0, make_rows
from tests.s3_servers import credentials, moto_server, new_bucket
from trimtab.predictions import PredictionLog, Query, find_prediction, list_predictions, open_scan, register
from trimtab.predictions.request_index import RequestIndexes
from trimtab.settings import Settings


@pytest.fixture(scope="module")
def in_s3(tmp_path_factory):
    with (
        moto_server(tmp_path_factory.mktemp("moto")) as url,
        credentials("moto"),
        new_bucket(url) as bucket,
    ):
        yield Settings(segments_url=f"{bucket}/logs", s3_endpoint_url=url)


@pytest.mark.parametrize("homes", [("folder", "folder"), ("s3", "s3"), ("folder", "s3")])
def test_predictions_are_found_listed_and_scanned_wherever_they_are(homes, in_s3, tmp_path):
    """Two segments and the spool; the index of request ids lies with the log, and is made again from any home."""
    model = f"loan-{'-'.join(homes)}"
    batches = [
        make_rows(3, request_id=["a", f"b-{number}", "a"], score=[number / 4] * 3, caller=["web", None, "branch"])
        for number in range(3)
    ]
    for where, batch in zip(homes, batches, strict=False):
        log = PredictionLog(tmp_path / model, in_s3 if where == "s3" else Settings())
        log.append(batch)
        log.seal()
        log.close()
    log = PredictionLog(tmp_path / model, in_s3)
    log.append(batches[2])
    assert [span.home.is_remote for span in log.spans()] == [where == "s3" for where in homes]
    expected = [row for batch in batches for row in batch.to_pylist()]

    def listed(**asked):
        page = list_predictions(tmp_path, Query(newest_first=False, **asked), settings=in_s3)
        return [(record["request_id"], record["score"]) for _, record in page.predictions]

    assert listed() == [(row["request_id"], row["score"]) for row in expected]
    assert listed(caller="branch") == [("a", number / 4) for number in range(3)]
    for _ in range(2):
        assert listed(request_id="b-1") == [("b-1", 0.25)]
        assert listed(request_id="a") == [("a", number / 4) for number in (0, 0, 1, 1, 2, 2)]
        for path in RequestIndexes(log.folder).folder.iterdir():
            path.unlink()
    key = list_predictions(tmp_path, Query(request_id="b-0"), settings=in_s3).predictions[0][1]["prediction_id"]
    assert find_prediction(tmp_path, key, settings=in_s3)[1]["request_id"] == "b-0"
    scores = sorted(row["score"] for row in expected)
    with open_scan(log, T0, LATER, ["score"]) as reader:
        assert sorted(reader.read_all()["score"].to_pylist()) == scores
    with duckdb.connect() as connection:
        register(connection, "predictions", log, T0, LATER)
        found = connection.sql("SELECT score, caller, region FROM predictions ORDER BY score").fetchall()
        assert [row[0] for row in found] == scores
        assert {row[1:] for row in found} == {("web", "north"), (None, "north"), ("branch", "north")}
    log.close()
