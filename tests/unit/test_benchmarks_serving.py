"""What the benchmarks `serving` and `soak` make of what they measured."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import serving, soak
from benchmarks.peers import forms, report, wrk
from benchmarks.peers.catalog import PEERS
from benchmarks.peers.environments import HERE
from benchmarks.peers.limits import Limit
from benchmarks.peers.measure import Found, Point

ROWS = np.arange(40, dtype=np.float64).reshape(2, 20)
NO_ERRORS = {"connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0}


def wrk_output(**changes: object) -> str:
    given = {"duration_us": 2_000_000, "requests": 3_000, "p50_us": 1_500, "p90_us": 2_000, "p99_us": 9_250}
    return "Running 2s test\n" + json.dumps({**given, "max_us": 12_000, "errors": NO_ERRORS, **changes}) + "\n"


def row(contender: str, per_s: float, form: str = "json", rows: int = 1, connections: int = 64, p99_ms: float = 5.0):
    return report.Row(Point(contender, form, rows, connections), per_s, 1.0, p99_ms, 0, 100.0)


def found(per_s: float, p99_ms: float, errors: int = 0) -> Found:
    return Found(wrk.Load(100, per_s, 1.0, p99_ms, errors), 10 * per_s)


def test_wrks_report_is_read_from_all_that_it_prints() -> None:
    """Requests/s over the time that was measured, latencies in milliseconds."""
    assert wrk.parse_report(wrk_output()) == wrk.Load(3_000, 1_500.0, 1.5, 9.25, 0)


def test_answers_with_a_bad_status_are_errors_and_no_throughput() -> None:
    """A server that refuses quickly is not fast."""
    load = wrk.parse_report(wrk_output(errors={**NO_ERRORS, "status": 1_000, "timeout": 3}))
    assert (load.requests, load.requests_per_s, load.errors) == (2_000, 1_000.0, 1_003)


def test_without_a_report_it_is_said_what_wrk_printed() -> None:
    """So that a broken script is seen."""
    with pytest.raises(ValueError, match="unable to connect"):
        wrk.parse_report("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_without_wrk_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The load generator is no Python package."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        wrk.require_wrk()


def test_requests_are_kept_with_their_lengths(tmp_path: Path) -> None:
    """Binary bodies hold newlines too."""
    wrk.write_requests(tmp_path / "requests", [b"GET / a\n\nb", b""])
    assert (tmp_path / "requests").read_bytes() == b"10\nGET / a\n\nb\n0\n\n"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (forms.instances("/p"), {"instances": ROWS.tolist()}),
        (forms.instances("/p", "inputs"), {"inputs": ROWS.tolist()}),
        (
            forms.data_frame("/p"),
            {"dataframe_split": {"columns": [f"f{n}" for n in range(20)], "data": ROWS.tolist()}},
        ),
    ],
)
def test_rows_are_written_as_each_server_takes_them(form: forms.Form, expected: dict) -> None:
    """A whole HTTP request, with the body's length."""
    head, body = form.request(ROWS, "127.0.0.1:80").split(b"\r\n\r\n", 1)
    assert json.loads(body) == expected
    assert head.startswith(b"POST /p HTTP/1.1\r\nHost: 127.0.0.1:80\r\n")
    assert b"Content-Length: %d" % len(body) in head


def test_v2_holds_a_tensor_a_feature_or_one_of_all_rows() -> None:
    """Both hold the same numbers."""
    columns = json.loads(forms.v2_columns("/p").write(ROWS)[1])["inputs"]
    (matrix,) = json.loads(forms.v2_matrix("/p").write(ROWS)[1])["inputs"]
    assert np.array([tensor["data"] for tensor in columns]).T.tolist() == ROWS.tolist()
    assert np.array(matrix["data"]).reshape(matrix["shape"]).tolist() == ROWS.tolist()


def test_a_binary_request_tells_where_its_json_ends() -> None:
    """The values follow as they are in memory."""
    headers, body = forms.v2_binary("/p").write(ROWS)
    length = int(headers["inference-header-content-length"])
    assert json.loads(body[:length])["inputs"][0]["parameters"] == {"binary_data_size": ROWS.nbytes}
    assert body[length:] == ROWS.tobytes()


@pytest.mark.parametrize(
    ("form", "headers", "body"),
    [
        (forms.instances("/p"), {}, b'{"predictions": [0.25, 0.5]}'),
        (forms.instances("/p"), {}, b"[0.25, 0.5]"),
        (forms.instances("/p"), {}, b'{"predictions": [[0.75, 0.25], [0.5, 0.5]]}'),
        (forms.instances("/p"), {}, b'{"predictions": [{"score": 0.25}, {"score": 0.5}]}'),
        (forms.v2_matrix("/p"), {}, b'{"outputs": [{"name": "score", "shape": [2], "data": [0.25, 0.5]}]}'),
        (
            forms.v2_matrix("/p"),
            {},
            b'{"outputs": [{"name": "predict_proba", "shape": [2, 2], "data": [0.75, 0.25, 0.5, 0.5]}]}',
        ),
        (
            forms.v2_binary("/p"),
            {"inference-header-content-length": "100"},
            b'{"outputs":[{"name":"score","shape":[2],"parameters":{"binary_data_size":16}}]}'.ljust(100)
            + np.array([0.25, 0.5]).tobytes(),
        ),
        (forms.raw_doubles("/p"), {}, np.array([0.25, 0.5]).tobytes()),
    ],
)
def test_scores_are_read_from_every_form_of_answer(form: forms.Form, headers: dict, body: bytes) -> None:
    """So that each server's answers can be held against the model's own."""
    assert form.read((headers, body)).tolist() == [0.25, 0.5]


def test_an_answer_without_scores_is_refused() -> None:
    """It would be measured for nothing."""
    with pytest.raises(ValueError, match="no output 'score'"):
        forms.v2_matrix("/p").read(({}, b'{"outputs": []}'))


def test_figures_are_medians_over_rounds_with_all_errors() -> None:
    """One slow round does not decide, one error is not forgotten."""
    point = Point("a", "json", 1, 64)
    (median,) = report.medians([{point: found(10, 3)}, {point: found(500, 90, errors=2)}, {point: found(12, 5)}])
    assert (median.requests_per_s, median.p99_ms, median.errors, median.cpu_us) == (12, 5, 2, 120)


def test_batches_count_at_the_best_number_of_connections_of_each() -> None:
    """What is fastest over one connection is not slowed by eight."""
    rows = [row("a", 5, rows=1000, connections=1), row("a", 9, rows=1000, connections=4), row("b", 7, rows=1000)]
    assert [(each.point.contender, each.requests_per_s) for each in report.batches([*rows, row("a", 99)])] == [
        ("a", 9),
        ("b", 7),
    ]


def test_single_rows_come_fastest_first() -> None:
    """At the number of connections that was asked for."""
    rows = [row("a", 5), row("b", 9), row("c", 99, connections=1), row("d", 99, rows=1000)]
    assert [each.point.contender for each in report.singles(rows, 64)] == ["b", "a"]


def test_the_ratio_is_to_the_best_peer() -> None:
    """Text is held against text, all forms against all."""
    rows = [row("trimtab", 1_200), row("trimtab", 2_000, "binary"), row("b", 100), row("c", 50), row("c", 400, "raw")]
    assert report.verdict("64", rows, 12, frozenset({"json"})).ratio == 12
    assert report.verdict("64", rows, 12).ratio == 5


@pytest.mark.parametrize(
    ("per_s", "p99_ms", "lower_p99", "holds"),
    [(1_200, 4, True, True), (1_199, 4, True, False), (1_200, 5, True, False), (1_200, 50, False, True)],
)
def test_an_aim_holds_only_with_all_its_parts(per_s: float, p99_ms: float, lower_p99: bool, holds: bool) -> None:
    """Throughput, and where it is asked for a lower p99."""
    verdict = report.verdict("64", [row("trimtab", per_s, p99_ms=p99_ms), row("b", 100)], 12, None, lower_p99)
    assert verdict.holds is holds


@pytest.mark.parametrize("rows", [[row("trimtab", 1)], [row("b", 1)], [row("trimtab", 1), row("b", 0)]])
def test_without_a_peer_that_answered_there_is_no_ratio(rows: list) -> None:
    """A peer that gave nothing is not infinitely slow."""
    assert report.verdict("64", rows, 1) is None


def test_limits_are_medians_and_all_in_turn_is_slower_than_each() -> None:
    """Three parts of 100 requests/s each make 33 one after another."""
    (limit,) = report.limit_medians([{"64": Limit(n, n, n, n)} for n in (1.0, 100.0, 900.0)]).values()
    assert limit.in_turn_per_s == pytest.approx(100 / 3)


def test_growth_is_in_bytes_a_million_requests_after_warming_up() -> None:
    """What the first quarter takes to warm up is no growth."""
    requests = [100_000 * n for n in range(1, 41)]
    warm = [50.0 if at < 1_000_000 else 100.0 for at in requests]
    leak = [held + at / 1e6 for held, at in zip(warm, requests, strict=True)]
    assert soak.growth(requests, warm) == pytest.approx(0, abs=1)
    assert soak.growth(requests, leak) == pytest.approx(2**20)
    assert soak.last_over_second_quarter(requests, warm) == 1
    assert soak.last_over_second_quarter(requests, leak) > 1.01


def test_a_soak_that_is_too_short_has_no_growth() -> None:
    """Rather than one that means nothing."""
    assert math.isnan(soak.growth([10], [1.0]))
    assert math.isnan(soak.last_over_second_quarter([10], [1.0]))


def test_every_peer_has_its_pins_and_its_server() -> None:
    """And each package is pinned to one version."""
    for peer in PEERS:
        assert (HERE / peer.environment / "serve.py").is_file()
        assert peer.version
        pins = (HERE / peer.environment / "requirements.txt").read_text().splitlines()
        assert all("==" in line for line in pins if line and not line.lstrip().startswith("#"))
        assert f"scikit-learn=={__import__('sklearn').__version__}" in pins


@pytest.mark.parametrize(
    ("module", "arguments"),
    [(serving, ["--peers", "fastapi,nobody"]), (serving, ["--rounds", "0"]), (soak, ["--requests", "0"])],
)
def test_arguments_that_mean_nothing_are_refused(module, arguments: list[str]) -> None:
    """Before anything is installed or started."""
    with pytest.raises(SystemExit) as ended:
        module.run(arguments)
    assert ended.value.code == 2
