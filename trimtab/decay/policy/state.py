"""What counts as a change of a model's state: what people are told of, once, and not window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trimtab.decay.signals.names import CALIBRATION, OUTCOMES, PERFORMANCE, ROWS, SKILL, SLICE
from trimtab.records import Action, Ruling, Value

_ON_OUTCOMES = frozenset(name.partition(".")[0] for name in (PERFORMANCE, SKILL, SLICE, CALIBRATION))


class State(Value):
    """How a model stands: the action, and the families of signals that were breached (``drift``, ``performance``)."""

    action: Action = Action.NONE
    families: tuple[str, ...] = ()


class Change(Value):
    """A ruling that changed the state, with the state before; ``since`` is the ruling that brought that one, if any."""

    before: State
    after: State
    ruling: Ruling
    since: Ruling | None = None


def changes(rulings: Iterable[Ruling]) -> Iterator[Change]:
    """The changes of a model's state, in the order in which they came.

    Parameters
    ----------
    rulings
        All rulings on the model, as they were recorded, oldest first. One on a window that ends before another's that
        was judged already changes nothing: it is old news. Further rulings never alter the changes before them.
    """
    state, since, newest = State(), None, None
    for ruling in rulings:
        if newest is not None and ruling.as_of < newest:
            continue
        newest = ruling.as_of
        after = _after(state, ruling)
        if after != state:
            yield Change(before=state, after=after, ruling=ruling, since=since)
            state, since = after, ruling


def _after(state: State, ruling: Ruling) -> State:
    """The state after a ruling; a window that could not be judged leaves it as it was."""
    breached = {signal.name.partition(".")[0] for signal in ruling.signals if signal.breached}
    if ROWS in breached:
        return state
    if ruling.action is Action.NONE:
        untold = OUTCOMES in breached and not _ON_OUTCOMES.isdisjoint(state.families)
        return state if untold else State()
    return State(action=ruling.action, families=tuple(sorted(breached - {OUTCOMES})))
