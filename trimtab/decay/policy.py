"""From what was measured to what follows: pure, and the first that holds wins.

====================  ============================================================================================
BLOCK                 the window's data is broken: its suite failed, or a feature lost too many of its values
ROLLBACK              the release does worse than its predecessor on the same rows (paired interval)
RETRAIN               performance is lost (or features drift, where the spec asks for that) in k of the last m windows
ALERT                 performance is lost but a retraining is held back, features drift, a group is selected too
                      seldom, or too many outcomes are missing
NONE                  none of these, or the window has too few rows to say
====================  ============================================================================================

A retraining is held back while one is in flight, in the cooldown, when the budget is spent, or when the breaker is
open: the last retrainings all kept the champion, so another will not help until a person looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from trimtab.decay.measurements import Measurements
from trimtab.decay.signals import signals
from trimtab.decay.signals.names import (
    DRIFTED_SHARE,
    MISSING_OUTCOMES,
    NULL_RISE,
    OUTCOMES,
    PERFORMANCE,
    PREDECESSOR,
    ROWS,
    SELECTION,
    VALIDATION,
)
from trimtab.records import Action, Release, Retraining, Ruling, Signal, Value, content_id
from trimtab.spec import ModelSpec

IN_FLIGHT_FOR = timedelta(days=1)
"""Event time after which a ruling whose run never ended no longer holds back the next one."""


class History(Value):
    """What is on record of a model, oldest first."""

    rulings: tuple[Ruling, ...] = ()
    retrainings: tuple[Retraining, ...] = ()


def ruling_id(spec: ModelSpec, release_id: str, start: datetime, end: datetime) -> str:
    """The id of the ruling on a window: the same window of the same release is judged once by the same policy."""
    return content_id("ruling", spec.name, release_id, start.isoformat(), end.isoformat(), spec.policy_digest)


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
        Past rulings and retrainings; those after ``window.as_of`` are not looked at.
    report
        Address of the report on the window.

    Returns
    -------
    Ruling
        With every signal beside its threshold, and the reason in one sentence.
    """
    measured = signals(spec, window)
    identity = ruling_id(spec, release.id, window.start, window.end)
    past = History(
        rulings=tuple(one for one in history.rulings if one.as_of <= window.as_of and one.id != identity),
        retrainings=tuple(one for one in history.retrainings if one.as_of <= window.as_of),
    )
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
    )


def held_back(spec: ModelSpec, as_of: datetime, history: History) -> str | None:
    """Why no retraining may start at ``as_of``; None if one may."""
    policy = spec.policy
    asked = [ruling for ruling in history.rulings if ruling.action is Action.RETRAIN]
    ended = {retraining.cause_id for retraining in history.retrainings}
    for ruling in asked:
        if retrain_cause_id(ruling.id) not in ended and as_of - ruling.as_of < IN_FLIGHT_FOR:
            return f"the retraining ruled on {ruling.as_of:%Y-%m-%d %H:%M} is still in flight"
    times = [one.as_of for one in asked] + [one.as_of for one in history.retrainings]
    last = max(times, default=None)
    if last is not None and as_of - last < policy.cooldown:
        return (
            f"the last retraining was on {last:%Y-%m-%d} and the cooldown lasts until {last + policy.cooldown:%Y-%m-%d}"
        )
    spent = sum(as_of - ruling.as_of < policy.budget_period for ruling in asked)
    if spent >= policy.budget:
        return f"the budget of {policy.budget} retrainings in {_days(policy.budget_period)} is spent"
    latest = sorted((one for one in history.retrainings if one.trigger != "rollback"), key=lambda one: one.as_of)
    if len(latest) >= policy.breaker and not any(one.release_id for one in latest[-policy.breaker :]):
        return f"the breaker is open: the last {policy.breaker} retrainings all kept the champion"
    return None


def retrain_cause_id(ruling: str) -> str:
    """The id of the cause that a RETRAIN ruling's run states."""
    return content_id("cause", ruling)


def _judge(
    spec: ModelSpec, release: Release, window: Measurements, measured: Sequence[Signal], past: History
) -> tuple[Action, str]:
    if few := _breached(measured, ROWS):
        return Action.NONE, f"too few rows to judge: {few[0].value:,.0f} of the {few[0].threshold:,.0f} that are needed"
    if failed := _breached(measured, VALIDATION):
        return (
            Action.BLOCK,
            f"the incoming data is broken: {failed[0].value:.0f} expectations failed ({failed[0].detail})",
        )
    if emptied := _breached(measured, NULL_RISE):
        features = ", ".join(f"{one.name.removeprefix(NULL_RISE)} ({one.detail})" for one in emptied)
        return Action.BLOCK, f"the incoming data is broken: values of {features} went missing"
    if worse := _breached(measured, PREDECESSOR):
        return _rollback(release, window, worse[0], past)
    for prefix, tell in ((PERFORMANCE, _lost), (DRIFTED_SHARE, _drifted)):
        if breached := _breached(measured, prefix):
            if prefix == DRIFTED_SHARE and not spec.policy.retrain_on_drift:
                return Action.ALERT, tell(breached[0])
            return _retrain(spec, release, window, prefix, tell(breached[0]), past)
    if groups := _breached(measured, SELECTION):
        return Action.ALERT, f"a group is selected too seldom: {groups[0].name} is {_interval(groups[0])}, below " + (
            f"{groups[0].threshold:g} ({groups[0].detail})"
        )
    if missing := _breached(measured, MISSING_OUTCOMES):
        return Action.ALERT, (
            f"{missing[0].value:.0%} of {missing[0].rows:,} mature predictions have no outcome; "
            f"{missing[0].threshold:.0%} at most may lack one"
        )
    return Action.NONE, _calm(measured)


def _rollback(release: Release, window: Measurements, worse: Signal, past: History) -> tuple[Action, str]:
    said = (
        f"version {release.version} does worse than its predecessor: {worse.name.removeprefix(PREDECESSOR)} differs by "
        f"{_interval(worse)} on the same {worse.rows:,} rows"
    )
    asked = [one for one in past.rulings if one.action is Action.ROLLBACK and one.release_id == release.id]
    if any(window.as_of - one.as_of < IN_FLIGHT_FOR for one in asked):
        return Action.ALERT, f"{said}, and the rollback is still in flight"
    return Action.ROLLBACK, said


def _retrain(
    spec: ModelSpec, release: Release, window: Measurements, prefix: str, said: str, past: History
) -> tuple[Action, str]:
    needed, of = spec.policy.persistence
    before = [one for one in past.rulings if one.release_id == release.id and one.end < window.end]
    before = sorted(before, key=lambda one: one.end)[-(of - 1) :] if of > 1 else []
    found = 1 + sum(bool(_breached(one.signals, prefix)) for one in before)
    if found < needed:
        return Action.ALERT, f"{said}, in {found} of the last {of} windows; a retraining needs {needed}"
    if hindrance := held_back(spec, window.as_of, past):
        return Action.ALERT, f"{said}, but {hindrance}"
    return Action.RETRAIN, said + (f", in {found} of the last {of} windows" if of > 1 else "")


def _lost(signal: Signal) -> str:
    return (
        f"performance is lost: {signal.name.removeprefix(PERFORMANCE)} is {_interval(signal)} on {signal.rows:,} "
        f"mature outcomes, against {signal.detail} and a limit of {signal.threshold:.4g}"
    )


def _drifted(signal: Signal) -> str:
    return f"{signal.detail} drifted, a share of {signal.value:.0%}; {signal.threshold:.0%} is the limit"


def _calm(measured: Sequence[Signal]) -> str:
    said = [
        f"{signal.name.removeprefix(PERFORMANCE)} is {_interval(signal)} ({signal.detail})"
        for signal in measured
        if signal.name.startswith(PERFORMANCE)
    ]
    if too_few := _breached(measured, OUTCOMES):
        said = [
            f"performance cannot be judged: {too_few[0].value:,.0f} mature outcomes of the "
            f"{too_few[0].threshold:,.0f} that are needed"
        ]
    said += [f"{signal.detail} drifted" for signal in measured if signal.name == DRIFTED_SHARE]
    return "nothing to act on: " + ("; ".join(said) or "nothing could be measured")


def _breached(measured: Sequence[Signal], prefix: str) -> list[Signal]:
    return [signal for signal in measured if signal.breached and signal.name.startswith(prefix)]


def _interval(signal: Signal) -> str:
    return f"{signal.value:.4g} ({signal.low:.4g} to {signal.high:.4g})"


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):g} days"
