"""What operators rely on: metrics, log lines, traces, live against ready, and a stop that loses no request."""

import json
import resource
import signal
import threading
from datetime import UTC, datetime

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.stack import ROW, Stack, infer_body, scoring, until
from trimtab.predictions import PredictionLog

START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
LOAN = {"model": "loan", "version": "1"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A gateway that serves version 1 of loan, and was asked for a JSON line a request."""
    stack = Stack(tmp_path_factory.mktemp("home"), {"TRIMTAB_LOG_FORMAT": "json", "TRIMTAB_LOG_REQUESTS": "true"})
    try:
        stack.start_gateway()
        stack.scorer_url, _ = stack.scorer()
        with stack.client() as client:
            client.switch(stack.route(stack.scorer_url))
        yield stack
    finally:
        stack.stop()


def post(stack, body=None, path="/v2/models/loan/infer", **headers):
    return httpx.post(f"{stack.url}{path}", content=body or infer_body(), headers=headers)


def metrics(stack):
    """The samples of a scrape, by name and labels."""
    families = text_string_to_metric_families(httpx.get(f"{stack.url}/metrics").text)
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def of(name, **labels):
    return (f"trimtab_gateway_{name}", *sorted(labels.items()))


def lines(stack):
    return [json.loads(line) for line in (stack.home / "gateway.log").read_text().splitlines()]


def test_a_scrape_counts_what_was_asked_and_answered(gateway):
    before = metrics(gateway)

    def grown(name, **labels):
        return after.get(of(name, **labels), 0) - before.get(of(name, **labels), 0)

    two = {name: values * 2 for name, values in ROW.items()}
    statuses = [
        post(gateway).status_code,
        post(gateway, infer_body(two)).status_code,
        post(gateway, json.dumps({"inputs": ROW}).encode(), "/invocations").status_code,
        post(gateway, b"{").status_code,
        post(gateway, infer_body({**ROW, "income": [-666.0]})).status_code,
        post(gateway, path="/v2/models/nobody/infer").status_code,
    ]
    assert statuses == [200, 200, 200, 400, 503, 404]
    after = metrics(gateway)
    for status, number in (("200", 3), ("400", 1), ("503", 1)):
        assert grown("requests_total", **LOAN, status=status) == number
    assert grown("requests_total", model="_unknown", version="", status="404") == 1
    assert grown("request_duration_seconds_count", **LOAN) == 3
    assert 0 < grown("request_duration_seconds_sum", **LOAN) < 60
    assert grown("batch_rows_sum", **LOAN) == 4
    assert grown("scoring_duration_seconds_count", **LOAN) == grown("log_commit_duration_seconds_count", **LOAN) == 3
    assert after[of("log_lag_max_seconds", **LOAN)] >= after[of("log_lag_seconds", **LOAN)] > 0
    assert after[of("queue_rows", **LOAN)] == 0
    assert after[of("ready")] == 1
    assert after[("process_open_fds",)] > 0
    assert of("unsealed_rows", model="loan") in after
    response = httpx.get(f"{gateway.url}/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_what_never_became_a_request_is_counted(gateway):
    before = metrics(gateway)
    answers = [
        httpx.get(f"{gateway.url}/ping", headers={"x-long": "x" * 100_000}).status_code,
        post(gateway, b" " * (gateway.settings.max_body_bytes + 1)).status_code,
    ]
    assert answers == [431, 413]
    after = metrics(gateway)
    for status in ("431", "413"):
        name = of("refused_connections_total", status=status)
        assert after[name] - before.get(name, 0) == 1
    assert after[of("connections")] >= 1
    assert after[of("buffered_bytes")] == 0


def test_a_line_a_request_names_it_and_holds_nothing_of_its_values(gateway):
    body = infer_body({**ROW, "income": [4711.25], "region": ["atlantis"]}, request_id="r-17")
    answer = post(gateway, body, **{"x-trimtab-caller": "branch-7", "traceparent": TRACEPARENT}).json()
    post(gateway, b'{"inputs": "atlantis"}', **{"x-request-id": "r-18"})
    answered, refused = (
        next(line for line in lines(gateway) if line.get("request_id") == name) for name in ("r-17", "r-18")
    )
    assert answered.pop("duration_ms") > 0
    assert datetime.fromisoformat(answered.pop("time")).tzinfo is not None
    assert answered == {
        "level": "info",
        "logger": "trimtab.requests",
        "message": "request",
        **LOAN,
        "status": 200,
        "rows": 1,
        "caller": "branch-7",
        "request_id": "r-17",
        "prediction_id": answer["outputs"][2]["data"][0],
        "trace_id": TRACE_ID,
    }
    assert (refused["status"], refused["model"]) == (400, "loan")
    text = (gateway.home / "gateway.log").read_text()
    assert "4711" not in text
    assert "atlantis" not in text


def test_a_trace_is_passed_to_the_scorer_and_answered_and_a_malformed_one_is_not(gateway):
    response = post(gateway, traceparent=TRACEPARENT, tracestate="a=1,b=2")
    assert response.headers["traceparent"] == TRACEPARENT
    assert httpx.get(f"{gateway.scorer_url}/v2/models/loan").json()["trace"] == f"{TRACEPARENT}|a=1,b=2"
    response = post(gateway, b"{", traceparent=TRACEPARENT)
    assert (response.status_code, response.headers["traceparent"]) == (400, TRACEPARENT)
    response = post(gateway, traceparent=TRACEPARENT.upper(), tracestate="a=1")
    assert response.status_code == 200
    assert "traceparent" not in response.headers
    assert httpx.get(f"{gateway.scorer_url}/v2/models/loan").json()["trace"] == ""


def test_live_is_not_ready_while_the_log_cannot_be_written(gateway):
    unlimited = resource.prlimit(gateway.gateway.pid, resource.RLIMIT_FSIZE)

    def ready():
        return [httpx.get(f"{gateway.url}{path}").status_code for path in ("/ping", "/v2/health/ready")]

    assert ready() == [200, 200]
    resource.prlimit(gateway.gateway.pid, resource.RLIMIT_FSIZE, (1, unlimited[1]))
    try:
        until(lambda: ready() == [503, 503], "the gateway is not ready")
        reason = httpx.get(f"{gateway.url}/v2/health/ready").json()["error"]
        assert reason.startswith("the prediction log cannot be written in ")
        assert httpx.get(f"{gateway.url}/v2/health/live").json() == {"live": True}
    finally:
        resource.prlimit(gateway.gateway.pid, resource.RLIMIT_FSIZE, unlimited)
    until(lambda: ready() == [200, 200], "the gateway is ready again")


def test_one_models_scorer_that_is_down_leaves_the_gateway_ready(gateway):
    url, process = gateway.scorer()
    with gateway.client() as client:
        client.switch(gateway.route(url, model="price"))
        process.kill()
        process.wait()
        assert httpx.get(f"{gateway.url}/v2/models/price/ready").status_code == 503
        assert httpx.get(f"{gateway.url}/v2/models/loan/ready").json()["ready"] is True
        assert httpx.get(f"{gateway.url}/v2/health/ready").json() == {"ready": True}
        client.withdraw("price")


def test_the_description_is_served_for_programs_and_people(gateway):
    described = httpx.get(f"{gateway.url}/openapi.json").json()
    infer = described["paths"]["/v2/models/loan/infer"]["post"]
    example = infer["requestBody"]["content"]["application/json"]["schema"]["examples"][0]
    assert post(gateway, json.dumps(example).encode()).status_code == 200
    page = httpx.get(f"{gateway.url}/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "/v2/models/loan/infer" in page.text


def test_a_stop_is_announced_and_answers_what_is_under_way_and_what_still_comes(make_stack, tmp_path):
    """On SIGTERM: not ready at once, live and answering until the delay is over, then exit code 0; nothing is lost."""
    # Within the delay a handful of calls is made, by a client that is there already: some milliseconds' work.
    stack = make_stack(TRIMTAB_DRAIN_DELAY_S="5")
    stack.start_gateway()
    held = tmp_path / "held"
    held.touch()
    url, _ = stack.scorer(0.0, 0.0, f"--held-by={held}")
    told = []

    def predict(income):
        told.append(http.post("/v2/models/loan/infer", content=infer_body({**ROW, "income": [income]})))

    with stack.client() as client:
        client.switch(stack.route(url))
    with httpx.Client(base_url=stack.url, timeout=120) as http:
        early = threading.Thread(target=predict, args=[4711.25])
        early.start()
        until(lambda: scoring(url), "the first request is with the scorer")
        stack.gateway.send_signal(signal.SIGTERM)
        until(lambda: http.get("/v2/health/ready").status_code == 503, "it says that it is not ready")
        assert http.get("/v2/health/ready").json() == {"error": "the gateway is shutting down"}
        assert http.get("/v2/models/loan/ready").status_code == 503
        assert http.get("/v2/health/live").status_code == 200
        late = threading.Thread(target=predict, args=[4712.25])
        late.start()
        held.unlink()
        assert stack.gateway.wait(timeout=120) == 0
        early.join()
        late.join()
    assert sorted(answer.json()["outputs"][0]["data"][0] for answer in told) == [4711.25, 4712.25]
    assert all(answer.headers["connection"] == "close" for answer in told)
    log = PredictionLog(stack.settings.predictions_dir / "loan").read(START, END)
    assert sorted(log["income"].to_pylist()) == [4711.25, 4712.25]
    # Without TRIMTAB_LOG_REQUESTS that is all there is to say.
    said = [line.split(": ", 1)[1] for line in (stack.home / "gateway.log").read_text().splitlines()]
    assert said == [f"listening on 127.0.0.1 port {stack.port}, plain; models: []", "SIGTERM: stopping", "stopped"]
