"""Every request that cannot be answered is refused with what is wrong, where, and what would be right."""

import asyncio
import socket
from datetime import UTC, datetime

import httpx
import pytest

from tests.serving.stack import ROW, Stack, infer_body
from trimtab.predictions import PredictionLog
from trimtab.serving.gateway import Gateway
from trimtab.settings import Settings
from trimtab.wire.http import Server, listen


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """One gateway for the whole table: bad requests leave no trace."""

    stack = Stack(tmp_path_factory.mktemp("home"), {"TRIMTAB_MAX_ROWS": "100", "TRIMTAB_MAX_BODY_BYTES": "20000"})
    try:
        stack.start_gateway()
        stack.serve_loan()
        yield stack
        folder = stack.settings.predictions_dir / "loan"

        rows = PredictionLog(folder).read(datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
        assert len(rows) == 0, "a refused request was logged"
    finally:
        stack.stop()


def with_column(name, values):
    return infer_body({**ROW, name: values})


def raw(text):
    """The good request, its income replaced by this text, which need not be JSON."""
    return infer_body().replace(b"[1.5]", text)


COLUMNS = "['income', 'age', 'region', 'employed']"

BAD = {
    "no JSON": (b"{", 400, ["not the JSON that is asked for"]),
    "nested without end in an unknown field": (b'{"x":' + b"[" * 19_000, 400, ["not the JSON", "recursion"]),
    "nested without end in a parameter": (b'{"parameters":{"x":' + b"[" * 19_000, 400, ["not the JSON"]),
    "nested deep for a value": (raw(b"[" * 901 + b"]" * 901), 400, ["'income', row 0", "finite number"]),
    "no inputs": (b"{}", 400, ["inputs"]),
    "not UTF-8": (b'{"id": "\xff\xfe"}', 400, ["not the JSON"]),
    "NaN": (raw(b"[NaN]"), 400, ["'income', row 0", "NaN", "finite number or null"]),
    "Infinity": (raw(b"[-Infinity]"), 400, ["'income', row 0", "-Infinity", "finite number"]),
    "beyond floats": (raw(b"[1e999]"), 400, ["'income', row 0", "Infinity", "finite number"]),
    "a whole number beyond floats": (raw(b"[1" + b"0" * 400 + b"]"), 400, ["'income', row 0", "finite number"]),
    "whole numbers beyond floats of which the sum is small": (
        infer_body({"income": [0], "age": [1, 2], "region": ["a"] * 2, "employed": [True] * 2})
        .replace(b"[0]", b"[1" + b"0" * 400 + b",-1" + b"0" * 400 + b"]")
        .replace(b"[1]", b"[2]", 1),
        400,
        ["'income', row 0", "finite number"],
    ),
    "a missing column": (
        infer_body({k: v for k, v in ROW.items() if k != "age"}),
        400,
        ["lacks columns ['age']", COLUMNS],
    ),
    "an unknown column": (infer_body({**ROW, "shoe": [44]}), 400, ["unknown columns ['shoe']", COLUMNS]),
    "a misspelt column": (
        infer_body({("Age" if k == "age" else k): v for k, v in ROW.items()}),
        400,
        ["lacks columns ['age'] and has unknown columns ['Age']"],
    ),
    "text for a number": (with_column("income", ["1.5"]), 400, ["'income', row 0", '"1.5"', "finite number"]),
    "true for a number": (with_column("income", [True]), 400, ["'income', row 0", "true", "finite number"]),
    "a fraction for an integer": (with_column("age", [30.5]), 400, ["'age', row 0", "30.5", "whole number"]),
    "an integer beyond 64 bits": (with_column("age", [2**63]), 400, ["'age', row 0", str(2**63), "64 bits"]),
    "null where none is allowed": (with_column("age", [None]), 400, ["'age', row 0", "null", "not null"]),
    "a number for a category": (with_column("region", [7]), 400, ["'region', row 0", "7", "a string"]),
    "a number for a boolean": (with_column("employed", [1]), 400, ["'employed', row 0", "1", "true or false"]),
    "a list for a value": (with_column("income", [[1.5]]), 400, ["'income', row 0", "[1.5]", "finite number"]),
    "half a surrogate": (
        infer_body().replace(b"north", b"\\ud800"),
        400,
        ["not the JSON that is asked for"],
    ),
    "a later row": (
        infer_body({"income": [1.0, 2.0, "x"], "age": [1, 2, 3], "region": ["a"] * 3, "employed": [True] * 3}),
        400,
        ["'income', row 2", '"x"'],
    ),
    "an empty batch": (infer_body({name: [] for name in ROW}), 400, ["no rows", "at least one"]),
    "no columns": (b'{"inputs": []}', 400, ["no rows"]),
    "ragged columns": (with_column("age", [1, 2]), 400, ["'age' has 2 rows", "'income' has 1"]),
    "a wrong shape": (infer_body().replace(b'"shape":[1]', b'"shape":[7]', 1), 400, ["'income'", "[7]", "must be [1]"]),
    "a wrong datatype": (
        infer_body().replace(b'"datatype":"FP64"', b'"datatype":"BYTES"'),
        400,
        ["'income'", "'BYTES'", "FP64"],
    ),
    "a column twice": (
        infer_body().replace(b'"inputs":[', b'"inputs":[{"name":"age","shape":[1],"datatype":"INT64","data":[1]},'),
        400,
        ["['age']", "more than once"],
    ),
    "an event time without timezone": (
        infer_body(event_time="2024-01-31T12:00:00"),
        400,
        ["event_time", "2024-01-31T12:00:00", "timezone"],
    ),
    "an event time that is none": (infer_body(event_time="soon"), 400, ["event_time", '"soon"', "ISO 8601"]),
    "an event time that is a number": (infer_body(event_time=[12]), 400, ["event_time, row 0", "12", "ISO 8601"]),
    "an event time after the last year in UTC": (
        infer_body(event_time="9999-12-31T23:59:59-14:00"),
        400,
        ["event_time", "9999-12-31T23:59:59-14:00", "years 1 to 9999"],
    ),
    "an event time before the first year in UTC": (
        infer_body(event_time=["0001-01-01T00:00:00+14:00"]),
        400,
        ["event_time, row 0", "0001-01-01T00:00:00+14:00", "years 1 to 9999"],
    ),
    "too few event times": (
        infer_body(event_time=["2024-01-31T12:00:00Z"] * 2),
        400,
        ["event_time has 2 values", "1 rows"],
    ),
    "too many rows": (infer_body({k: v * 101 for k, v in ROW.items()}), 413, ["101 rows", "at most 100"]),
    "a long id": (infer_body(request_id="x" * 201), 400, ["the request's id has 201 characters; it may have 200"]),
    "too large a body": (b" " * 20001, 413, ["20001 bytes", "20000"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_v2_request_is_refused(gateway, name):
    body, status, parts = BAD[name]
    response = httpx.post(f"{gateway.url}/v2/models/loan/infer", content=body)
    assert response.status_code == status, response.text
    message = response.json()["error"]
    assert all(part in message for part in parts), message


def test_a_body_that_does_not_say_how_long_it_is_is_still_bounded(gateway):
    parts = (b" " * 5000 for _ in range(10))
    response = httpx.post(f"{gateway.url}/v2/models/loan/infer", content=parts)
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "exactly one of"),
        ({"inputs": ROW, "dataframe_records": []}, "exactly one of"),
        ({"dataframe_split": {"columns": list(ROW), "data": [[1.0, 2]]}}, "row 0 has 2 values; it must have 4"),
        ({"dataframe_records": [{k: v[0] for k, v in ROW.items()}, {"age": 1}]}, "row 1 and row 0 differ in columns"),
        ({"dataframe_records": []}, "no rows"),
        ({"inputs": {**ROW, "age": ["x"]}}, "'age', row 0"),
        ({"inputs": ROW, "params": {"event_time": "soon"}}, "event_time"),
        ([1], "Expected `object`"),
    ],
)
def test_a_bad_mlflow_request_is_refused(gateway, body, part):
    response = httpx.post(f"{gateway.url}/models/loan/invocations", json=body)
    assert response.status_code == 400
    assert part in response.json()["error"]


def test_an_unknown_model_is_answered_with_those_that_there_are(gateway):
    for path in (
        "/v2/models/tax/infer",
        "/models/tax/invocations",
        "/invocations?model=tax",
        "/v2/models/tax/outcomes",
    ):
        response = httpx.post(gateway.url + path, content=b'{"outcomes": []}')
        assert (response.status_code, response.json()["error"]) == (404, "there is no model 'tax'; there are ['loan']")


@pytest.mark.parametrize("path", ["/models/loan/invocations", "/v2/models/loan/outcomes"])
def test_nesting_without_end_is_refused_at_every_address(gateway, path):
    response = httpx.post(gateway.url + path, content=b'{"x":' + b"[" * 19_000)
    assert response.status_code == 400
    assert "not the JSON that is asked for" in response.json()["error"]


@pytest.mark.parametrize("model", ["a" * 300, "", "..", "%2e%2e", "loan%0a", "lo%00an", "Loan"])
def test_outcomes_for_a_name_that_no_model_can_have_are_refused(gateway, model):
    with socket.create_connection(("127.0.0.1", gateway.port)) as caller:
        head = (
            f"POST /v2/models/{model}/outcomes HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 15\r\n\r\n"
        )
        caller.sendall(head.encode() + b'{"outcomes":[]}')
        answer = b"".join(iter(lambda: caller.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 404 "), answer
    assert b"there is no model" in answer


def test_an_unknown_address_is_answered_with_those_that_there_are(gateway):
    response = httpx.get(f"{gateway.url}/predict")
    assert response.status_code == 404
    message = response.json()["error"]
    assert all(part in message for part in ("GET /predict", "POST /v2/models/{model}/infer", "docs/gateway.md")), (
        message
    )


def test_whole_numbers_sent_as_floats_are_taken_for_integers(gateway):
    """JSON writers that know one kind of number only are served, too (checked against a second model)."""
    url, _ = gateway.scorer()
    with gateway.client() as client:
        client.switch(gateway.route(url, model="second"))
        answer = client.infer("second", {**ROW, "age": [30.0], "income": [2]})
        assert client.prediction(answer["prediction_id"][0])["record"]["age"] == 30
        client.withdraw("second")


@pytest.mark.parametrize("number", ["9007199254740993", "9223372036854775808", "1" + "0" * 300, "-9007199254740993"])
def test_whole_numbers_beyond_what_floats_tell_apart_are_taken_as_the_nearest(gateway, number):
    url, _ = gateway.scorer()
    with gateway.client() as client:
        client.switch(gateway.route(url, model="second"))
        response = httpx.post(f"{gateway.url}/v2/models/second/infer", content=raw(f"[{number}]".encode()))
        assert response.status_code == 200, response.text
        outputs = {output["name"]: output["data"][0] for output in response.json()["outputs"]}
        assert outputs["score"] == float(number)
        assert client.prediction(outputs["prediction_id"])["record"]["income"] == float(number)
        client.withdraw("second")


def test_without_the_callers_token_nothing_is_answered(make_stack):
    stack = make_stack(TRIMTAB_GATEWAY_TOKEN="secret")
    stack.start_gateway()
    url, _ = stack.scorer()
    with stack.client() as client:
        client.switch(stack.route(url))
        prediction_id = client.infer("loan", ROW)["prediction_id"][0]
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "secret"}):
        answers = [
            httpx.post(f"{stack.url}/v2/models/loan/infer", content=infer_body(), headers=headers),
            httpx.post(f"{stack.url}/v2/models/loan/outcomes", content=b'{"outcomes": []}', headers=headers),
            httpx.get(f"{stack.url}/predictions/{prediction_id}", headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [401] * 3


def test_a_fault_of_the_gateway_itself_is_answered_as_json_and_logged(tmp_path, monkeypatch, caplog):
    async def broken(*_):
        raise ZeroDivisionError("what nobody thought of")

    async def ask():
        gateway = Gateway(Settings.from_env({"TRIMTAB_HOME": str(tmp_path)}))
        monkeypatch.setattr(gateway, "_answer", broken)
        server, listener = Server(gateway), listen("127.0.0.1", 0)
        await server.start(listener)
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/v2")
        await server.stop(5)
        return answer

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error; the log has the details"}
    assert "GET /v2 failed" in caplog.text
    assert "what nobody thought of" in caplog.text
