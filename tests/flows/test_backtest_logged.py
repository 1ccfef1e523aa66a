"""``trimtab backtest --logged`` rules on what a release answered as `watch` did."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.watch import watch
from tests.flows.watched import OTHERS_WARNINGS, RELEASED, environment, make_world
from trimtab.backtest.results import Backtest
from trimtab.cli import app
from trimtab.records import Action, Ruling

pytestmark = [pytest.mark.usefixtures("prefect"), *OTHERS_WARNINGS]


def test_the_logged_loans_are_ruled_on_as_they_were_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same windows, the same actions and the same signals; scores that turn over are seen by both."""
    home = tmp_path / "home"
    for name, value in environment(home).items():
        monkeypatch.setenv(name, value)
    world = make_world(home)
    window = world.model.spec.window
    turns, end = RELEASED + 2 * window, RELEASED + 4 * window
    world.traffic(RELEASED, turns)
    world.traffic(turns, end, answer=lambda scores: 1 - np.asarray(scores))
    watched = [watch("loan", RELEASED + n * window) for n in range(1, 5)]
    on_record = len(world.ledger.records(Ruling, "loan"))
    out = tmp_path / "b.json"
    span = ["--from", f"{RELEASED:%Y-%m-%d}", "--to", f"{end + timedelta(hours=1):%Y-%m-%dT%H:%M}"]
    files = ["--json", str(out), "--plot", str(tmp_path / "b.png")]
    done = CliRunner().invoke(app, ["backtest", "loan", "--logged", *span, *files], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = Backtest.model_validate_json(out.read_text())
    assert len(found.windows) == 4
    assert "rulings alone are replayed" in done.output
    for one, was in zip(found.windows, watched, strict=True):
        assert was is not None
        assert one.ruling.action is was.action, (one.ruling.reason, was.reason)
        assert [signal.name for signal in one.ruling.signals] == [signal.name for signal in was.signals]
    assert found.windows[-1].ruling.action is not Action.NONE
    assert len(world.ledger.records(Ruling, "loan")) == on_record
