"""The scorer as its callers see it: a real process, over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.loan_artifact import ROWS, make_artifact
from trimtab.release.layers import code_files
from trimtab.scoring.model import Artifact

INFER = "/v2/models/loan/infer"
DATATYPES = {"income": "FP64", "age": "INT64", "region": "BYTES", "employed": "BOOL"}


def tensors(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": [len(values)], "datatype": DATATYPES[name], "data": values}
        for name, values in columns.items()
    ]


def start(code: Path, artifact: Path, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a scorer with nothing of trimtab on its path but the code of a model image."""
    command = [sys.executable, "-m", "trimtab.scoring", "--artifact", str(artifact), "--version", "7", "--port", "0"]
    environment = {"PATH": os.defpath, "PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}
    return subprocess.Popen(
        [*command, "--ready-file", str(folder / "ready.json"), *arguments],
        env=environment,
        cwd=folder,
        stderr=subprocess.PIPE,
    )


def wait_until_ready(folder: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 120
    while not (folder / "ready.json").exists():
        assert process.poll() is None, "the scorer exited"
        assert time.monotonic() < deadline, "the scorer did not become ready"
        time.sleep(0.02)
    return str(json.loads((folder / "ready.json").read_text())["url"])


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    return folder / make_artifact(folder)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scoring code, alone."""
    folder = tmp_path_factory.mktemp("code")
    for name, path in code_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    return folder


@pytest.fixture(scope="module")
def scorer(artifact: Path, code: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("scorer")
    process = start(code, artifact, folder)
    try:
        with httpx.Client(base_url=wait_until_ready(folder, process)) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=120)


def refusal(scorer: httpx.Client, inputs: Any) -> str:
    answer = scorer.post(INFER, json={"inputs": inputs})
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"])


def test_it_scores_what_the_artifact_scores(scorer: httpx.Client, artifact: Path) -> None:
    """Nulls and unseen categories among them, the scores over HTTP are the artifact's own, bit for bit."""
    loaded = Artifact.load(artifact)
    answer = scorer.post(INFER, json={"id": "mine", "inputs": tensors(ROWS)}).json()
    assert answer["outputs"][0]["data"] == loaded.predict(loaded.encode(ROWS)).tolist()
    assert answer["outputs"][0]["shape"] == [4]
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("loan", "7", "mine")


def test_metadata_name_the_artifact_that_was_loaded(scorer: httpx.Client, artifact: Path) -> None:
    """Digest, platform, version and the signature are in the model's metadata."""
    metadata = scorer.get("/v2/models/loan").json()
    assert metadata["artifact_digest"] == artifact.name
    assert (metadata["platform"], metadata["versions"]) == ("trimtab_onnx", ["7"])
    assert metadata["inputs"][0] == {"name": "income", "datatype": "FP64", "shape": [-1]}
    assert metadata["outputs"] == [{"name": "score", "datatype": "FP64", "shape": [-1]}]


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/loan/ready", "/v2/models/loan/versions/7/ready"],
)
def test_health_is_answered(scorer: httpx.Client, path: str) -> None:
    """Each address of the protocol that says that the scorer is there says so."""
    assert scorer.get(path).status_code == 200


def test_a_whole_number_may_come_as_a_float(scorer: httpx.Client) -> None:
    """A data frame's integer column with nulls is float: 35.0 is the integer 35."""
    floats = {**ROWS, "age": [float(age) for age in ROWS["age"]]}
    answers = [scorer.post(INFER, json={"inputs": tensors(rows)}).json()["outputs"] for rows in (ROWS, floats)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("income", ["much", 1, 1, 1], r"'income' has 'much' at position 0; it must be number or null"),
        ("income", [1, True, 1, 1], r"'income' has True at position 1"),
        ("age", [1, 2, None, 4], r"'age' has None at position 2; it must be integer, not null"),
        ("age", [1, 2, 3.5, 4], r"'age' has 3.5 at position 2"),
        ("region", ["north", 5, None, None], r"'region' has 5 at position 1; it must be category or null"),
        ("employed", [1, 0, 1, 0], r"'employed' has 1 at position 0; it must be boolean or null"),
        ("income", {"a": 1}, r"they must be a list"),
    ],
)
def test_a_wrong_value_is_refused_with_its_column_and_place(
    scorer: httpx.Client, name: str, values: Any, says: str
) -> None:
    """400 names the column, the value, its position and what would be right."""
    inputs = tensors(ROWS)
    next(tensor for tensor in inputs if tensor["name"] == name).update(data=values, shape=[4])
    assert says in refusal(scorer, inputs)


def test_wrong_columns_are_refused(scorer: httpx.Client) -> None:
    """A missing, an unknown and a doubled column are each named."""
    inputs = tensors(ROWS)
    assert "['employed'] are missing" in refusal(scorer, inputs[:-1])
    assert "'height' is no feature" in refusal(scorer, [*inputs, {**inputs[0], "name": "height"}])
    assert "'income' is sent twice" in refusal(scorer, [*inputs, inputs[0]])


def test_wrong_shapes_and_datatypes_are_refused(scorer: httpx.Client) -> None:
    """Shape and datatype must fit the data, all columns must have the same number of rows, at least one."""
    inputs = tensors(ROWS)
    assert "shape [5] and 4 values" in refusal(scorer, [{**inputs[0], "shape": [5]}, *inputs[1:]])
    assert "datatype 'BOOL'" in refusal(scorer, [{**inputs[0], "datatype": "BOOL"}, *inputs[1:]])
    assert "same number" in refusal(scorer, [{**inputs[0], "shape": [1], "data": [1.0]}, *inputs[1:]])
    assert "at least 1" in refusal(scorer, tensors({name: [] for name in ROWS}))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"inputs": 3}', b'{"inputs": [{"name": "income"}]}', b"\xff\xfe", b'{"inputs": []}']
)
def test_a_body_that_is_no_request_is_refused(scorer: httpx.Client, body: bytes) -> None:
    """Malformed JSON and JSON of another shape are 400, never 500."""
    answer = scorer.post(INFER, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 400])
def test_what_is_no_finite_number_is_refused(scorer: httpx.Client, number: str) -> None:
    """NaN, infinities and numbers beyond a double's range are 400 in a number as in an integer."""
    for name in ("income", "age"):
        inputs = json.dumps(tensors({**ROWS, name: [12321, 1, 1, 1]})).replace("12321", number)
        answer = scorer.post(INFER, content=f'{{"inputs": {inputs}}}'.encode())
        assert answer.status_code == 400, answer.text


def test_unknown_addresses_and_methods_are_refused(scorer: httpx.Client) -> None:
    """404 names what is served, 405 the method that is right."""
    assert "/v2/models/loan" in scorer.get("/v2/models/other").json()["error"]
    assert scorer.get("/v2/models/other").status_code == 404
    assert scorer.get(INFER).status_code == 405
    assert scorer.post("/v2/models/loan", json={}).status_code == 405


def test_sigterm_answers_what_is_under_way_and_ends(artifact: Path, code: Path, tmp_path: Path) -> None:
    """After SIGTERM the scorer is gone within its time-out, though a kept-alive connection is open."""
    process = start(code, artifact, tmp_path)
    with httpx.Client(base_url=wait_until_ready(tmp_path, process)) as client:
        assert client.post(INFER, json={"inputs": tensors(ROWS)}).status_code == 200
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGTERM)


def test_an_artifact_with_another_digest_is_not_served(artifact: Path, code: Path, tmp_path: Path) -> None:
    """The scorer ends with an error that names both digests."""
    process = start(code, artifact, tmp_path, "--expected-digest", "0" * 64)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert artifact.name in said.decode()
    assert "0" * 64 in said.decode()
