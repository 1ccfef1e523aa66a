"""What it takes to replace the champion, by example."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

from trimtab.gates import decide, improvement
from trimtab.models import load_model
from trimtab.records import Cause, Decision, Evaluation, Metric, SliceScore
from trimtab.spec import Gates

SPEC = load_model(Path(__file__).parents[1] / "models", "loan").spec
CAUSE = Cause(id="cause-1", model="loan", trigger="manual", reason="", as_of=datetime(2024, 3, 9, tzinfo=UTC))


def metric(name: str, value: float, spread: float = 0.01) -> Metric:
    return Metric(name=name, value=value, low=value - spread, high=value + spread, rows=500)


def scores(log_loss: float, roc_auc: float = 0.7) -> dict[str, Metric]:
    return {"log_loss": metric("log_loss", log_loss), "roc_auc": metric("roc_auc", roc_auc)}


def decided(
    gates: Gates, challengers: dict[str, float], champion: float | None, **slices: dict[str, float]
) -> Decision:
    """Decide between challengers and a champion by log-loss; slices: region -> log-loss by subject."""
    every = {name: scores(value) for name, value in challengers.items()}
    differences = {}
    if champion is not None:
        every["champion"] = scores(champion)
        differences = {name: scores(value - champion, 0.0) for name, value in challengers.items()}
    evaluation = Evaluation(
        id="evaluation-1",
        model="loan",
        snapshot_id="snapshot-1",
        champion_id="champion" if champion is not None else None,
        scores=every,
        differences=differences,
        slices=tuple(
            SliceScore(subject=subject, column="region", value=region, metric=metric("log_loss", value))
            for region, values in slices.items()
            for subject, value in values.items()
        ),
    )
    return decide(SPEC.model_copy(update={"gates": gates}), CAUSE, evaluation)


def test_a_first_release_needs_no_champion_to_beat() -> None:
    """Without a champion, finite metrics and the limits are enough."""
    assert decided(Gates(), {"a": 0.6}, None).winner_id == "a"


def test_a_metric_that_is_no_number_releases_nothing() -> None:
    """The reason has its name, and what it may come from."""
    every = {"a": {**scores(0.6), "roc_auc": metric("roc_auc", math.nan)}}
    of_whom = {"id": "evaluation-1", "model": "loan", "snapshot_id": "snapshot-1", "champion_id": None}
    evaluation = Evaluation(**of_whom, scores=every, differences={})
    decision = decide(SPEC, CAUSE, evaluation)
    assert decision.winner_id is None
    assert "['roc_auc'] cannot be computed on the rows that judge (none of some class?)" in decision.reason


def test_a_limit_holds_for_the_first_release_too() -> None:
    """A floor or ceiling that is missed keeps even a first release back, and the reason has the number."""
    decision = decided(Gates(ceilings={"log_loss": 0.5}, floors={"roc_auc": 0.6}), {"a": 0.6}, None)
    assert decision.winner_id is None
    assert "log_loss is 0.6; it must be at most 0.5" in decision.reason


def test_the_whole_interval_must_gain_more_than_asked_for() -> None:
    """A gain that is better on average, but not with its whole interval, does not replace the champion."""
    assert decided(Gates(), {"a": 0.595}, 0.6).winner_id is None
    assert decided(Gates(), {"a": 0.585}, 0.6).winner_id == "a"
    assert decided(Gates(minimum_gain=0.01), {"a": 0.585}, 0.6).winner_id is None


def test_the_best_of_those_that_pass_wins() -> None:
    """Among two challengers that pass, the better gate metric decides."""
    assert decided(Gates(), {"a": 0.5, "b": 0.4}, 0.6).winner_id == "b"
    assert decided(Gates(metric="log_loss"), {"b": 0.5, "a": 0.5}, 0.6).winner_id == "a"


def test_a_slice_that_loses_too_much_keeps_the_champion() -> None:
    """Better on the whole and worse for the north is no promotion where slices are bounded."""
    gates = Gates(slices=("region",), maximum_slice_loss=0.05)
    north = {"a": 0.7, "champion": 0.6}
    assert decided(gates, {"a": 0.5}, 0.6, north=north).winner_id is None
    assert decided(gates, {"a": 0.5}, 0.6, north={"a": 0.62, "champion": 0.6}).winner_id == "a"


def test_a_slice_that_was_not_measured_for_the_challenger_fails() -> None:
    """A number that is not there does not pass."""
    gates = Gates(slices=("region",), maximum_slice_loss=0.05)
    assert decided(gates, {"a": 0.5}, 0.6, north={"champion": 0.6}).winner_id is None


def test_training_the_champion_again_releases_nothing() -> None:
    """Where the only candidate is the champion itself, there is nothing to release, and the reason says so."""
    decision = decided(Gates(), {}, 0.6)
    assert decision.winner_id is None
    assert "again" in decision.reason


def test_an_improvement_is_positive_whatever_the_metric() -> None:
    """A lower loss and a higher AUC are both gains, with the interval's ends in order."""
    assert improvement(metric("log_loss", -0.1, 0.05)) == (0.1, 0.05, 0.15000000000000002)
    assert improvement(metric("roc_auc", 0.1, 0.05)) == (0.1, 0.05, 0.15000000000000002)
