"""Watching broken rows and sound ones: each fault is ruled BLOCK, honest drift is not, odd rows are listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from typer.testing import CliRunner

from flows.watch import watch
from tests.flows.watched import OTHERS_WARNINGS, RELEASED, World
from trimtab.cli import app
from trimtab.records import Action, Ruling
from trimtab.training.blocks import standing_blocks

DAY = timedelta(days=1)

pytestmark = [pytest.mark.usefixtures("prefect"), *OTHERS_WARNINGS]


def judged(world: World, **changes: Callable[[Any], Any]) -> Ruling:
    world.traffic(RELEASED, RELEASED + 3 * DAY, changes=changes)
    ruling = watch("loan", as_of=RELEASED + 2.5 * DAY)
    assert ruling is not None
    return ruling


def every(count: int, value: Any) -> Callable[[Any], Any]:
    """A change that puts the value into every so many rows."""
    seen = iter(range(10**9))
    return lambda old: value if next(seen) % count == 0 else old


@pytest.mark.parametrize(
    ("signal", "changes", "said"),
    [
        ("fault.frozen.income", {"income": every(2, 31.25)}, "31.25 in 0.00% → 5"),
        ("fault.units.income", {"income": lambda value: None if value is None else value * 100}, "× 100 (hundreds"),
        ("fault.default.income", {"income": every(10, 0.0)}, "0 in 0.00% → "),
        ("fault.frozen.employed", {"employed": lambda _: True}, "'true' in "),
    ],
)
def test_a_broken_column_is_ruled_block(world: World, signal: str, changes: dict[str, Any], said: str) -> None:
    """The reason names the column and its numbers; the suite, which knows no reference, holds."""
    ruling = judged(world, **changes)
    assert ruling.action is Action.BLOCK, ruling.reason
    assert "the incoming data is broken" in ruling.reason
    assert f" {signal.rpartition('.')[2]} " in ruling.reason
    assert said in ruling.reason
    assert [one.name for one in ruling.signals if one.name.startswith("fault.") and one.breached] == [signal]


def test_rows_that_came_twice_are_ruled_block(world: World) -> None:
    """The same requests, sent again by a caller that did not wait."""
    world.traffic(RELEASED, RELEASED + 3 * DAY)
    ruling = judged(world)
    assert ruling.action is Action.BLOCK, ruling.reason
    assert "50.0% of rows are equal to an earlier one in all features and the event time" in ruling.reason


def test_outcomes_that_stand_still_are_ruled_block_and_their_rows_do_not_train(world: World) -> None:
    """A feed that writes its default for every row: the model is not judged by it, and no snapshot holds these rows."""
    world.traffic(RELEASED, RELEASED + 3 * DAY, came=np.zeros_like)
    as_of = RELEASED + 3 * DAY
    ruling = watch("loan", as_of=as_of)
    assert ruling is not None
    assert ruling.action is Action.BLOCK, ruling.reason
    assert "the outcomes stand still" in ruling.reason
    assert "repaid is 0 in" in ruling.reason
    assert not any(signal.name.startswith(("performance.", "skill.")) for signal in ruling.signals)
    (blocked,) = standing_blocks(world.ledger, "loan", as_of)
    maturity = world.model.spec.label_maturity
    assert (blocked.start, blocked.end) == (ruling.start - maturity, ruling.end - maturity)


def test_outcomes_that_came_to_be_rarer_are_not_blocked(world: World) -> None:
    """Three of four loans that were repaid are not any more: that is lost performance."""
    random = np.random.default_rng(0)
    world.traffic(RELEASED, RELEASED + 3 * DAY, came=lambda outcomes: outcomes * (random.random(len(outcomes)) < 0.25))
    ruling = watch("loan", as_of=RELEASED + 3 * DAY)
    assert ruling is not None
    assert ruling.action is Action.RETRAIN, ruling.reason


def test_honest_drift_is_not_blocked(world: World) -> None:
    """Incomes rose by half, and borrowers are younger: the world changed, the data is sound."""
    ruling = judged(
        world,
        income=lambda value: None if value is None else value * 1.5,
        age=lambda value: 18 + (value - 18) // 2,
    )
    assert ruling.action is not Action.BLOCK, ruling.reason
    assert not any(signal.name.startswith("fault.") for signal in ruling.signals)


def test_odd_rows_are_counted_and_listed_by_id(world: World) -> None:
    """In the run's table and by the command: which predictions, and what is odd in them; a few do not alarm."""
    seen = iter(range(10**9))
    ids = world.traffic(
        RELEASED,
        RELEASED + 2.5 * DAY,
        changes={"income": lambda value: 4_000.0 if next(seen) in (400, 500) else value},
    )
    ruling = watch("loan", as_of=RELEASED + 2.5 * DAY)
    assert ruling is not None
    assert ruling.action is Action.NONE, ruling.reason
    (signal,) = (one for one in ruling.signals if one.name == "anomalies")
    assert signal.value >= 2 / 480
    assert not signal.breached
    table = json.loads(_artifact("loan-anomalies")["data"])
    assert {table[0]["prediction"], table[1]["prediction"]} == {ids[400], ids[500]}
    assert "income = 4000 (usual: " in table[0]["odd"]
    span = ["--from", (RELEASED + 0.5 * DAY).isoformat(), "--to", (RELEASED + 2.5 * DAY).isoformat()]
    done = CliRunner().invoke(app, ["anomalies", "loan", *span], catch_exceptions=False).stdout
    assert done.splitlines()[0].startswith(f"{len(table)} rows lie outside the training distribution")
    assert ids[400] in done
    assert ids[500] in done


def _artifact(key: str) -> dict[str, Any]:
    with get_client(sync_client=True) as client:
        body = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
        return client._client.post("/artifacts/filter", json=body).json()[0]
