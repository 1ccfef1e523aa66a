"""The ruling on a window: the first family of signals that is breached, most severe first, decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trimtab.decay.measurements import Measurements
from trimtab.decay.policy.breaker import breaker
from trimtab.decay.policy.history import History, ruling_id
from trimtab.decay.policy.holds import held_back, rolling_back
from trimtab.decay.policy.hysteresis import hold
from trimtab.decay.policy.sentences import calm, tell
from trimtab.decay.signals import names, signals
from trimtab.records import Action, Release, Ruling, Signal
from trimtab.spec import ModelSpec

_AMISS = (
    names.SKILL,
    *(names.DRIFTED_SHARE, names.DRIFTED_IMPORTANCE, names.DRIFT, names.SLOW_DRIFT, names.MULTIVARIATE, names.SLICE),
    *(names.CALIBRATION, names.SELECTION, names.GROUP, names.ANOMALIES, names.MISSING_OUTCOMES, names.BREAKER),
)
_QUIET = (names.ROWS, names.OUTCOMES)
"""What calls for nothing by itself."""


def rule(spec: ModelSpec, release: Release, window: Measurements, history: History, report: str = "") -> Ruling:
    """Judge a window.

    Parameters
    ----------
    spec
        The model's spec; ``spec.policy`` holds the thresholds.
    release
        What served.
    window
        What was measured.
    history
        What is on record; what happened after ``window.as_of`` is not looked at, nor is the order of the records.
    report
        Address of the report on the window.

    Returns
    -------
    Ruling
        With every signal beside its threshold, and the reason in one sentence.
    """
    identity = ruling_id(spec, release.id, window.start, window.end)
    past = history.until(window.as_of, but=identity)
    before = [one for one in past.before(release.id, window.end) if not _breached(one.signals, names.ROWS)]
    found = signals(spec, window, before)
    measured = hold(spec, found, before[-1] if before else None) + _of_breaker(spec, past, window)
    action, reason = _judge(spec, release, window, measured, past)
    return Ruling(
        id=identity,
        model=spec.name,
        release_id=release.id,
        validation_id=window.validation.id if window.validation else None,
        start=window.start,
        end=window.end,
        as_of=window.as_of,
        action=action,
        reason=reason,
        signals=measured,
        policy_digest=spec.policy_digest,
        report=report,
        outcomes_start=window.start - spec.label_maturity,
        outcomes_end=window.end - spec.label_maturity,
    )


def _of_breaker(spec: ModelSpec, past: History, window: Measurements) -> tuple[Signal, ...]:
    """How the breaker stands, once a retraining was in vain."""
    stands = breaker(spec.policy.breaker, past)
    if not stands.in_vain:
        return ()
    count = len(stands.in_vain)
    return (
        Signal(
            name=names.BREAKER, value=count, threshold=spec.policy.breaker, breached=stands.is_open, rows=window.rows
        ),
    )


def _judge(
    spec: ModelSpec, release: Release, window: Measurements, measured: Sequence[Signal], past: History
) -> tuple[Action, str]:
    if few := _breached(measured, names.ROWS):
        return Action.NONE, tell(names.ROWS, few)
    for family in names.BROKEN:
        if broken := _breached(measured, family):
            return Action.BLOCK, tell(family, broken)
    if worse := _breached(measured, names.PREDECESSOR):
        return _rollback(release, window, worse, past)
    lost = [(family, found) for family in _retraining(spec) if (found := _breached(measured, family))]
    # What this window shows by itself goes before what is only not well back yet.
    for family, found in sorted(lost, key=lambda each: all(one.held for one in each[1])):
        return _retrain(spec, release, window, family, found, past)
    for family in _AMISS:
        if found := [one for one in _breached(measured, family) if one.name not in _QUIET]:
            return Action.ALERT, tell(family, found)
    # A signal of a family that is not named here is not passed over in silence.
    if other := [one for one in measured if one.breached and one.name not in _QUIET]:
        return Action.ALERT, tell("", other)
    return Action.NONE, calm(measured)


def _retraining(spec: ModelSpec) -> Iterator[str]:
    """The families of signals that a retraining answers."""
    yield names.PERFORMANCE
    if spec.policy.retrain_without_skill:
        yield names.SKILL
    yield names.ESTIMATED
    if spec.policy.retrain_on_drift:
        yield from (names.DRIFTED_SHARE, names.DRIFTED_IMPORTANCE)


def _rollback(release: Release, window: Measurements, worse: Sequence[Signal], past: History) -> tuple[Action, str]:
    said = f"version {release.version} {tell(names.PREDECESSOR, worse)}"
    if rolling_back(window.as_of, past, release.id):
        return Action.ALERT, f"{said}, and the rollback is still in flight"
    return Action.ROLLBACK, said


def _retrain(
    spec: ModelSpec, release: Release, window: Measurements, family: str, found: Sequence[Signal], past: History
) -> tuple[Action, str]:
    said = tell(family, found)
    if all(signal.held for signal in found):
        return Action.ALERT, said
    needed, of = spec.policy.expected.persistence if family == names.ESTIMATED else spec.policy.persistence
    before = past.before(release.id, window.end)[-(of - 1) :] if of > 1 else []
    times = 1 + sum(bool(_breached(one.signals, family)) for one in before)
    if times < needed:
        return Action.ALERT, f"{said}, in {times} of the last {of} windows; a retraining needs {needed}"
    if hindrance := held_back(spec, window.as_of, past, release.id):
        return Action.ALERT, f"{said}, but {hindrance}"
    return Action.RETRAIN, said + (f", in {times} of the last {of} windows" if of > 1 else "")


def _breached(measured: Sequence[Signal], family: str) -> list[Signal]:
    return [signal for signal in measured if signal.breached and signal.name.startswith(family)]
