"""The benchmark runner keeps what it finds, and ends with the ratio."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as runner
from benchmarks import loop
from benchmarks.figures import Figures, Table


def test_figures_are_shown_kept_with_versions_and_machine_and_end_with_the_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line is the one ratio that matters; the JSON says where it was found."""
    table = Table("a title", ("step", "s"), (("train", "1.2"),))
    monkeypatch.setattr(loop, "run", lambda arguments: Figures((table,), {"train_s": 1.2}, "flow over plain", 1.125))
    monkeypatch.setattr(runner, "OUTPUT", tmp_path)
    assert runner.main(["loop", "--pairs", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "flow over plain: 1.125"
    (kept,) = [json.loads(path.read_text()) for path in tmp_path.glob("loop-*.json")]
    assert kept["figures"] == {"train_s": 1.2}
    assert kept["ratio"] == {"name": "flow over plain", "value": 1.125}
    assert {"python", "prefect", "mlflow", "commit"} <= set(kept["versions"])
    assert {"cores", "memory_gib", "system"} <= set(kept["machine"])


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["figures"]])
def test_an_unknown_benchmark_is_refused_with_those_that_there_are(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the names."""
    assert runner.main(arguments) == 2
    told = capsys.readouterr().err
    assert all(f" {name}," in told for name in ("loop", "sealing"))
