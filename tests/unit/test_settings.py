"""Settings come from the environment, then from what runs, then from the defaults; each is documented."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from trimtab.errors import SpecError
from trimtab.services.state import stated, write
from trimtab.settings import Settings, require_stack, variable


def test_the_environment_wins_over_what_runs_and_that_over_the_default(tmp_path: Path) -> None:
    (tmp_path / "services.json").write_text(
        json.dumps({"gateway_url": "http://127.0.0.1:9", "prefect_url": "http://x"})
    )
    settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path), "TRIMTAB_PREFECT_URL": "http://y"})
    assert settings.gateway_url == "http://127.0.0.1:9"
    assert settings.prefect_url == "http://y"
    assert settings.mlflow_url == Settings().mlflow_url


def test_another_process_reads_the_same_settings(tmp_path: Path) -> None:
    settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path), "TRIMTAB_MAX_ROWS": "7"})
    assert Settings.from_env(settings.as_env()) == settings


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TRIMTAB_MAX_ROWS", "many", "TRIMTAB_MAX_ROWS is 'many'"),
        ("TRIMTAB_MAX_ROWS", "-1", "TRIMTAB_MAX_ROWS is '-1'; it must be a whole number of at least 1"),
        ("TRIMTAB_MAX_BODY_BYTES", "0", "TRIMTAB_MAX_BODY_BYTES is '0'; it must be a whole number of at least 1"),
        ("TRIMTAB_RUNTIME", "podman", "must be one of auto"),
        (
            "TRIMTAB_SEGMENTS_URL",
            "/a/folder",
            "TRIMTAB_SEGMENTS_URL is '/a/folder'; it must be empty or s3://bucket/pre",
        ),
        ("TRIMTAB_SEGMENTS_URL", "s3://B_/x", "must be empty or s3://bucket/prefix"),
        ("TRIMTAB_S3_ENDPOINT_URL", "127.0.0.1:9000", "must be empty or like http://127.0.0.1:9000"),
        (
            "TRIMTAB_IMAGE_REPOSITORY",
            "models",
            "TRIMTAB_IMAGE_REPOSITORY is 'models'; it must be empty or a registry's",
        ),
        ("TRIMTAB_IMAGE_REPOSITORY", "https://a.example/models", "host and a path without tag"),
        ("TRIMTAB_TASK_RUNNER", "ray", "it must be threads, dask, or the address of a Dask"),
        ("TRIMTAB_LOG_FORMAT", "xml", "TRIMTAB_LOG_FORMAT is 'xml'; it must be text or json"),
        ("TRIMTAB_DRAIN_DELAY_S", "-1", "TRIMTAB_DRAIN_DELAY_S is '-1'; it must be a whole number of at least 0"),
        ("TRIMTAB_ALLOW_OPEN", "yes", "TRIMTAB_ALLOW_OPEN is .yes.; it must be true or false"),
    ],
)
def test_a_wrong_value_is_refused_with_its_variable(name: str, value: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Settings.from_env({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRIMTAB_SEGMENTS_URL", "s3://me:s3cret@bucket/x"),
        ("TRIMTAB_S3_ENDPOINT_URL", "http://me:s3cret@127.0.0.1:9000"),
    ],
)
def test_an_address_that_holds_a_secret_is_refused_without_quoting_it(name: str, value: str) -> None:
    with pytest.raises(SpecError, match=r"an address with a user name; .*without credentials") as refusal:
        Settings.from_env({name: value})
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", '{"gateway_url": "http://12', "[1]", "null", '"word"', "\xff\xfe"])
def test_a_damaged_statement_of_what_runs_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "services.json").write_bytes(text.encode("latin-1"))
    settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path)})
    assert settings.gateway_url == Settings().gateway_url
    assert stated(settings) == {}


def test_what_runs_is_stated_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path), "TRIMTAB_LEDGER_URL": "postgresql://me:secret@x/y"})
    settings.services_file.with_suffix(".draft").touch(0o644)
    write(settings, "stack", {})
    assert settings.services_file.stat().st_mode & 0o777 == 0o600
    assert stated(settings)["ledger_url"] == settings.ledger_url


@pytest.mark.parametrize("setting", fields(Settings), ids=lambda setting: setting.name)
def test_every_setting_says_what_it_is_and_stands_in_the_documentation(setting: object) -> None:
    name = setting.name  # type: ignore[attr-defined]
    assert len(setting.metadata["help"]) > 10  # type: ignore[attr-defined]
    documentation = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    assert f"`{variable(name)}`" in documentation


def test_without_a_stack_in_the_home_nobody_elses_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIMTAB_PREFECT_URL", raising=False)
    with pytest.raises(SpecError, match=r"no stack runs in .*: start one with `trimtab up`"):
        require_stack(Settings.from_env({"TRIMTAB_HOME": str(tmp_path)}))
    monkeypatch.setenv("TRIMTAB_PREFECT_URL", "http://127.0.0.1:4200")
    require_stack(Settings.from_env({"TRIMTAB_HOME": str(tmp_path)}))


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("false", False), ("FALSE", False)])
def test_a_yes_or_no_is_true_or_false_and_survives_the_way_to_another_process(text: str, value: bool) -> None:
    settings = Settings.from_env({"TRIMTAB_ALLOW_OPEN": text})
    assert settings.allow_open is value
    assert Settings.from_env(settings.as_env()).allow_open is value


def test_files_that_a_setting_names_are_absolute_for_services_run_in_another_folder() -> None:
    settings = Settings.from_env({"TRIMTAB_TLS_CERT": "certs/gateway.pem"})
    assert settings.tls_cert == str(Path("certs/gateway.pem").absolute())
    assert settings.tls_key == ""
