"""The reason of a ruling, in one sentence that a person understands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from trimtab.decay.signals import names
from trimtab.records import Signal, is_worse

_NAMED = 3
"""Of many that are breached, so many are named."""


def tell(prefix: str, breached: Sequence[Signal]) -> str:
    """What the breached signals of a family say: the first in full, or the first few by name."""
    said = _SENTENCES[prefix](breached) if prefix in _SENTENCES else _plainly(breached)
    return said + (", and is not well back yet" if all(signal.held for signal in breached) else "")


def calm(measured: Sequence[Signal]) -> str:
    """What a window says on which nothing is to be done."""
    said = [_realised(one) for one in measured if one.name.startswith(names.PERFORMANCE)]
    if too_few := next((one for one in measured if one.name == names.OUTCOMES and one.breached), None):
        said = [
            f"performance cannot be judged: {too_few.value:,.0f} mature outcomes of the "
            f"{too_few.threshold:,.0f} that are needed"
        ]
    said += [f"{signal.detail} drifted" for signal in measured if signal.name == names.DRIFTED_SHARE]
    return "nothing to act on: " + ("; ".join(said) or "nothing could be measured")


def _realised(signal: Signal) -> str:
    """A metric that is not lost; where only its interval keeps it from that, this is said."""
    metric = signal.name.removeprefix(names.PERFORMANCE)
    beyond = is_worse(metric, signal.value, signal.threshold)
    doubt = f", beyond the limit of {signal.threshold:.4g}, which may be chance" if beyond else ""
    return f"{metric} is {_interval(signal)} ({signal.detail}){doubt}"


def _rows(found: Sequence[Signal]) -> str:
    return f"too few rows to judge: {found[0].value:,.0f} of the {found[0].threshold:,.0f} that are needed"


def _invalid(found: Sequence[Signal]) -> str:
    failed = "1 expectation" if found[0].value == 1 else f"{found[0].value:.0f} expectations"
    return f"the incoming data is broken: {failed} failed ({found[0].detail})"


def _emptied(found: Sequence[Signal]) -> str:
    features = ", ".join(f"{one.name.removeprefix(names.NULL_RISE)} ({one.detail})" for one in found)
    return f"the incoming data is broken: values of {features} went missing"


def _faulty(found: Sequence[Signal]) -> str:
    stuck = [one.detail for one in found if one.name.startswith(names.STUCK_OUTCOMES)]
    others = [one for one in found if not one.name.startswith(names.STUCK_OUTCOMES)]
    said = ["the incoming data is broken: " + _joined(others, _fault)] if others else []
    if stuck:
        said.append(f"the outcomes stand still, so that they neither judge the model nor train one: {stuck[0]}")
    return "; ".join(said)


def _fault(fault: Signal) -> str:
    """What is broken, in words: a kind that has none of its own by its name."""
    kind, _, column = fault.name.removeprefix(names.FAULT).partition(".")
    said = {
        "frozen": f"{column} has one value in "
        + (f"{fault.value:.1%} of rows" if fault.value <= 1 else f"{fault.value:,.0f} consecutive rows"),
        "default": f"{column} has a value that stands for none in {fault.value:.1%} of rows",
        "units": f"{column} came as if in another unit",
        "duplicates": f"{fault.value:.1%} of rows are duplicates",
        "repeated_requests": f"{fault.value:.1%} of rows are repeated requests",
        "row_count": f"{fault.value:,.0f} rows came",
        "stale": f"no row came for {fault.value:.1f} hours",
    }.get(kind)
    if said is None:
        return _named(fault, names.FAULT)
    return said + _in_brackets(fault)


def _worse(found: Sequence[Signal]) -> str:
    worse = found[0]
    return (
        f"does worse than its predecessor: {worse.name.removeprefix(names.PREDECESSOR)} differs by "
        f"{_interval(worse)} on the same {worse.rows:,} rows"
    )


def _lost(found: Sequence[Signal]) -> str:
    lost = found[0]
    return (
        f"performance is lost: {lost.name.removeprefix(names.PERFORMANCE)} is {_interval(lost)} on {lost.rows:,} "
        f"mature outcomes, against {lost.detail} and a limit of {lost.threshold:.4g}"
    )


def _without_skill(found: Sequence[Signal]) -> str:
    lost = found[0]
    return (
        f"the model is worse than one constant answer: on {lost.rows:,} mature outcomes "
        f"{lost.name.removeprefix(names.SKILL)} is {lost.detail}, a difference of {_interval(lost)}"
    )


def _expected(found: Sequence[Signal]) -> str:
    lost = found[0]
    return (
        f"performance is expected to be lost, before outcomes are known: {lost.name.removeprefix(names.ESTIMATED)} is "
        f"estimated at {_interval(lost)} on {lost.rows:,} rows, beyond the limit of {lost.threshold:.4g}"
        + (f" ({lost.detail})" if lost.detail else "")
    )


def _drifted_share(found: Sequence[Signal]) -> str:
    return f"{found[0].detail} drifted, a share of {found[0].value:.0%}; {found[0].threshold:.0%} is the limit"


def _drifted_importance(found: Sequence[Signal]) -> str:
    return (
        f"what drifted carries {found[0].value:.0%} of the features' importance to the model; "
        f"{found[0].threshold:.0%} is the limit ({found[0].detail})"
    )


def _drifted(found: Sequence[Signal]) -> str:
    return "drift of " + _joined(found, lambda one: _measured(one, names.DRIFT, "PSI"))


def _slowly(found: Sequence[Signal]) -> str:
    return "slow drift over several windows: " + _joined(
        found, lambda one: _measured(one, names.SLOW_DRIFT, "gathered evidence")
    )


def _multivariate(found: Sequence[Signal]) -> str:
    told = found[0]
    return (
        f"the features as a whole drifted: a classifier tells the rows from those at training with an AUC of "
        f"{_interval(told)}, limit {told.threshold:.4g}{_in_brackets(told)}"
    )


def _on_slices(found: Sequence[Signal]) -> str:
    return "performance is lost on a slice: " + _listed(found, names.SLICE)


def _uncalibrated(found: Sequence[Signal]) -> str:
    return "the scores are no longer calibrated: " + _listed(found, "")


def _selected(found: Sequence[Signal]) -> str:
    seldom = found[0]
    return (
        f"a group is selected too seldom: {seldom.name} is {_interval(seldom)}, below "
        f"{seldom.threshold:g} ({seldom.detail})"
    )


def _groups(found: Sequence[Signal]) -> str:
    return "groups fare differently: " + _listed(found, names.GROUP)


def _anomalous(found: Sequence[Signal]) -> str:
    return (
        f"{found[0].value:.2%} of {found[0].rows:,} rows lie outside the training distribution; "
        f"{found[0].threshold:.2%} is the limit" + (f" ({found[0].detail})" if found[0].detail else "")
    )


def _missing(found: Sequence[Signal]) -> str:
    return (
        f"{found[0].value:.0%} of {found[0].rows:,} mature predictions have no outcome; "
        f"{found[0].threshold:.0%} at most may lack one"
    )


def _breaker(found: Sequence[Signal]) -> str:
    return (
        f"the breaker is open: the last {found[0].value:.0f} retrainings all kept the champion or were rolled back, "
        "and none starts until a person closes it (trimtab breaker close, or the flow close-breaker)"
    )


def _plainly(found: Sequence[Signal]) -> str:
    return "out of its limits: " + _listed(found, "")


def _listed(found: Sequence[Signal], prefix: str) -> str:
    return _joined(found, lambda one: _named(one, prefix))


def _joined(found: Sequence[Signal], say: Callable[[Signal], str]) -> str:
    """The first few in words, and how many more there are."""
    more = len(found) - _NAMED
    return "; ".join(say(one) for one in found[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _named(signal: Signal, prefix: str) -> str:
    return f"{signal.name.removeprefix(prefix)} {_interval(signal)}, limit {signal.threshold:.4g}{_in_brackets(signal)}"


def _measured(signal: Signal, prefix: str, measure: str) -> str:
    return (
        f"{signal.name.removeprefix(prefix)}: {measure} {signal.value:.4g}, limit {signal.threshold:.4g}"
        f"{_in_brackets(signal)}"
    )


def _in_brackets(signal: Signal) -> str:
    return f" ({signal.detail})" if signal.detail else ""


def _interval(signal: Signal) -> str:
    if signal.low is None or signal.high is None:
        return f"{signal.value:.4g}"
    return f"{signal.value:.4g} ({signal.low:.4g} to {signal.high:.4g})"


_SENTENCES: Mapping[str, Callable[[Sequence[Signal]], str]] = {
    names.ROWS: _rows,
    names.VALIDATION: _invalid,
    names.NULL_RISE: _emptied,
    names.FAULT: _faulty,
    names.PREDECESSOR: _worse,
    names.PERFORMANCE: _lost,
    names.SKILL: _without_skill,
    names.ESTIMATED: _expected,
    names.DRIFTED_SHARE: _drifted_share,
    names.DRIFTED_IMPORTANCE: _drifted_importance,
    names.DRIFT: _drifted,
    names.SLOW_DRIFT: _slowly,
    names.MULTIVARIATE: _multivariate,
    names.SLICE: _on_slices,
    names.CALIBRATION: _uncalibrated,
    names.SELECTION: _selected,
    names.GROUP: _groups,
    names.ANOMALIES: _anomalous,
    names.MISSING_OUTCOMES: _missing,
    names.BREAKER: _breaker,
}
