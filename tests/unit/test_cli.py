"""The command says what is the matter in one line, and answers at once."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.apply import prefect_client
from tests.chain import EARLY, LATE, home_with_predictions, release_twice
from tests.prediction_rows import T0, make_rows
from trimtab.checks import check_models, check_services
from trimtab.cli import app, data
from trimtab.cli.runs import _page_of, _run_of, _tell, _what_came_of_it, _why_nothing_was_judged
from trimtab.decay.anomalies import Anomalies, Anomaly
from trimtab.errors import ServiceUnavailableError
from trimtab.ledger import Ledger
from trimtab.predictions import PredictionLog
from trimtab.settings import Settings

ROOT = Path(__file__).parents[2]


def trimtab(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    nowhere = {f"TRIMTAB_{name}_URL": "http://127.0.0.1:9" for name in ("PREFECT", "MLFLOW", "GATEWAY", "REPORTS")}
    models = {"TRIMTAB_MODELS_DIR": str(ROOT / "tests/models"), "TRIMTAB_SUITES_DIR": str(ROOT / "tests/expectations")}
    env = {**os.environ, "TRIMTAB_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200", **nowhere, **models, **variables}
    command = [str(Path(sys.executable).with_name("trimtab")), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=home)


def test_help_names_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    """What there is can be said at once: the heavy libraries come with the commands that need them."""
    done = trimtab(tmp_path, "--help")
    for command in (
        *("up", "apply", "check", "retrain", "watch", "rollback", "profile", "lineage", "dossier", "demo"),
        *("predictions", "outcomes", "ledger", "tokens"),
    ):
        assert f" {command} " in done.stdout
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, trimtab.cli; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"prefect", "mlflow", "pandas", "sklearn", "pyarrow", "sqlalchemy"}.intersection(loaded)


@pytest.mark.parametrize(
    "command",
    [
        "up",
        "apply",
        "check",
        "retrain",
        "watch",
        "rollback",
        "profile",
        "lineage",
        "dossier",
        "suggest-suite",
        "anomalies",
    ],
)
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    """Help has a sentence for the command and one for each option."""
    done = trimtab(tmp_path, command, "--help")
    assert done.returncode == 0
    assert f"trimtab {command}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lineage", "abc"), "no prediction 'abc' is on record; an id is a UUID such as"),
        (("lineage", "01929f0e-7b1a-7c3e-9d55-0d4f1c1e2a3b"), "searched the logs of no model"),
        (("predictions", "show", "abc"), "no prediction 'abc' is on record"),
        (("dossier", "abc"), "no prediction 'abc' is on record"),
        (("ledger", "show", "release-1"), "nothing is on record under 'release-1'"),
        (("anomalies", "loan"), "no release of loan served before"),
        (("suggest-suite", "loan"), "is there already; give another --output, or --force"),
        (("retrain", "loan"), "no Prefect server answers at http://127.0.0.1:9: start one with `trimtab up`"),
        (("apply",), "no Prefect server answers at http://127.0.0.1:9: start one with `trimtab up`"),
        (("watch", "loan", "--local"), "no Prefect server answers at http://127.0.0.1:9: start one with `trimtab up`"),
    ],
)
def test_what_goes_wrong_is_one_line_on_stderr(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """No traceback for what trimtab refuses on purpose: exit code 1, the value, and what would be right."""
    (tmp_path / "home").mkdir()
    done = trimtab(tmp_path / "home", *arguments)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("trimtab: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_anomalies_say_where_they_are_not_all_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many there are stands above the oddest of them."""
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    monkeypatch.setenv("TRIMTAB_MODELS_DIR", str(ROOT / "tests/models"))
    odd = Anomaly(prediction_id="p", event_time=T0, score=2.0, view="alone", features=())
    for count, end in ((2, "expected of sound rows); the oddest 1:"), (1, "expected of sound rows)")):
        found = Anomalies(rows=900, count=count, expected_share=0.001, low=0.0, high=0.1, worst=(odd,))
        monkeypatch.setattr(data, "_anomalies", lambda *_, found=found: found)
        said = CliRunner().invoke(app, ["anomalies", "loan"], catch_exceptions=False).stdout
        assert said.splitlines()[0].endswith(end)


@pytest.mark.parametrize(
    "arguments",
    [
        ("retrain",),
        ("retrain", "loan", "--as-of", "yesterday"),
        ("ledger", "list", "--kind", "nothing"),
        ("ledger", "list", "--limit", "0"),
        ("predictions", "show"),
        ("predictions", "show", "abc", "--request-id", "a"),
        ("predictions", "list", "--from", "yesterday"),
        ("predictions", "list", "--from", "2024-01-02", "--to", "2024-01-01"),
        ("predictions", "list", "--format", "xml"),
        ("anomalies", "loan", "--from", "2024-01-02", "--to", "2024-01-01"),
        ("suggest-suite", "loan", "--from", "2024-01-02"),
        ("suggest-suite", "loan", "--snapshot", "a", "--file", "b.csv"),
        ("fly",),
    ],
)
def test_bad_usage_is_exit_code_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """As every command line has it."""
    done = trimtab(tmp_path, *arguments)
    assert done.returncode == 2
    assert "Usage: trimtab" in done.stderr


def test_lineage_prediction_and_ledger_are_read_without_any_service(tmp_path: Path) -> None:
    """What is on record can be shown when everything else is down."""
    _, ids = home_with_predictions(tmp_path)
    lineage = trimtab(tmp_path, "lineage", ids[0])
    assert lineage.returncode == 0, lineage.stderr
    for record in (
        "release-2",
        "decision-2",
        "snapshot-training-2",
        "validation-2",
        "ruling-1",
        "cause-2",
        "release-1",
    ):
        assert record in lineage.stdout
    assert "```mermaid" in trimtab(tmp_path, "lineage", ids[0], "--markdown").stdout
    shown = trimtab(tmp_path, "predictions", "show", ids[0]).stdout
    assert "income         31.5" in shown
    assert "outcome        1, known at" in shown
    assert "the chain holds: 21 entries" in trimtab(tmp_path, "ledger", "verify").stdout
    assert len(trimtab(tmp_path, "ledger", "list", "--kind", "release").stdout.splitlines()) == 2
    assert '"winner_id": "candidate-2"' in trimtab(tmp_path, "ledger", "show", "decision-2").stdout


def test_a_settings_mistake_is_named(tmp_path: Path) -> None:
    """The variable, its value, and what it must be."""
    done = trimtab(tmp_path, "ledger", "verify", TRIMTAB_MAX_ROWS="many")
    assert done.returncode == 1
    assert done.stderr == "trimtab: TRIMTAB_MAX_ROWS is 'many'; it must be of type int\n"


def test_check_fails_on_a_suite_that_does_not_fit_and_services_that_are_down(tmp_path: Path) -> None:
    """Each trouble is a line; the exit code is 1."""
    suites = tmp_path / "suites"
    shutil.copytree(ROOT / "tests" / "expectations", suites)
    loan = suites / "loan.json"
    loan.write_text(loan.read_text().replace('"column": "income"', '"column": "salary"'))
    done = trimtab(tmp_path, "check", TRIMTAB_SUITES_DIR=str(suites))
    assert done.returncode == 1
    assert "is on column 'salary', which the spec lacks" in done.stdout
    assert "http://127.0.0.1:9 does not answer" in done.stdout
    assert "4 ok, 5 failed" in done.stdout


def test_check_names_a_spec_that_is_wrong(tmp_path: Path) -> None:
    """The field, the value and what would be right, without a traceback."""
    shutil.copytree(ROOT / "tests" / "models" / "loan", tmp_path / "models" / "loan")
    spec = tmp_path / "models" / "loan" / "spec.py"
    spec.write_text(spec.read_text().replace('name="loan"', 'name="Loan 1"'))
    done = trimtab(tmp_path, "check", TRIMTAB_MODELS_DIR=str(tmp_path / "models"))
    assert done.returncode == 1
    assert "name is 'Loan 1'" in done.stdout
    assert "Traceback" not in done.stderr


_LOCAL_RUN = """
import contextlib, os, sys, types
import trimtab.cli

apply = types.ModuleType("deployments.apply")
class OnImport:
    def find_spec(self, name, path=None, target=None):
        if name == "prefect":
            print("imported with", os.environ.get("PREFECT_API_URL"))
        return None
sys.meta_path.insert(0, OnImport())

import deployments
@contextlib.contextmanager
def prefect_client(settings):
    import prefect
    print("in")
    yield
    print("out")
apply.prefect_client = prefect_client
sys.modules["deployments.apply"] = apply
flow = types.ModuleType("flows.watch")
flow.watch = lambda model: print("ran", model)
sys.modules["flows.watch"] = flow
sys.argv = ["trimtab", "watch", "loan", "--local"]
trimtab.cli.main()
"""


def test_a_local_run_is_on_the_stacks_own_prefect_server(tmp_path: Path) -> None:
    """The address is set before Prefect is imported, and the flow runs while the server's settings hold."""
    nowhere = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env = {**nowhere, "TRIMTAB_HOME": str(tmp_path), "TRIMTAB_PREFECT_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", _LOCAL_RUN], env=env, capture_output=True, text=True, check=True, cwd=ROOT
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "imported with http://127.0.0.1:9/api"
    assert lines[1:4] == ["in", "ran loan", "out"]


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        ({"type": "expect_column_values_to_be_pretty", "kwargs": {"column": "income"}}, "expect_column_values_to_be"),
        ({"type": "expect_column_values_to_be_between", "kwargs": {"column": "income", "minvalue": 0}}, "minvalue"),
        (
            {
                "type": "expect_column_pair_values_a_to_be_greater_than_b",
                "kwargs": {"column_A": "income", "column_B": "wage"},
            },
            "is on column 'wage', which the spec lacks",
        ),
        (
            {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["age", "wage"]}},
            "is on column 'wage', which the spec lacks",
        ),
        ("expect_column_to_exist", "must hold"),
        ({"kwargs": {"column": "income"}}, "without a type"),
        ({"type": "expect_column_to_exist", "kwargs": ["income"]}, "expect_column_to_exist"),
    ],
)
def test_check_refuses_a_suite_that_a_flow_would_refuse(tmp_path: Path, expectation: object, said: str) -> None:
    """What `check` passes is what the validation step takes."""
    (tmp_path / "loan.json").write_text(json.dumps({"name": "loan", "expectations": [expectation]}))
    settings = Settings.from_env(
        {"TRIMTAB_MODELS_DIR": str(ROOT / "tests/models"), "TRIMTAB_SUITES_DIR": str(tmp_path)}
    )
    (suite,) = (one for one in check_models(settings) if (one.what, one.which) == ("suite", "loan of loan"))
    assert not suite.ok
    assert said in suite.detail


def test_what_came_of_a_run_is_told_and_an_unreadable_ledger_fails_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ruling that the run stated, in a line, on either stream; a damaged ledger is said, not raised."""
    settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path)})
    ledger = Ledger(settings.ledger)
    release_twice(ledger)
    ruling = ledger.get("ruling-1").record
    assert _run_of(settings, ruling) == "run-of-watch"
    assert _tell(_what_came_of_it(settings, "run-of-watch"), to_stderr=True) == 1
    assert capsys.readouterr() == ("", "RETRAIN: log_loss is lost\n")
    (tmp_path / "ledger.db").write_bytes(b"no database, whatever its name says" * 100)
    _tell(_what_came_of_it(settings, "run-of-watch"))
    assert "what came of it cannot be told" in capsys.readouterr().err


def test_a_watch_that_judged_nothing_says_which_ruling_stands(tmp_path: Path) -> None:
    """A window is judged once, so the second run states none: its silence would read as a fault."""
    settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path)})
    assert list(_why_nothing_was_judged(settings, "loan", LATE)) == [
        "loan has no release yet as of 2024-03-08 00:00 UTC: there is nothing to judge"
    ]
    release_twice(Ledger(settings.ledger))
    assert list(_why_nothing_was_judged(settings, "loan", LATE))[1:] == ["RETRAIN: log_loss is lost"]
    (before,) = _why_nothing_was_judged(settings, "loan", EARLY - timedelta(days=1))
    assert before.startswith("loan has no release yet as of 2024-01-31")


def test_the_page_of_a_dossier_is_told_where_it_is(tmp_path: Path) -> None:
    """By its address, however the id was written; nothing is said of a page that is not here."""
    settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path)})
    id_ = "01929f0e-7b1a-7c3e-9d55-0d4f1c1e2a3b"
    assert list(_page_of(settings, id_)) == []
    (settings.reports_dir / "dossiers").mkdir(parents=True)
    (settings.reports_dir / "dossiers" / f"{id_}.html").touch()
    assert list(_page_of(settings, id_.upper())) == [f"page: {settings.reports_url}/dossiers/{id_}.html"]


def test_check_asks_only_the_services_of_this_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger at a default address is not taken for ours; an address in a variable is asked."""
    for name in ("PREFECT", "MLFLOW", "REPORTS"):
        monkeypatch.delenv(f"TRIMTAB_{name}_URL", raising=False)
    monkeypatch.setenv("TRIMTAB_GATEWAY_URL", "http://127.0.0.1:9")
    found = check_services(Settings.from_env({**os.environ, "TRIMTAB_HOME": str(tmp_path)}))
    away = f"not running in {tmp_path}: is `trimtab up` running?"
    assert {each.which: each.detail for each in found if each.which != "gateway"} == {
        "Prefect": away,
        "MLflow": away,
        "reports": away,
    }
    assert not any(each.ok for each in found)
    assert "http://127.0.0.1:9 does not answer" in next(each.detail for each in found if each.which == "gateway")


def test_a_slow_service_is_not_called_a_missing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes the connection and says nothing is there."""
    monkeypatch.setattr("deployments.apply._ANSWER_WITHIN_S", 0.2)
    monkeypatch.setattr("trimtab.checks._ANSWER_WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("TRIMTAB_PREFECT_URL", url)
        settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path), "TRIMTAB_PREFECT_URL": url})
        with (
            pytest.raises(ServiceUnavailableError, match="is there, but has not answered in time"),
            prefect_client(settings),
        ):
            pass
        assert "is there, but has not answered within" in check_services(settings)[0].detail


def test_predictions_are_listed_by_what_is_known_of_them(tmp_path: Path) -> None:
    """As a table, as JSON a line and as CSV; a page says where the next begins; a request has all its predictions."""
    rows = {"request_id": ["a", "b", "a", None], "caller": ["web", "web", "branch", None]}
    log = PredictionLog(tmp_path / "predictions" / "loan")
    log.append(make_rows(4, **rows))
    log.seal()
    log.append(
        make_rows(1, at=T0 + timedelta(days=1), request_id=["a"], caller=["\x1b[2Jweb"], features=(("size", "number"),))
    )
    log.close()
    table = trimtab(tmp_path, "predictions", "list", "--caller", "web")
    assert table.returncode == 0, table.stderr
    assert [line.split()[-1] for line in table.stdout.splitlines()] == ["request_id", "b", "a"]
    listed = trimtab(tmp_path, "predictions", "list", "--limit", "2", "--format", "json", "--order", "oldest")
    lines = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [line["record"]["request_id"] for line in lines] == ["a", "b"]
    assert lines[0]["model"] == "loan"
    assert lines[0]["record"]["income"] == 1.5
    cursor = lines[-1]["record"]["prediction_id"]
    assert listed.stderr == f"(there are more: --after {cursor})\n"
    arguments = ("--order", "oldest", "--after", cursor, "--model", "loan", "--format", "csv", "--to", "2024-01-03")
    table = list(csv.DictReader(trimtab(tmp_path, "predictions", "list", *arguments).stdout.splitlines()))
    assert [(row["request_id"], row["age"], row["size"]) for row in table] == [
        ("a", "30", ""),
        ("", "30", ""),
        ("a", "", "1.5"),
    ]
    assert trimtab(tmp_path, "predictions", "list", "--from", "2024-01-02", "--version", "2").stdout.count("\n") == 1
    shown = trimtab(tmp_path, "predictions", "show", "--request-id", "a")
    assert shown.stdout.count("prediction_id") == 3
    assert "caller         \ufffd[2Jweb" in shown.stdout
    slip = trimtab(tmp_path, "predictions", "list", "--model", "laon")
    assert (slip.returncode, slip.stdout) == (1, "")
    assert "no predictions of a model 'laon' are on record" in slip.stderr
    assert "there are those of loan" in slip.stderr
    nothing = trimtab(tmp_path, "predictions", "show", "--request-id", "none")
    assert nothing.returncode == 1
    assert "no prediction of a request 'none' is on record" in nothing.stderr
