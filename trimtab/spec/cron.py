"""Cron lines: what Prefect would refuse, and what never comes, is refused where the spec is read."""

from __future__ import annotations

import re

_CRON_ITEM = re.compile(r"^(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9]\d?))?$", re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRON_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _WEEKDAYS),
)
"""What each field of a cron line is, its least and its greatest number, and the names of its numbers."""
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def check_cron(line: str) -> None:
    """Refuse what Prefect would refuse, and what never comes; Prefect itself is out of reach down here."""
    texts = line.split()
    remedy = "must be a cron line of five fields, such as '0 6 * * 1', or None"
    if len(texts) != len(_CRON_FIELDS):
        raise ValueError(remedy)
    numbers: list[set[int]] = []
    for text, (what, least, greatest, names) in zip(texts, _CRON_FIELDS, strict=True):
        try:
            numbers.append(set().union(*(_cron_numbers(item, least, greatest, names) for item in text.split(","))))
        except ValueError:
            wanted = f"its {what} is {text!r}; that goes from {least} to {greatest}"
            raise ValueError(f"{remedy}: {wanted}") from None
    _, _, days, months, _ = numbers
    if texts[4] == "*" and not any(day <= _LONGEST_MONTHS[month - 1] for day in days for month in months):
        raise ValueError(f"{remedy}: there is no such day in that month, so that it never comes")


def _cron_numbers(item: str, least: int, greatest: int, names: tuple[str, ...]) -> set[int]:
    match = _CRON_ITEM.match(item)
    if match is None:
        raise ValueError(item)

    def number(text: str) -> int:
        return names.index(text.lower()) + least if text.lower() in names else int(text)

    if match["first"] is None:
        first, last = least, greatest
    else:
        first = number(match["first"])
        last = number(match["last"]) if match["last"] else greatest if match["step"] else first
    if not (least <= first <= greatest and least <= last <= greatest):
        raise ValueError(item)
    # Prefect takes 22-6 as 22 to 6 of the next day.
    numbers = range(first, last + 1) if first <= last else (*range(first, greatest + 1), *range(least, last + 1))
    return set(numbers[:: int(match["step"] or 1)])
