"""Whether a candidate may replace the champion: a pure function of what was measured.

A gate passes only on a number that says so: NaN, or a number that is not there, fails it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from trimtab.records import Cause, Decision, Evaluation, GateResult, Metric, content_id, higher_is_better
from trimtab.spec import ModelSpec


def decide(spec: ModelSpec, cause: Cause, evaluation: Evaluation) -> Decision:
    """Choose the best candidate that passes every gate, or none.

    Without a champion a candidate needs finite metrics, floors and ceilings. With one it must also differ from it, gain
    more than ``minimum_gain`` with the whole paired interval, and lose no more than ``maximum_slice_loss`` on any
    slice. Among those that pass, the one with the best gate metric wins; equals are told apart by their ids.

    Parameters
    ----------
    spec
        The model's spec; ``spec.gates`` holds the thresholds.
    cause
        Why the run happened.
    evaluation
        Candidates and champion on the same rows.
    """
    challengers = sorted(set(evaluation.scores) - {evaluation.champion_id})
    results = {challenger: tuple(_gates(spec, evaluation, challenger)) for challenger in challengers}
    passing = [challenger for challenger in challengers if all(gate.passed for gate in results[challenger])]
    winner = min(passing, key=lambda challenger: _rank(spec, evaluation, challenger), default=None)
    return Decision(
        id=content_id("decision", cause.id, evaluation.id),
        model=evaluation.model,
        cause_id=cause.id,
        evaluation_id=evaluation.id,
        winner_id=winner,
        gates=tuple(gate for challenger in challengers for gate in results[challenger]),
        reason=_reason(spec, evaluation, winner, results),
    )


def improvement(difference: Metric) -> tuple[float, float, float]:
    """A difference (candidate minus champion) as a gain: value, lower end, upper end; positive is better."""
    if higher_is_better(difference.name):
        return difference.value, difference.low, difference.high
    return -difference.value, -difference.high, -difference.low


def _gates(spec: ModelSpec, evaluation: Evaluation, challenger: str) -> Iterator[GateResult]:
    scores = evaluation.scores[challenger]
    unusable = [name for name, metric in scores.items() if not math.isfinite(metric.value)]
    absent = [name for name in _needed(spec) if name not in scores]
    classes = " on the rows that judge (none of some class?)" if unusable and spec.target.kind != "regression" else ""
    yield _result(
        "finite",
        challenger,
        passed=not unusable and not absent,
        reason=f"{unusable + absent} cannot be computed{classes}" if unusable or absent else "every metric is a number",
    )
    for metric, floor in spec.gates.floors.items():
        yield _limit(f"floor:{metric}", challenger, scores.get(metric), floor, at_least=True)
    for metric, ceiling in spec.gates.ceilings.items():
        yield _limit(f"ceiling:{metric}", challenger, scores.get(metric), ceiling, at_least=False)
    if evaluation.champion_id is not None:
        differences = evaluation.differences.get(challenger, {})
        yield _different(challenger, differences)
        yield _gain(spec, challenger, differences.get(spec.gate_metric))
        yield from _slices(spec, evaluation, challenger)


def _different(challenger: str, differences: dict[str, Metric]) -> GateResult:
    moved = any((metric.value, metric.low, metric.high) != (0, 0, 0) for metric in differences.values())
    reason = "it does not predict what the champion predicts" if moved else "it predicts what the champion predicts"
    return _result("different", challenger, passed=moved, reason=reason)


def _gain(spec: ModelSpec, challenger: str, difference: Metric | None) -> GateResult:
    name = f"gain:{spec.gate_metric}"
    least = spec.gates.minimum_gain
    if difference is None or not math.isfinite(difference.low) or not math.isfinite(difference.high):
        reason = f"the gain in {spec.gate_metric} over the champion cannot be computed"
        return _result(name, challenger, passed=False, threshold=least, reason=reason)
    value, low, high = improvement(difference)
    passed = low > least
    reason = (
        f"{spec.gate_metric} gains {value:.4g} over the champion, {spec.gates.confidence:.0%} interval "
        f"[{low:.4g}, {high:.4g}]; its lower end {'is' if passed else 'is not'} above {least:g}"
    )
    return _result(name, challenger, passed=passed, value=low, threshold=least, reason=reason)


def _limit(gate: str, challenger: str, metric: Metric | None, limit: float, *, at_least: bool) -> GateResult:
    if metric is None or not math.isfinite(metric.value):
        return _result(gate, challenger, passed=False, threshold=limit, reason="the metric cannot be computed")
    passed = metric.value >= limit if at_least else metric.value <= limit
    bound = "at least" if at_least else "at most"
    reason = f"{metric.name} is {metric.value:.4g}; it must be {bound} {limit:g}"
    return _result(gate, challenger, passed=passed, value=metric.value, threshold=limit, reason=reason)


def _slices(spec: ModelSpec, evaluation: Evaluation, challenger: str) -> Iterator[GateResult]:
    most = spec.gates.maximum_slice_loss
    if most is None:
        return
    champion = {(s.column, s.value): s.metric for s in evaluation.slices if s.subject == evaluation.champion_id}
    own = {(s.column, s.value): s.metric for s in evaluation.slices if s.subject == challenger}
    for key in sorted(champion.keys() | own.keys()):
        name = f"slice:{key[0]}={key[1]}"
        before, after = champion.get(key), own.get(key)
        if before is None or after is None or not (math.isfinite(before.value) and math.isfinite(after.value)):
            reason = (
                f"{spec.gate_metric} cannot be computed on this slice (one class only?); "
                "raise gates.minimum_slice_rows or choose another gates.metric"
            )
            yield _result(name, challenger, passed=False, threshold=most, reason=reason)
            continue
        loss = before.value - after.value if higher_is_better(after.name) else after.value - before.value
        reason = (
            f"{after.name} went from {before.value:.4g} to {after.value:.4g} on {after.rows} rows: "
            f"{'a loss' if loss > 0 else 'a gain'} of {abs(loss):.4g}; a loss of {most:g} is allowed"
        )
        yield _result(name, challenger, passed=loss <= most, value=loss, threshold=most, reason=reason)


def _needed(spec: ModelSpec) -> set[str]:
    return {spec.gate_metric, *spec.gates.floors, *spec.gates.ceilings}


def _rank(spec: ModelSpec, evaluation: Evaluation, challenger: str) -> tuple[float, str]:
    value = evaluation.scores[challenger][spec.gate_metric].value
    return (-value if higher_is_better(spec.gate_metric) else value), challenger


def _reason(
    spec: ModelSpec, evaluation: Evaluation, winner: str | None, results: dict[str, tuple[GateResult, ...]]
) -> str:
    if winner is not None:
        gain = next((gate.reason for gate in results[winner] if gate.gate.startswith("gain:")), "")
        return gain or f"first release: {winner} passes every gate"
    if not results:
        return f"training gave the champion {evaluation.champion_id} again: there is nothing to replace it with"
    kept = "the champion is kept" if evaluation.champion_id else "nothing is released"
    failed = [
        f"{challenger}: {gate.gate}: {gate.reason}"
        for challenger, gates in results.items()
        for gate in gates
        if not gate.passed
    ]
    return f"{kept}: " + "; ".join(failed)


def _result(
    gate: str,
    challenger: str,
    *,
    passed: bool,
    reason: str,
    value: float | None = None,
    threshold: float | None = None,
) -> GateResult:
    return GateResult(
        gate=gate, candidate_id=challenger, passed=passed, value=value, threshold=threshold, reason=reason
    )
