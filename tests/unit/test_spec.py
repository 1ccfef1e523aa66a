"""A model folder is read as it is meant, or refused with the field, the value and what would be right."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError

from trimtab.errors import SpecError, UnknownModelError
from trimtab.models import load_model, load_models
from trimtab.spec import ModelSpec, Schedule

GOOD: dict[str, Any] = {
    "name": "credit",
    "source": "data:load",
    "target": {"name": "default"},
    "features": [{"name": "income", "type": "number"}, {"name": "region", "type": "category"}],
    "suite": "credit",
    "trainers": [{"name": "boosting", "function": "training:fit"}],
}


def write_model(models_dir: Path, folder: str = "credit", **changes: Any) -> None:
    home = models_dir / folder
    home.mkdir(parents=True)
    spec = {**GOOD, **changes}
    (home / "spec.py").write_text(f"from trimtab.spec import ModelSpec\nSPEC = ModelSpec.model_validate({spec!r})\n")
    (home / "data.py").write_text("def load(start, end, as_of):\n    return None\n")
    (home / "training.py").write_text("def fit(matrix, target, categorical, seed):\n    return None\n")


def test_a_good_folder_gives_a_model_whose_functions_are_its_own(tmp_path: Path) -> None:
    write_model(tmp_path)
    model = load_model(tmp_path, "credit")
    assert model.spec.feature_names == ["income", "region"]
    assert model.function("data:load").__module__.endswith(".data")


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    write_model(tmp_path)
    load_models(tmp_path)
    changed = {**GOOD, "description": "changed"}
    (tmp_path / "credit" / "spec.py").write_text(
        f"from trimtab.spec import ModelSpec\nSPEC = ModelSpec.model_validate({changed!r})\n"
    )
    assert load_model(tmp_path, "credit").spec.description == "changed"


def test_an_unknown_model_is_named_beside_those_that_there_are(tmp_path: Path) -> None:
    write_model(tmp_path)
    with pytest.raises(UnknownModelError, match=r"no model 'kredit' .* there are \['credit'\]"):
        load_model(tmp_path, "kredit")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Credit Model"}, "name is 'Credit Model'"),
        ({"source": "load"}, "source is 'load': must be 'module:function'"),
        ({"source": "data:fetch"}, "'data:fetch' names no function"),
        ({"source": "warehouse:load"}, "no module 'warehouse'"),
        ({"features": [{"name": "income", "type": "float"}]}, "features.0.type is 'float'"),
        ({"features": [{"name": "score", "type": "number"}]}, r"\['score'\]; these names belong to the prediction log"),
        ({"target": {"name": "income"}}, "target 'income' is also a feature"),
        ({"protected": ["sex"]}, r"protected names \['sex'\]; it must name features"),
        ({"gates": {"metric": "f1"}}, "gates.metric is 'f1'; for a binary target it must be one of"),
        ({"policy": {"persistence": [3, 2]}}, r"persistence is \(3, 2\); it must be \(k, m\)"),
        ({"policy": {"significance": 7}}, "policy.significance is 7"),
        ({"schedule": {"watch": "daily"}}, "schedule.watch is 'daily': must be a cron line"),
        ({"schedule": {"watch": "0 6 * * 9"}}, r"its weekday is '9'; that goes from 0 to 7"),
        ({"schedule": {"retrain": "0 24 1-40 * *"}}, r"its hour is '24'; that goes from 0 to 23"),
        ({"window": "P0D"}, "window is 0:00:00; it must be longer than zero"),
        ({"window": 7}, r"window is 7: must be a timedelta, such as timedelta\(days=7\)"),
        ({"label_maturity": "7d"}, "label_maturity is '7d': must be a timedelta"),
        ({"label_maturty": 1}, "label_maturty is 1: there is no such field; did you mean 'label_maturity'"),
        ({"policy": {"coldown": 1}}, r"policy.coldown is 1: there is no such field; did you mean 'cooldown'\?"),
        ({"protected": "income"}, r"protected is 'income': must be a tuple: \('income',\)"),
        ({"trainers": []}, "trainers is"),
        ({"retention_days": 7}, "retention_days is 7; it must be at least 8: the watch reads a window of 7 days"),
        ({"retention_days": 0}, "retention_days is 0"),
    ],
)
def test_a_wrong_spec_is_refused_with_field_value_and_remedy(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_model(tmp_path, **changes)
    with pytest.raises(SpecError, match=message) as caught:
        load_models(tmp_path)
    assert "credit" in str(caught.value)


def test_a_cron_line_may_have_steps_ranges_lists_and_names() -> None:
    for line in ("*/15 0-6,22 1 jan-mar mon", "0 6 * * 7", "59 23 31 12 0"):
        assert Schedule(watch=line).watch == line


def test_another_models_wrong_spec_stops_no_model(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, folder="another", name="another", window=7)
    assert load_model(tmp_path, "credit").spec.name == "credit"
    with pytest.raises(SpecError, match="window is 7"):
        load_model(tmp_path, "another")


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    write_model(tmp_path)
    spec = {key: value for key, value in GOOD.items() if key != "suite"}
    (tmp_path / "credit" / "spec.py").write_text(
        f"from trimtab.spec import ModelSpec\nSPEC = ModelSpec.model_validate({spec!r})\n"
    )
    with pytest.raises(SpecError, match="suite is missing"):
        load_models(tmp_path)


def test_two_folders_may_not_claim_one_name(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, folder="credit_again")
    with pytest.raises(SpecError, match="'credit' is taken by credit"):
        load_models(tmp_path)


def test_a_file_that_does_not_import_is_named_with_its_error(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "credit" / "data.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(SpecError, match=r"data.py does not import: ModuleNotFoundError"):
        load_models(tmp_path)


def test_a_missing_models_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="nowhere"):
        load_models(tmp_path / "nowhere")


def test_a_spec_cannot_be_changed_and_its_digest_tells_two_apart() -> None:
    spec = ModelSpec.model_validate(GOOD)
    with pytest.raises(ValidationError):
        spec.name = "other"  # type: ignore[misc]
    other = ModelSpec.model_validate({**GOOD, "policy": {"performance_drop": 0.1}})
    assert spec.digest != other.digest
    assert spec.policy_digest != other.policy_digest
    assert spec.policy_digest == ModelSpec.model_validate({**GOOD, "description": "x"}).policy_digest


def test_every_model_of_this_repository_is_right() -> None:
    root = Path(__file__).parents[2]
    assert "flight-delay" in load_models(root / "deployments" / "models")
    assert "loan" in load_models(root / "tests" / "models")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"income", type="number"', '"income", type="int"', r"spec.py:LINE: .* in Feature:\n  type is 'int'"),
        ("seed=7", "sed=7", r"in Trainer:\n  sed is 7: there is no such field; did you mean 'seed'\?"),
        ("seed=7),)", "seed=7))", r"trainers is Trainer\(...\): must be a tuple: \(Trainer\(...\),\)"),
        ("window=timedelta(days=5)", "window=5", r"in Training:\n  window is 5: must be a timedelta"),
    ],
)
def test_what_is_wrong_within_a_part_names_the_part_and_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    shutil.copytree(Path(__file__).parents[1] / "models" / "loan", tmp_path / "loan")
    spec = tmp_path / "loan" / "spec.py"
    before, found, _ = spec.read_text().partition(old)
    assert found
    spec.write_text(spec.read_text().replace(old, new))
    with pytest.raises(SpecError, match=message.replace("LINE", str(before.count("\n") + 1))):
        load_models(tmp_path)


def test_a_name_that_two_folders_claim_is_neithers(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, folder="credit_again")
    with pytest.raises(SpecError, match="'credit' is taken by credit"):
        load_model(tmp_path, "credit")


@pytest.mark.parametrize(
    "line",
    ["0 6 * * 9", "60 6 * * 1", "0 24 * * *", "0 0 0 * *", "0 0 31 2 *", "*/0 * * * *", "0 6 * * mond"],
)
def test_a_cron_line_that_never_comes_is_refused_with_its_value_and_an_example(line: str) -> None:
    with pytest.raises(ValidationError, match="such as '0 6 \\* \\* 1', or None") as caught:
        Schedule(watch=line)
    assert repr(line) in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "0 6 * * 1",
        "*/15 0-6,20 1,15 jan-mar MON",
        "5/10 * * * 7",
        "0 0 29 2 *",
        "0 22-6 * * *",
        "0 0 31 2 5",
        "0 0 * * 1-5/2",
    ],
)
def test_a_cron_line_that_passes_is_one_to_prefect_too(line: str) -> None:
    assert Schedule(watch=line).watch == line
    assert CronSchedule(cron=line).cron == line
