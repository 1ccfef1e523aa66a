"""Who is let in by a gateway that runs, to what, how that changes without a restart, and what of it is on record."""

from __future__ import annotations

import dataclasses
import os
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.certificates import Authority
from tests.serving.stack import ROW, Stack, infer_body, until
from trimtab.errors import RequestError, ServiceUnavailableError, UnknownPredictionError
from trimtab.serving.client import GatewayClient
from trimtab.serving.routes import RouteLimits
from trimtab.serving.token_store import TokenStore

THREE = {name: values * 3 for name, values in ROW.items()}


def bearer(text):
    return {"authorization": f"Bearer {text}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A gateway with two models and tokens: of every scope alone, for one model, and one for all."""
    stack = Stack(tmp_path_factory.mktemp("home"), {"TRIMTAB_LOG_REQUESTS": "true"})
    stack.store = TokenStore(stack.home)
    stack.texts = {}
    now = datetime.now(UTC)
    for name, scopes, models in (
        ("predicts", ["predict"], None),
        ("states", ["outcomes"], None),
        ("reads", ["read"], None),
        ("moves", ["admin"], ["loan"]),
        ("loans", ["predict", "outcomes", "read"], ["loan"]),
        ("all", ["predict", "outcomes", "read", "admin"], None),
    ):
        stack.texts[name] = stack.store.create(name, scopes, now, models)[1]
    try:
        stack.start_gateway()
        url, _ = stack.scorer()
        with stack.client() as client:
            for model in ("loan", "fraud"):
                client.switch(stack.route(url, model=model))
        yield stack
    finally:
        stack.stop()


def denied(stack):
    found = {}
    for family in text_string_to_metric_families(httpx.get(f"{stack.url}/metrics").text):
        for sample in family.samples:
            if sample.name.endswith("denied_calls_total"):
                found[sample.labels["reason"]] = sample.value
    return found


def calls(model, prediction_id):
    """Every guarded address: the scope that it takes, and the call."""
    infer = infer_body()
    return [
        ("predict", "POST", f"/v2/models/{model}/infer", infer),
        ("predict", "POST", f"/v2/models/{model}/versions/1/infer", infer),
        ("predict", "POST", f"/models/{model}/invocations", b'{"dataframe_records": []}'),
        ("predict", "POST", f"/invocations?model={model}", b'{"dataframe_records": []}'),
        ("outcomes", "POST", f"/v2/models/{model}/outcomes", b'{"outcomes": []}'),
        ("read", "GET", f"/predictions/{prediction_id}", None),
        ("read", "GET", f"/predictions?model={model}&limit=1", None),
        ("admin", "GET", "/admin/routes", None),
        ("admin", "DELETE", f"/admin/routes/{model}-not-there", None),
        (None, "GET", f"/v2/models/{model}", None),
        (None, "GET", "/openapi.json", None),
        (None, "GET", "/docs", None),
    ]


def test_every_address_takes_its_scope_and_says_401_or_403(guarded):
    """401 without a token that is known, 403 with one for something else; then the call itself is judged."""
    with GatewayClient(guarded.settings, guarded.texts["all"]) as client:
        key = client.infer("loan", ROW)["prediction_id"][0]
    before = denied(guarded)
    expected = {"missing": 0, "unknown": 0, "scope": 0}
    with httpx.Client(base_url=guarded.url) as http:
        for scope, method, path, content in calls("loan", key):
            for headers, reason in (({}, "missing"), (bearer("wrong"), "unknown")):
                answer = http.request(method, path, content=content, headers=headers)
                assert answer.status_code == 401, (path, answer.text)
                assert answer.headers["www-authenticate"] == "Bearer"
                expected[reason] += 1
            for name, holds in (("predicts", "predict"), ("states", "outcomes"), ("reads", "read")):
                answer = http.request(method, path, content=content, headers=bearer(guarded.texts[name]))
                if scope in (holds, None):
                    assert answer.status_code not in (401, 403), (path, name, answer.text)
                else:
                    assert answer.status_code == 403, (path, name, answer.text)
                    assert f"token '{name}'" in answer.json()["error"]
                    assert f"is not for {scope}; it is for {holds}" in answer.json()["error"]
                    expected["scope"] += 1
    after = denied(guarded)
    assert {reason: after[reason] - before[reason] for reason in expected} == expected, "every denied call is counted"


@pytest.mark.parametrize("path", ["/ping", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/loan/ready"])
def test_whoever_looks_after_the_gateway_needs_no_token(guarded, path):
    assert httpx.get(guarded.url + path).status_code == 200


def test_a_token_for_one_model_opens_no_other_and_learns_of_none(guarded):
    with GatewayClient(guarded.settings, guarded.texts["all"]) as client:
        theirs, other = (client.infer(model, ROW)["prediction_id"][0] for model in ("loan", "fraud"))
    with GatewayClient(guarded.settings, guarded.texts["loans"]) as client:
        assert client.prediction(theirs)["model"] == "loan"
        assert client.outcomes("loan", [{"prediction_id": theirs, "value": 1}])["accepted"] == 1
        for call in (
            lambda: client.infer("fraud", ROW),
            lambda: client.infer("tax", ROW),
            lambda: client.metadata("fraud"),
            lambda: client.outcomes("fraud", [{"prediction_id": other, "value": 1}]),
        ):
            with pytest.raises(RequestError, match=r"token 'loans' .* is not for model '(fraud|tax)'; it is for loan"):
                call()
        refusals = []
        for key in (other, "01a20724-2827-701d-b204-c0f625df39a4"):
            with pytest.raises(UnknownPredictionError) as refusal:
                client.prediction(key)
            refusals.append(str(refusal.value).replace(key, "id"))
        assert refusals[0] == refusals[1], "another model's prediction and none at all are told alike"
        assert "fraud" not in refusals[0]
    found = httpx.get(f"{guarded.url}/predictions?limit=1000", headers=bearer(guarded.texts["loans"]))
    assert theirs in found.text
    assert other not in found.text
    assert (
        httpx.get(f"{guarded.url}/predictions?model=fraud", headers=bearer(guarded.texts["loans"])).status_code == 403
    )
    answer = httpx.post(
        f"{guarded.url}/invocations", json={"inputs": ROW}, headers=bearer(guarded.texts["loans"])
    ).json()
    assert answer["model_name"] == "loan", "the only model that the token is for needs no name"
    with GatewayClient(guarded.settings, guarded.texts["moves"]) as client:
        assert list(client.routes()) == ["loan"]
        with pytest.raises(RequestError, match="is not for model 'fraud'"):
            client.withdraw("fraud")


def test_a_token_whose_model_is_not_served_learns_of_no_other(guarded):
    text = guarded.store.create("early", ["predict", "outcomes"], datetime.now(UTC), ["loan", "not-yet"])[1]
    with GatewayClient(guarded.settings, text) as client:
        for call in (
            lambda: client.infer("not-yet", ROW),
            lambda: client.metadata("not-yet"),
            lambda: client.outcomes("not-yet", []),
        ):
            with pytest.raises(RequestError, match=r"there is no model 'not-yet'; there are \['loan'\]$"):
                call()


def test_the_tokens_name_is_on_record_whatever_the_caller_says_of_itself(guarded):
    keys = []
    for header in ({}, {"x-trimtab-caller": "predicts"}, {"x-trimtab-caller": "branch-7"}):
        answer = httpx.post(
            f"{guarded.url}/v2/models/loan/infer",
            content=infer_body(),
            headers={**bearer(guarded.texts["loans"]), **header},
        ).json()
        keys.append(next(output["data"][0] for output in answer["outputs"] if output["name"] == "prediction_id"))
    with GatewayClient(guarded.settings, guarded.texts["reads"]) as client:
        callers = [client.prediction(key)["record"]["caller"] for key in keys]
    assert callers == ["loans", "loans/predicts", "loans/branch-7"]
    too_long = {**bearer(guarded.texts["loans"]), "x-trimtab-caller": "x" * 201}
    answer = httpx.post(f"{guarded.url}/v2/models/loan/infer", content=infer_body(), headers=too_long)
    assert (answer.status_code, "201 characters" in answer.text) == (400, True)


def test_the_flows_of_the_home_need_no_token_but_the_admins(guarded):
    with guarded.client() as client:
        assert sorted(client.routes()) == ["fraud", "loan"]
        assert client.metadata("loan")["route"]["model"] == "loan"
        with pytest.raises(RequestError, match=r"missing; .* TRIMTAB_GATEWAY_TOKEN holds the one that is sent"):
            client.infer("loan", ROW)


def test_a_token_is_rotated_and_revoked_under_load_without_a_restart_or_a_failed_request(guarded):
    """The old secret answers through the overlap, the new one within a second, neither once it is revoked."""
    old = guarded.store.create("busy", ["predict"], datetime.now(UTC))[1]
    stop, answered, failed = threading.Event(), [], []

    def keep_calling():
        with GatewayClient(guarded.settings, old) as client:
            while not stop.is_set():
                try:
                    answered.append(client.infer("loan", ROW))
                except RequestError as error:
                    if error.status != 401 or answered:
                        failed.append(error)
                        return

    callers = [threading.Thread(target=keep_calling) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        until(lambda: len(answered) > 20, "the new token is taken")
        new = guarded.store.rotate("busy", datetime.now(UTC), overlap_s=3600)[1]
        with GatewayClient(guarded.settings, new) as client:
            until(lambda: is_let_in(client), "the new secret is taken")
            seen = len(answered)
            until(lambda: len(answered) > seen + 20, "the old one still is")
            assert failed == []
            guarded.store.revoke("busy", datetime.now(UTC))
            until(lambda: not is_let_in(client), "the new secret is refused")
        until(lambda: len(failed) == 4, "the old one is refused to each caller")
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert {error.status for error in failed} == {401}
    assert all("token 'busy'" in str(error) and "was revoked" in str(error) for error in failed)
    assert denied(guarded)["revoked"] >= 5
    assert guarded.gateway.poll() is None


def is_let_in(client):
    try:
        client.infer("loan", ROW)
    except RequestError as error:
        if error.status != 401:
            raise
        return False
    return True


def test_no_secret_is_in_what_the_gateway_wrote(guarded):
    """Neither in its log, which tells each denied call by address and token id, nor in its files."""
    text = guarded.store.create("told", ["read"], datetime.now(UTC))[1]
    with GatewayClient(guarded.settings, text) as client:
        until(lambda: says(client, "is not for predict"), "the token is known")
    for headers in (bearer(text[:-1]), {"authorization": f"Basic {text}"}, {"authorization": text}):
        httpx.post(f"{guarded.url}/v2/models/loan/infer", content=infer_body(), headers=headers)
    log = (guarded.home / "gateway.log").read_text()
    assert "denied (scope): caller 127.0.0.1:" in log
    assert "denied (unknown): caller 127.0.0.1:" in log
    assert text.split("_")[1] in log, "the public id tells whose token it was"
    secrets = [each.rpartition("_")[2] for each in [*guarded.texts.values(), text]]
    secrets.append(guarded.settings.admin_token_file.read_text())
    for file in (path for path in guarded.home.rglob("*") if path.is_file() and path.name != "admin.token"):
        content = file.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], file


def says(client, part):
    with pytest.raises(RequestError) as refusal:
        client.infer("loan", ROW)
    return part in str(refusal.value)


def test_each_model_has_its_own_limits_within_the_gateways(guarded):
    url, _ = guarded.scorer()
    limits = RouteLimits(max_rows=2, max_body_bytes=2000)
    with GatewayClient(guarded.settings, guarded.texts["all"]) as client:
        client.switch(guarded.route(url, model="small", limits=limits))
        assert client.routes()["small"].limits == limits
        assert len(client.infer("loan", THREE)["score"]) == 3
        with pytest.raises(RequestError, match="3 rows; at most 2 are taken") as refusal:
            client.infer("small", THREE)
        assert refusal.value.status == 413
        with pytest.raises(RequestError, match="bytes; small takes at most 2000: send several requests") as refusal:
            client.infer("small", {**ROW, "region": ["x" * 2000]})
        assert refusal.value.status == 413
        assert client.infer("small", ROW)["score"] == [1.5]
        client.withdraw("small")


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("PUT", "/admin/routes/loan", {}),
        ("POST", "/v2/models/loan/outcomes", {}),
        ("POST", "/v2/models/loan/infer", {}),
        ("POST", "/v2/models/loan/infer", {"inference-header-content-length": "200000"}),
        ("POST", "/models/loan/invocations", {}),
    ],
)
def test_json_that_is_nested_without_end_is_refused_and_harms_nobody(guarded, method, path, headers):
    body = b'{"x":' + b"[" * 199_995
    sent = {**bearer(guarded.texts["all"]), **headers}
    answer = httpx.request(method, guarded.url + path, content=body, headers=sent)
    assert answer.status_code == 400, answer.text
    with GatewayClient(guarded.settings, guarded.texts["all"]) as client:
        assert client.infer("loan", ROW)["score"] == [1.5]


def test_a_full_queue_of_one_model_refuses_that_model_alone(guarded, tmp_path):
    held = tmp_path / "held"
    held.touch()
    url, process = guarded.scorer(0.0, 0.0, f"--held-by={held}")
    with GatewayClient(guarded.settings, guarded.texts["all"]) as client:
        client.switch(guarded.route(url, model="slow", limits=RouteLimits(max_queue_rows=1)))
        first = threading.Thread(target=lambda: client.infer("slow", ROW))
        first.start()
        until(lambda: httpx.get(f"{url}/v2/models/slow").json()["calls"] > 0, "the first request is being scored")
        with pytest.raises(RequestError, match="1 rows wait for slow, at most 1: try again") as refusal:
            client.infer("slow", ROW)
        assert refusal.value.status == 429
        assert client.infer("loan", ROW)["score"] == [1.5]
        held.unlink()
        first.join()
        client.withdraw("slow")
    process.kill()


def test_a_gateway_that_others_could_reach_does_not_start_open(make_stack):
    stack = make_stack()
    ended = subprocess.run(
        [sys.executable, "-m", "trimtab.serving", "--host", "0.0.0.0"],
        env={**os.environ, **stack.settings.as_env()},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ended.returncode == 1
    assert "would listen on '0.0.0.0', reachable from elsewhere, and let everyone in" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    """A gateway that speaks TLS and asks for a certificate."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, clients = Authority(folder, "authority"), Authority(folder, "clients")
    certificate, key = authority.issue("gateway")
    own, own_key = clients.issue("worker")
    files = {
        "TRIMTAB_TLS_CERT": certificate,
        "TRIMTAB_TLS_KEY": key,
        "TRIMTAB_TLS_CLIENT_CA": clients.file,
        "TRIMTAB_TLS_CA": authority.file,
        "TRIMTAB_TLS_CLIENT_CERT": own,
        "TRIMTAB_TLS_CLIENT_KEY": own_key,
    }
    stack = Stack(tmp_path_factory.mktemp("home"), {name: str(file) for name, file in files.items()})
    stack.authority = authority
    try:
        stack.start_gateway()
        stack.serve_loan()
        yield stack
    finally:
        stack.stop()


def test_over_tls_everything_works_as_without(encrypted):
    columns = {"income": [1.0] * 5000, "age": [30] * 5000, "region": ["north"] * 5000, "employed": [True] * 5000}
    with encrypted.client() as client:
        answer = client.infer("loan", columns)
        assert len(answer["score"]) == 5000
        assert client.prediction(answer["prediction_id"][-1])["record"]["region"] == "north"
        assert client.ready("loan")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tls_ca": ""}, "set TRIMTAB_TLS_CA to the authority that signed its certificate"),
        ({"tls_client_cert": "", "tls_client_key": ""}, "it may ask for a certificate: TRIMTAB_TLS_CLIENT_CERT"),
        ({"gateway_url": "http"}, "does not answer"),
    ],
)
def test_a_caller_that_does_not_fit_is_told_what_to_set(encrypted, changes, message):
    """No trust in the authority, no certificate of its own, no TLS at all: no answer to any of them."""
    if "gateway_url" in changes:
        changes = {"gateway_url": encrypted.url.replace("https", "http")}
    settings = dataclasses.replace(encrypted.settings, **changes)
    with GatewayClient(settings) as client, pytest.raises(ServiceUnavailableError, match=message):
        client.metadata("loan")


def test_a_certificate_of_another_authority_is_not_let_in(encrypted, tmp_path):
    certificate, key = Authority(tmp_path, "strangers").issue("worker")
    settings = dataclasses.replace(encrypted.settings, tls_client_cert=str(certificate), tls_client_key=str(key))
    with GatewayClient(settings) as client, pytest.raises(ServiceUnavailableError, match="another certificate than"):
        client.metadata("loan")


def test_a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not(encrypted):
    context = ssl.create_default_context(cafile=encrypted.settings.tls_ca)
    context.load_cert_chain(encrypted.settings.tls_client_cert, encrypted.settings.tls_client_key)

    def shown():
        with httpx.Client(verify=context) as client, client.stream("GET", f"{encrypted.url}/ping") as answer:
            return answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert()["serialNumber"]

    with encrypted.client() as kept:
        assert kept.infer("loan", ROW)["score"] == [1.5]
        first = shown()
        certificate, key = encrypted.authority.issue("gateway")
        second = shown()
        assert second != first
        good, its_certificate = key.read_bytes(), certificate.read_bytes()
        key.write_bytes(good[:40])
        assert shown() == second
        encrypted.authority.issue("gateway", valid=timedelta(hours=-1))
        assert shown() == second, "one that has expired is none that a caller takes"
        certificate.write_bytes(its_certificate)
        key.write_bytes(good)
        assert shown() == second
        assert kept.infer("loan", ROW)["score"] == [1.5], "a connection from before goes on"
    log = (encrypted.home / "gateway.log").read_text()
    assert "the certificate known until now stays in use" in log
    assert good.decode().splitlines()[1] not in log


def test_a_token_for_one_model_is_described_that_model_alone(guarded):
    described = httpx.get(f"{guarded.url}/openapi.json", headers=bearer(guarded.texts["loans"]))
    page = httpx.get(f"{guarded.url}/docs", headers=bearer(guarded.texts["loans"]))
    for text in (described.text, page.text):
        assert "/v2/models/loan/infer" in text
        assert "fraud" not in text
    infer = described.json()["paths"]["/v2/models/loan/infer"]["post"]
    assert infer["security"] == [{"token": ["predict"]}]
