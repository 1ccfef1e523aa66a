"""The command says what is the matter in one line, and answers at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chain import home_with_predictions

ROOT = Path(__file__).parents[2]


def trimtab(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    nowhere = {f"TRIMTAB_{name}_URL": "http://127.0.0.1:9" for name in ("PREFECT", "MLFLOW", "GATEWAY", "REPORTS")}
    models = {"TRIMTAB_MODELS_DIR": str(ROOT / "tests/models"), "TRIMTAB_SUITES_DIR": str(ROOT / "tests/expectations")}
    env = {**os.environ, "TRIMTAB_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200", **nowhere, **models, **variables}
    command = [str(Path(sys.executable).with_name("trimtab")), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=home)


def test_help_comes_within_a_second_and_names_every_command(tmp_path: Path) -> None:
    """The heavy libraries are not imported to say what there is."""
    trimtab(tmp_path, "--help")
    start = time.monotonic()
    done = trimtab(tmp_path, "--help")
    assert time.monotonic() - start < 1.5  # a busy machine; about 0.2 s on an idle one
    for command in (
        *("up", "apply", "check", "retrain", "watch", "rollback", "lineage", "dossier", "demo"),
        *("predictions", "ledger"),
    ):
        assert f" {command} " in done.stdout
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, trimtab.cli; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"prefect", "mlflow", "pandas", "sklearn", "pyarrow", "sqlalchemy"}.intersection(loaded)


@pytest.mark.parametrize("command", ["up", "apply", "check", "retrain", "watch", "rollback", "lineage", "dossier"])
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
        (("ledger", "show", "release-1"), "nothing is on record under 'release-1'"),
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


@pytest.mark.parametrize(
    "arguments",
    [
        ("retrain",),
        ("retrain", "loan", "--as-of", "yesterday"),
        ("ledger", "list", "--kind", "nothing"),
        ("ledger", "list", "--limit", "0"),
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
    assert "2 ok, 5 failed" in done.stdout


def test_check_names_a_spec_that_is_wrong(tmp_path: Path) -> None:
    """The field, the value and what would be right, without a traceback."""
    shutil.copytree(ROOT / "tests" / "models" / "loan", tmp_path / "models" / "loan")
    spec = tmp_path / "models" / "loan" / "spec.py"
    spec.write_text(spec.read_text().replace('name="loan"', 'name="Loan 1"'))
    done = trimtab(tmp_path, "check", TRIMTAB_MODELS_DIR=str(tmp_path / "models"))
    assert done.returncode == 1
    assert "name is 'Loan 1'" in done.stdout
    assert "Traceback" not in done.stderr
