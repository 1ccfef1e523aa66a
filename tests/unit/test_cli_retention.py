"""The commands that hold and delete predictions say what they did, and do what they said."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.prediction_rows import T0, make_rows
from trimtab.cli import app
from trimtab.errors import PredictionLogError, PrunedPredictionError
from trimtab.predictions import PredictionLog
from trimtab.predictions.schema import id_text
from trimtab.settings import Settings


@pytest.fixture
def log(settings_env: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PredictionLog:
    """The loan model's, with two old segments and a retention of 30 days."""
    spec = shutil.copytree(settings_env.models_dir, tmp_path / "models") / "loan" / "spec.py"
    spec.write_text(
        spec.read_text().replace("window=timedelta(days=2),", "window=timedelta(days=2), retention_days=30,")
    )
    monkeypatch.setenv("TRIMTAB_MODELS_DIR", str(tmp_path / "models"))
    made = PredictionLog(settings_env.predictions_dir / "loan")
    for day in range(2):
        made.append(make_rows(5, at=T0 + timedelta(days=day)))
        made.seal()
    made.close()
    return made


def said(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["predictions", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_hold_keeps_what_it_covers_until_it_is_released(log: PredictionLog) -> None:
    told = said("hold", "loan", "--to", "2024-01-02", "--reason", "case 17", "--by", "Ada")
    (hold_id,) = re.findall(r"hold-[0-9a-f]{16}", told)
    assert f"{hold_id}  loan  events from the beginning to 2024-01-02" in said("holds")
    assert "placed by Ada" in said("holds")
    plan = said("prune", "loan", "--dry-run").splitlines()
    assert [line.split(": ")[-1] for line in plan] == [f"held by {hold_id}", "would be deleted"]
    assert len(log.spans()) == 2
    assert said("prune").count("deleted") == 1
    assert "nothing to delete (kept for 30 days)" in said("prune")
    assert f"{hold_id} was released by Bob" in said("release-hold", hold_id, "--reason", "closed", "--by", "Bob")
    assert said("holds") == "no hold stands\n"
    assert "released by Bob" in said("holds", "--all")
    assert said("prune", "loan").count("deleted") == 1
    assert log.spans() == []
    assert "nothing is due" in said("prune", "--dry-run")
    assert said("hold", "loan", "--from", "2024-01-02", "--reason", "case 18").count("too late for segment") == 1


def test_one_prediction_is_held_by_its_id(log: PredictionLog) -> None:
    key = log.spans()[0].first_id
    assert f"holds prediction {key} of loan" in said("hold", "loan", "--prediction", key, "--reason", "case 17")
    said("prune")
    assert log.get(key)["prediction_id"] == key
    with pytest.raises(PredictionLogError, match="no prediction"):
        said("hold", "loan", "--prediction", id_text(bytes(16)), "--reason", "case 17")


def test_showing_a_deleted_prediction_says_so(log: PredictionLog) -> None:
    key = log.spans()[0].first_id
    said("prune", "loan")
    with pytest.raises(PrunedPredictionError, match=r"was deleted on .* under the retention of 30 days"):
        said("show", key)
