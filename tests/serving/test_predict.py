"""Predictions through a running gateway and a real scorer, in both protocols."""

import asyncio
import itertools
from collections import Counter
from datetime import UTC, datetime

import httpx
import pytest

from tests.serving.stack import ROW, infer_body
from trimtab.errors import RequestError, ServiceUnavailableError, UnknownPredictionError
from trimtab.predictions import PredictionLog

START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
TWO_ROWS = {"income": [1.5, None], "age": [30, 41], "region": ["north", None], "employed": [True, False]}
ROWS = [list(row) for row in zip(*TWO_ROWS.values(), strict=True)]


def test_a_v2_request_is_answered_with_scores_labels_and_ids(served):
    answer = httpx.post(f"{served.url}/v2/models/loan/infer", content=infer_body(TWO_ROWS, request_id="mine")).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("loan", "1", "mine")
    assert answer["parameters"] == {"release_id": "release-1"}
    score, label, ids = answer["outputs"]
    assert (score["name"], score["datatype"], score["shape"], score["data"]) == ("score", "FP64", [2], [1.5, 0.0])
    assert (label["name"], label["datatype"], label["data"]) == ("label", "INT64", [1, 0])
    assert (ids["name"], ids["datatype"], len(set(ids["data"]))) == ("prediction_id", "BYTES", 2)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": list(TWO_ROWS), "data": ROWS}},
        {"dataframe_records": [dict(zip(TWO_ROWS, row, strict=True)) for row in ROWS]},
        {"inputs": TWO_ROWS},
    ],
    ids=lambda body: next(iter(body)),
)
@pytest.mark.parametrize("path", ["/models/loan/invocations", "/invocations?model=loan", "/invocations"])
def test_each_form_of_mlflows_contract_is_answered(served, path, body):
    answer = httpx.post(served.url + path, json=body).json()
    assert [row["score"] for row in answer["predictions"]] == [1.5, 0.0]
    assert [row["label"] for row in answer["predictions"]] == [1, 0]
    assert answer["model_version"] == "1"
    with served.client() as client:
        assert client.prediction(answer["predictions"][1]["prediction_id"])["record"]["age"] == 41


def test_a_regression_answers_no_label(served):
    url, _ = served.scorer(offset=10)
    with served.client() as client:
        client.switch(served.route(url, model="price", kind="regression"))
        answer = client.infer("price", ROW)
    assert answer["score"] == [11.5]
    assert "label" not in answer
    response = httpx.post(f"{served.url}/models/price/invocations", json={"inputs": ROW}).json()
    assert response["predictions"][0].keys() == {"score", "prediction_id"}


def test_what_was_asked_and_answered_stands_in_the_log(served):
    moments = [datetime(2024, 1, 31, 12, tzinfo=UTC), datetime(2024, 1, 31, 13, tzinfo=UTC)]
    with served.client() as client:
        answer = client.infer("loan", TWO_ROWS, moments)
        record = client.prediction(answer["prediction_id"][1])["record"]
    log = PredictionLog(served.settings.predictions_dir / "loan").read(moments[0], END)
    assert log["event_time"].to_pylist() == moments
    assert log.select(list(TWO_ROWS)).to_pydict() == TWO_ROWS
    assert log["score"].to_pylist() == answer["score"]
    assert record["event_time"] == "2024-01-31T13:00:00Z"
    assert (record["income"], record["version"], record["release_id"]) == (None, "1", "release-1")


def test_the_caller_and_the_request_are_named_in_the_log(served):
    headers = {"x-trimtab-caller": "branch-7", "x-request-id": "r-1"}
    httpx.post(f"{served.url}/v2/models/loan/infer", content=infer_body(), headers=headers).raise_for_status()
    log = PredictionLog(served.settings.predictions_dir / "loan").read(START, END)
    assert log.select(["caller", "request_id"]).to_pylist() == [{"caller": "branch-7", "request_id": "r-1"}]


@pytest.mark.parametrize("coding", ["utf-8", "latin-1"])
def test_names_in_headers_are_found_again_by_what_their_caller_wrote(served, coding):
    """Curl sends what the terminal gave it, mostly UTF-8; HTTP once asked for Latin-1."""
    headers = {b"x-trimtab-caller": "Köln".encode(coding), b"x-request-id": "Müller-1".encode(coding)}
    httpx.post(f"{served.url}/v2/models/loan/infer", content=infer_body(), headers=headers).raise_for_status()
    for query in ({"request_id": "Müller-1"}, {"caller": "Köln"}):
        assert len(httpx.get(f"{served.url}/predictions", params=query).json()["predictions"]) == 1


def test_one_request_that_the_scorer_refuses_does_not_fail_its_neighbours(served):
    """Requests that share a batch have each their own fate."""

    async def three():
        async with httpx.AsyncClient() as http:
            bodies = [infer_body({**ROW, "income": [income]}) for income in (1.0, -666.0, 2.0) * 20]
            posts = [http.post(f"{served.url}/v2/models/loan/infer", content=body) for body in bodies]
            return await asyncio.gather(*posts)

    answers = asyncio.run(three())
    assert [answer.status_code for answer in answers] == [200, 503, 200] * 20
    assert len(PredictionLog(served.settings.predictions_dir / "loan").read(START, END)) == 40


def test_a_score_that_is_no_number_is_neither_answered_nor_logged(served):
    response = httpx.post(f"{served.url}/v2/models/loan/infer", content=infer_body({**ROW, "income": [-999.0]}))
    assert response.status_code == 503
    assert "scorer of loan version 1" in response.json()["error"]
    assert len(PredictionLog(served.settings.predictions_dir / "loan").read(START, END)) == 0


def test_a_scorer_that_died_is_named_and_nothing_is_logged(served):
    url, process = served.scorer()
    with served.client() as client:
        client.switch(served.route(url, version="2"))
        assert client.ready("loan")
        process.kill()
        process.wait()
        with pytest.raises(ServiceUnavailableError, match=f"scorer of loan version 2 at {url} does not answer"):
            client.infer("loan", ROW)
        assert not client.ready("loan")
    assert len(PredictionLog(served.settings.predictions_dir / "loan").read(START, END)) == 0


def test_the_server_and_its_models_describe_themselves(served):
    assert httpx.get(f"{served.url}/v2").json()["name"] == "trimtab"
    assert httpx.get(f"{served.url}/v2/health/ready").status_code == 200
    with served.client() as client:
        metadata = client.metadata("loan")
        assert (metadata["artifact_digest"], metadata["versions"]) == ("digest", ["1"])
        assert metadata["route"]["release_id"] == "release-1"
        with pytest.raises(RequestError, match=r"no model 'tax'; there are \['loan'\]"):
            client.metadata("tax")
        with pytest.raises(UnknownPredictionError, match="searched the logs of no model"):
            client.prediction("01a20724-2827-701d-b204-c0f625df39a4")
    assert httpx.get(f"{served.url}/predictions/nonsense").status_code == 404
    assert httpx.get(f"{served.url}/elsewhere").status_code == 404


def test_beyond_the_queue_requests_are_told_to_come_back(make_stack, tmp_path):
    stack = make_stack(TRIMTAB_MAX_QUEUE_ROWS="4")
    stack.start_gateway()
    held = tmp_path / "held"
    held.touch()
    url, _ = stack.scorer(0.0, 0.0, f"--held-by={held}")
    with stack.client() as client:
        client.switch(stack.route(url))

    async def burst():
        """The scorer is let go when all that the queue does not hold are answered."""
        async with httpx.AsyncClient(timeout=120) as http:
            url = f"{stack.url}/v2/models/loan/infer"
            posts = [asyncio.create_task(http.post(url, content=infer_body())) for _ in range(12)]
            first = [await answer for answer in itertools.islice(asyncio.as_completed(posts), 8)]
            held.unlink()
            return first, await asyncio.gather(*posts)

    refused, answers = asyncio.run(burst())
    assert [answer.status_code for answer in refused] == [429] * 8
    assert Counter(answer.status_code for answer in answers) == {200: 4, 429: 8}
    assert all(answer.headers["retry-after"] == "1" and "rows wait" in answer.text for answer in refused)
    assert len(PredictionLog(stack.settings.predictions_dir / "loan").read(START, END)) == 12 - len(refused)


def test_a_gateway_that_is_down_is_named(make_stack):
    with make_stack().client() as client, pytest.raises(ServiceUnavailableError, match="does not answer"):
        client.infer("loan", ROW)


def test_a_scorer_that_serves_another_artifact_is_not_asked(stack):
    """Another model that comes up on the scorer's port makes no predictions in the old one's name."""
    url, process = stack.scorer()
    port = url.rpartition(":")[2]
    with stack.client() as client:
        client.switch(stack.route(url))
        client.infer("loan", ROW)
        process.kill()
        process.wait()
        _, other = stack.scorer(100.0, 0.0, f"--port={port}", "--digest=another")
        with pytest.raises(ServiceUnavailableError, match="it states the digest another, the route has digest"):
            client.infer("loan", ROW)
        other.kill()
        other.wait()
        stack.scorer(0.0, 0.0, f"--port={port}")
        assert client.infer("loan", ROW)["score"] == [1.5]
