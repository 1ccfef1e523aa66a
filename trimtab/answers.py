"""The columns that hold what a model said, of every kind of target: their names are settled here and nowhere else.

A binary model and a regression say one ``score``. A model of several classes says ``score.<class>``, the probability of
each in the order of its classes, and ``label``, the likeliest of them. To change what of it is an array:
decay/answers.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SCORE, LABEL = "score", "label"
_PREFIX = f"{SCORE}."


def score_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The columns of the scores; ``classes`` are empty where there is one score."""
    return tuple(_PREFIX + name for name in classes) or (SCORE,)


def answer_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The columns of all that is said: the scores, and of several classes the label."""
    return (*score_names(classes), LABEL) if classes else (SCORE,)


def classes_of(names: Iterable[str]) -> tuple[str, ...]:
    """The classes that columns of these names are the scores of, in their order; empty for one score or none."""
    names = list(names)
    return () if SCORE in names else tuple(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))


def is_taken(name: str, classes: Sequence[str]) -> bool:
    """Whether the answers of a model of these classes need that name."""
    return name == SCORE or (bool(classes) and (name == LABEL or name.startswith(_PREFIX)))


def class_name(value: object) -> str:
    """The name of a class that came as a text or as a number: whole numbers are their digits."""
    # NumPy's floats are floats too, but for the short ones.
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if is_whole else str(value)  # type: ignore[call-overload]


def outcome_name(value: float, classes: Sequence[str]) -> float | str:
    """An outcome as people know it: the number, or of several classes the one at that place."""
    return classes[int(value)] if classes else value


def outcome_text(value: float | str, classes: Sequence[str] = ()) -> str:
    """The same as a text; a name stays as it is."""
    named = value if isinstance(value, str) else outcome_name(value, classes)
    return named if isinstance(named, str) else number_text(named)


def number_text(value: float) -> str:
    """The shortest text that is read as the very same number: what is on record is not rounded."""
    return repr(float(value)).removesuffix(".0")
