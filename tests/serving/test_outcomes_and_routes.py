"""Outcomes through the gateway, and who may move its routes."""

import json
import os
import stat
import subprocess
import sys

import httpx
import msgspec
import pytest

from tests.serving.stack import ROW, infer_body
from trimtab.errors import OutcomeConflictError, RequestError, UnknownPredictionError

UNKNOWN = "01a20724-2827-701d-b204-c0f625df39a4"


def test_outcomes_are_kept_once_and_corrections_beside_them(served):
    with served.client() as client:
        one, two = (client.infer("loan", ROW)["prediction_id"][0] for _ in range(2))
        first = {"prediction_id": one, "value": 1, "observed_at": "2024-02-01T00:00:00Z"}
        assert client.outcomes("loan", [first]) == {"accepted": 1, "duplicates": 0, "corrected": 0}
        assert client.outcomes("loan", [first]) == {"accepted": 0, "duplicates": 1, "corrected": 0}
        with pytest.raises(OutcomeConflictError, match=f"{one} has the outcome 1; 0 contradicts it"):
            client.outcomes("loan", [{"prediction_id": two, "value": 0}, {**first, "value": 0}])
        assert client.prediction(two)["outcomes"] == [], "nothing of a refused post is stored"
        correction = {**first, "value": 0, "correction": True}
        assert client.outcomes("loan", [correction]) == {"accepted": 0, "duplicates": 0, "corrected": 1}
        found = client.prediction(one)
        assert found["outcome"] == 0
        assert [(past["value"], past["correction"]) for past in found["outcomes"]] == [(1, False), (0, True)]
        with pytest.raises(UnknownPredictionError, match=f"no prediction {UNKNOWN} is on record"):
            client.outcomes("loan", [{"prediction_id": two, "value": 0}, {"prediction_id": UNKNOWN, "value": 0}])
        assert client.prediction(two)["outcomes"] == []


@pytest.mark.parametrize(
    ("outcome", "part"),
    [
        ({"value": 2}, "outcome 0: the value is 2; of a binary model it must be 0 or 1"),
        ({"value": "1"}, "value"),
        ({}, "value"),
        ({"value": 1, "observed_at": "yesterday"}, 'outcome 0: observed_at is "yesterday"'),
        ({"value": 1, "observed_at": "9999-12-31T23:59:59-14:00"}, "outcome 0: observed_at is"),
        ({"value": 1, "observed_at": "0001-01-01T00:00:00+14:00"}, "years 1 to 9999"),
        ({"value": 1, "observed": "2024-02-01T00:00:00Z"}, "observed"),
    ],
)
def test_a_bad_outcome_is_refused_with_its_place(served, outcome, part):
    with served.client() as client:
        key = client.infer("loan", ROW)["prediction_id"][0]
        with pytest.raises(RequestError, match="outcome") as refusal:
            client.outcomes("loan", [{"prediction_id": key, **outcome}])
    assert refusal.value.status == 400
    assert part in str(refusal.value)


def test_outcomes_are_posted_as_csv_and_json_lines_by_the_callers_request_ids(served):
    with served.client() as client:
        for number in range(2):
            body = infer_body({**ROW, "income": [float(number)]}, request_id=f"order-{number}")
            assert httpx.post(f"{served.url}/v2/models/loan/infer", content=body).status_code == 200
        address = f"{served.url}/v2/models/loan/outcomes"
        posts = (
            ("text/csv", "request_id,value\norder-0,1\norder-1,0\n"),
            ("application/x-ndjson", '{"request_id": "order-0", "value": 1}\n{"request_id": "order-1", "value": 0}\n'),
        )
        answers = [
            httpx.post(address, content=content, headers={"content-type": kind}).json() for kind, content in posts
        ]
        assert answers == [
            {"accepted": 2, "duplicates": 0, "corrected": 0},
            {"accepted": 0, "duplicates": 2, "corrected": 0},
        ]
        with pytest.raises(UnknownPredictionError, match="no prediction of a request 'order-2' is on record"):
            client.outcomes("loan", [{"request_id": "order-2", "value": 0}])


def test_only_the_admin_token_moves_routes(served):
    file = served.settings.admin_token_file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {file.read_text()}"}):
        response = httpx.delete(f"{served.url}/admin/routes/loan", headers=headers)
        assert response.status_code == 401
        assert file.read_text() not in response.text
    with served.client() as client:
        assert list(client.routes()) == ["loan"]


def test_routes_outlive_the_gateway_and_are_withdrawn(served):
    with served.client() as client:
        route = client.routes()["loan"]
        assert client.switch(route) == route, "switching to what serves changes nothing"
        served.kill_gateway()
        served.start_gateway()
        assert client.routes() == {"loan": route}
        assert client.infer("loan", ROW)["score"] == [1.5]
        assert client.withdraw("loan") == route
        assert client.withdraw("loan") is None
        with pytest.raises(RequestError, match="no model 'loan'; no model is released yet"):
            client.infer("loan", ROW)
    assert json.loads((served.home / "routes.json").read_text()) == {"format_version": 1, "routes": {}}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"url": "ftp://x"}, "url is 'ftp://x'"),
        ({"url": "http://[::1"}, "url is 'http://[::1'"),
        ({"url": "http://host:99999"}, "url is 'http://host:99999'"),
        ({"kind": "ranking"}, "kind"),
        ({"features": []}, "at least one"),
        ({"model": "other"}, "'other'"),
        ({"speed": 9}, "speed"),
    ],
)
def test_a_route_that_could_not_answer_is_refused(stack, changes, part):
    route = {**json.loads(msgspec.json.encode(stack.route("http://127.0.0.1:9"))), **changes}
    token = stack.settings.admin_token_file.read_text()
    response = httpx.put(f"{stack.url}/admin/routes/loan", json=route, headers={"authorization": f"Bearer {token}"})
    assert response.status_code == 400
    assert part in response.json()["error"]


def test_a_damaged_file_of_routes_stops_the_start_and_is_named(make_stack):
    stack = make_stack()
    (stack.home / "routes.json").write_text('{"routes": {"loan": 1')
    ended = subprocess.run(
        [sys.executable, "-m", "trimtab.serving"],
        env={**os.environ, **stack.settings.as_env()},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ended.returncode != 0
    assert f"{stack.home / 'routes.json'} does not hold routes" in ended.stderr
