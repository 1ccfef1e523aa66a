"""Clients that others wrote, unmodified, get their predictions from a running gateway."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
import tritonclient.http as triton
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from tritonclient.utils import InferenceServerException

from tests.serving.stack import Stack

COLUMNS = {
    "income": ("FP64", np.array([1.5, -2.25])),
    "age": ("INT64", np.array([30, 41])),
    "region": ("BYTES", np.array(["north", "süd"], dtype=object)),
    "employed": ("BOOL", np.array([True, False])),
}
FRAME = pd.DataFrame({name: values for name, (_, values) in COLUMNS.items()})
SCORES, LABELS = [1.5, -2.25], [1, 0]
KSERVE = "kserve==0.21.*"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A gateway that serves version 1 of loan."""
    stack = Stack(tmp_path_factory.mktemp("home"))
    try:
        stack.start_gateway()
        stack.serve_loan()
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def server(gateway):
    """Triton's client."""
    with triton.InferenceServerClient(gateway.url.removeprefix("http://")) as client:
        yield client


def triton_inputs(binary, column=False):
    made = []
    for name, (datatype, values) in COLUMNS.items():
        values = values.reshape(-1, 1) if column else values
        made.append(triton.InferInput(name, list(values.shape), datatype).set_data_from_numpy(values, binary))
    return made


def test_tritons_client_finds_the_server_and_the_model_live_and_ready(server):
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready("loan")
    assert server.is_model_ready("loan", "1")
    assert not server.is_model_ready("loan", "2")
    assert not server.is_model_ready("nobody")


def test_tritons_client_reads_the_metadata_of_server_and_model(server):
    found = server.get_server_metadata()
    assert found["name"] == "trimtab"
    assert "binary_tensor_data" in found["extensions"]
    for model in (server.get_model_metadata("loan"), server.get_model_metadata("loan", "1")):
        assert (model["name"], model["versions"]) == ("loan", ["1"])
        assert [(each["name"], each["datatype"], each["shape"]) for each in model["inputs"]] == [
            (name, datatype, [-1]) for name, (datatype, _) in COLUMNS.items()
        ]
        assert [(each["name"], each["datatype"]) for each in model["outputs"]] == [
            ("score", "FP64"),
            ("label", "INT64"),
            ("prediction_id", "BYTES"),
        ]
    with pytest.raises(InferenceServerException, match="404"):
        server.get_model_config("loan")


@pytest.mark.parametrize("column", [False, True], ids=["[n]", "[n, 1]"])
@pytest.mark.parametrize("binary_out", [None, False, True], ids=["outputs unasked", "JSON out", "binary out"])
@pytest.mark.parametrize("binary_in", [False, True], ids=["JSON in", "binary in"])
def test_tritons_client_predicts(gateway, server, binary_in, binary_out, column):
    names = ("prediction_id", "label", "score")
    outputs = None if binary_out is None else [triton.InferRequestedOutput(name, binary_out) for name in names]
    answer = server.infer(
        "loan", triton_inputs(binary_in, column), outputs=outputs, request_id="t-1", model_version="1"
    )
    assert answer.get_response()["id"] == "t-1"
    assert answer.as_numpy("score").tolist() == SCORES
    assert answer.as_numpy("label").tolist() == LABELS
    assert answer.as_numpy("score").dtype == np.float64
    ids = [text if isinstance(text, str) else text.decode() for text in answer.as_numpy("prediction_id")]
    if outputs is not None:
        assert [output["name"] for output in answer.get_response()["outputs"]] == list(names)
    has_binary = "binary_data_size" in json.dumps(answer.get_response())
    assert has_binary == (binary_out is not False)
    with gateway.client() as client:
        record = client.prediction(ids[1])["record"]
    assert {name: record[name] for name in COLUMNS} == FRAME.iloc[1].to_dict()
    assert record["request_id"] == "t-1"


def test_tritons_client_mixes_binary_and_json_tensors_both_ways(server):
    inputs = triton_inputs(True)
    inputs[1:3] = triton_inputs(False)[1:3]
    outputs = [triton.InferRequestedOutput("score", True), triton.InferRequestedOutput("label", False)]
    answer = server.infer("loan", inputs, outputs=outputs)
    assert answer.as_numpy("score").tolist() == SCORES
    assert answer.as_numpy("label").tolist() == LABELS
    assert answer.as_numpy("prediction_id") is None


def test_tritons_client_is_told_what_is_wrong(server):
    with pytest.raises(InferenceServerException, match="lacks columns"):
        server.infer("loan", triton_inputs(True)[:2])
    with pytest.raises(InferenceServerException, match="there is no model 'nobody'"):
        server.infer("nobody", triton_inputs(True))
    with pytest.raises(InferenceServerException, match="version '9' of 'loan' does not serve"):
        server.infer("loan", triton_inputs(True), model_version="9")
    with pytest.raises(InferenceServerException, match="'shoe'"):
        server.infer("loan", triton_inputs(True), outputs=[triton.InferRequestedOutput("shoe")])


def test_a_compressed_body_is_refused_with_what_would_be_right(gateway, server):
    with pytest.raises(InferenceServerException, match="gzip"):
        server.infer("loan", triton_inputs(False), request_compression_algorithm="gzip")
    body = gzip.compress(json.dumps({"inputs": FRAME.to_dict("list")}).encode())
    response = httpx.post(f"{gateway.url}/invocations", content=body, headers={"content-encoding": "gzip"})
    assert response.status_code == 415


@pytest.fixture(scope="module")
def kserve_python():
    """The interpreter of an environment with the kserve client, which does not resolve beside trimtab's pandas."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "trimtab-tests" / "kserve-0.21"
    python = cache / "bin" / "python"
    complete = cache / "complete"
    if not complete.exists():
        shutil.rmtree(cache, ignore_errors=True)
        uv = Path(sys.executable).with_name("uv")
        for command in (
            [uv, "venv", "-q", "--python", sys.executable, cache],
            [uv, "pip", "install", "-q", "--python", python, KSERVE],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=200)
            if done.returncode:
                pytest.skip(f"{KSERVE} cannot be installed: {done.stderr[-500:]}")
        complete.touch()
    return python


def test_kserves_client_predicts(gateway, kserve_python):
    script = Path(__file__).with_name("kserve_client.py")
    done = subprocess.run(
        [kserve_python, script, gateway.url, "loan"], capture_output=True, text=True, timeout=120, cwd=script.parent
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["live"], found["ready"], found["model_ready"]) == (True, True, True)
    for how in ("json", "binary"):
        assert found[how]["id"] == f"kserve-{how}"
        assert found[how]["outputs"]["score"] == SCORES
        assert found[how]["outputs"]["label"] == LABELS
    assert found["binary_outputs"]["score"] == SCORES
    assert "400" in found["refused"]
    with gateway.client() as client:
        record = client.prediction(found["binary"]["outputs"]["prediction_id"][1])["record"]
    assert (record["region"], record["request_id"]) == ("süd", "kserve-binary")


BODIES = {
    "dataframe_split": {"dataframe_split": FRAME.to_dict("split")},
    "dataframe_split without an index": {"dataframe_split": FRAME.to_dict("split", index=False)},
    "dataframe_records": {"dataframe_records": FRAME.to_dict("records")},
    "inputs by column": {"inputs": FRAME.to_dict("list")},
    "inputs by row": {"inputs": FRAME.to_dict("records")},
    "instances by row": {"instances": FRAME.to_dict("records")},
    "instances by position": {"instances": FRAME.to_numpy().tolist()},
    "with params": {"dataframe_split": FRAME.to_dict("split"), "params": {"event_time": "2024-01-31T12:00:00Z"}},
}


@pytest.mark.parametrize("form", BODIES)
def test_each_form_of_mlflows_scoring_protocol_is_answered(gateway, form):
    response = httpx.post(f"{gateway.url}/invocations", json=BODIES[form])
    assert response.status_code == 200, response.text
    assert [row["score"] for row in response.json()["predictions"]] == SCORES


def test_mlflows_own_client_predicts(gateway):
    """The client that ``mlflow models predict`` and Spark's models use."""
    client = ScoringServerClient("127.0.0.1", gateway.port)
    client.ping()
    assert client.get_version()
    answer = client.invoke(FRAME, params={"event_time": "2024-01-31T12:00:00Z"})
    assert answer.get_predictions()["score"].tolist() == SCORES
    with pytest.raises(Exception, match=r"error code 400.*lacks columns"):
        client.invoke(FRAME[["age"]])


@pytest.mark.parametrize(
    ("content_type", "header"),
    [("text/csv", True), ("text/csv; charset=utf-8", True), ("text/csv; header=absent", False)],
)
def test_csv_is_answered_as_mlflow_and_sagemaker_take_it(gateway, content_type, header):
    body = FRAME.to_csv(index=False, header=header).encode()
    response = httpx.post(f"{gateway.url}/invocations", content=body, headers={"content-type": content_type})
    assert response.status_code == 200, response.text
    assert [row["score"] for row in response.json()["predictions"]] == SCORES
    assert response.headers["content-type"] == "application/json"


def test_sagemakers_container_contract_holds(gateway):
    """GET /ping is 200 with a small body; POST /invocations takes any of its content types; HEAD does no harm."""
    assert httpx.get(f"{gateway.url}/ping").status_code == 200
    assert httpx.head(f"{gateway.url}/ping").status_code == 200
    for content_type in ("application/json", "application/json; charset=utf-8", "application/json;verbose=true"):
        headers = {
            "content-type": content_type,
            "accept": "application/json",
            "x-amzn-sagemaker-custom-attributes": "a",
        }
        response = httpx.post(
            f"{gateway.url}/invocations", content=json.dumps(BODIES["inputs by row"]), headers=headers
        )
        assert response.status_code == 200
    headers = {"content-type": "application/x-npy"}
    response = httpx.post(f"{gateway.url}/invocations", content=b"\x93NUMPY", headers=headers)
    assert response.status_code == 415
    assert "application/json" in response.json()["error"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curls_way_with_a_large_body_is_answered(gateway, tmp_path):
    """curl asks with Expect: 100-continue before it sends more than a megabyte."""
    frame = pd.concat([FRAME] * 2000)
    (tmp_path / "body.json").write_text(json.dumps({"dataframe_records": frame.to_dict("records"), "params": {}}))
    command = ["curl", "-s", "--max-time", "120", "-H", "expect: 100-continue", "-H", "content-type: application/json"]
    done = subprocess.run(
        [*command, "--data-binary", f"@{tmp_path / 'body.json'}", f"{gateway.url}/invocations"],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert len(json.loads(done.stdout)["predictions"]) == 4000
