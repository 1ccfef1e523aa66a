"""Whatever was measured: no NaN wins, order does not matter, and the champion's twin does not replace it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.gates import decide
from trimtab.models import load_model
from trimtab.records import Cause, Evaluation, Metric, SliceScore
from trimtab.spec import METRICS, Gates, ModelSpec

LOAN = load_model(Path(__file__).parents[1] / "models", "loan").spec
CAUSE = Cause(id="cause-1", model="loan", trigger="manual", reason="", as_of=datetime(2024, 3, 9, tzinfo=UTC))
CHAMPION = "candidate-champion"

numbers = st.floats(-2, 2) | st.sampled_from([math.nan, math.inf, -math.inf])


@st.composite
def metrics(draw: st.DrawFn) -> dict[str, Metric]:
    return {
        name: Metric(name=name, value=draw(numbers), low=draw(numbers), high=draw(numbers), rows=300)
        for name in METRICS["binary"]
    }


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    gates = Gates(
        metric=draw(st.sampled_from(METRICS["binary"])),
        minimum_gain=draw(st.floats(-0.5, 0.5)),
        floors=draw(st.dictionaries(st.sampled_from(METRICS["binary"]), st.floats(-2, 2), max_size=2)),
        ceilings=draw(st.dictionaries(st.sampled_from(METRICS["binary"]), st.floats(-2, 2), max_size=2)),
        slices=("region",),
        maximum_slice_loss=draw(st.none() | st.floats(0, 1)),
    )
    return LOAN.model_copy(update={"gates": gates})


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    challengers = draw(st.lists(st.sampled_from([f"candidate-{n}" for n in range(6)]), unique=True, max_size=4))
    champion = draw(st.sampled_from([None, CHAMPION]))
    subjects = [*challengers, *([champion] if champion else [])]
    slices = [
        SliceScore(subject=subject, column="region", value=value, metric=draw(metrics())["log_loss"])
        for subject in subjects
        for value in draw(st.sets(st.sampled_from(["north", "south"])))
    ]
    return Evaluation(
        id="evaluation-1",
        model="loan",
        snapshot_id="snapshot-1",
        champion_id=champion,
        scores={subject: draw(metrics()) for subject in subjects},
        differences={subject: draw(metrics()) for subject in challengers} if champion else {},
        slices=tuple(slices),
    )


@settings(max_examples=300)
@given(specs(), evaluations())
def test_no_winner_has_a_gate_metric_that_is_no_number(spec: ModelSpec, evaluation: Evaluation) -> None:
    """A winner's metrics are all finite, and so is its gain over the champion; every gate of it passed."""
    decision = decide(spec, CAUSE, evaluation)
    if decision.winner_id is None:
        return
    assert decision.winner_id != evaluation.champion_id
    assert all(math.isfinite(metric.value) for metric in evaluation.scores[decision.winner_id].values())
    assert all(gate.passed for gate in decision.gates if gate.candidate_id == decision.winner_id)
    if evaluation.champion_id:
        gain = next(
            gate for gate in decision.gates if gate.gate.startswith("gain") and gate.candidate_id == decision.winner_id
        )
        assert gain.value is not None
        assert gain.value > spec.gates.minimum_gain


@settings(max_examples=200)
@given(specs(), evaluations(), st.randoms())
def test_the_order_of_candidates_does_not_change_the_decision(spec: ModelSpec, evaluation: Evaluation, random) -> None:  # type: ignore[no-untyped-def]
    """Scores, differences and slices in any order lead to the same decision."""
    scores = list(evaluation.scores.items())
    slices = list(evaluation.slices)
    random.shuffle(scores)
    random.shuffle(slices)
    shuffled = evaluation.model_copy(update={"scores": dict(scores), "slices": tuple(slices)})
    assert repr(decide(spec, CAUSE, shuffled)) == repr(decide(spec, CAUSE, evaluation))


@settings(max_examples=200)
@given(specs(), metrics())
def test_a_candidate_identical_to_the_champion_never_wins(spec: ModelSpec, own: dict[str, Metric]) -> None:
    """Not even where a negative minimum_gain would let an equal through."""
    nothing = {name: Metric(name=name, value=0, low=0, high=0, rows=300) for name in own}
    evaluation = Evaluation(
        id="evaluation-1",
        model="loan",
        snapshot_id="snapshot-1",
        champion_id=CHAMPION,
        scores={CHAMPION: own, "candidate-twin": own},
        differences={"candidate-twin": nothing},
    )
    assert decide(spec, CAUSE, evaluation).winner_id is None


@settings(max_examples=200)
@given(specs(), evaluations())
def test_every_gate_states_its_reason_and_stored_decisions_read_back(spec: ModelSpec, evaluation: Evaluation) -> None:
    """A decision goes to JSON and back without loss, and no gate is silent."""
    decision = decide(spec, CAUSE, evaluation)
    assert type(decision).model_validate_json(decision.model_dump_json()) == decision
    assert decision.reason
    assert all(gate.reason for gate in decision.gates)
