"""Bins, the counts on them, and how these are added."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, reduce
from typing import Literal, NamedTuple

import numpy as np

from trimtab.errors import TrimtabError
from trimtab.records import Value

ColumnType = Literal["number", "integer", "category", "boolean"]

MAXIMUM_OTHERS = 32
"""How many values that are not the reference's are kept by name."""


class _Stated(Value):
    """Equal to another that states the same; the arrays that are kept beside what is stated do not count."""

    __hash__ = Value.__hash__

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            getattr(self, name) == getattr(other, name) for name in type(self).model_fields
        )


class Bins(_Stated):
    """Where the counts of one column go.

    A numeric column has bins ``(edges[i-1], edges[i]]``, one below the first edge and one above the last. If
    ``discrete``, the reference held no values but the edges after the first. A category or boolean column has one bin
    for each of ``categories`` and a last one for all others.
    """

    column: str
    type: ColumnType
    edges: tuple[float, ...] = ()
    discrete: bool = False
    categories: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether the bins lie between edges."""
        return self.type in ("number", "integer")

    @property
    def size(self) -> int:
        """Number of counts."""
        return len(self.edges if self.numeric else self.categories) + 1

    @property
    def origin(self) -> float:
        """What sums are taken from, so that they keep their digits: the middle edge."""
        return self.edges[len(self.edges) // 2] if self.edges else 0.0

    @cached_property
    def edge_array(self) -> np.ndarray:
        """The edges, of shape (edges,); not to be written."""
        return _array(self.edges)


class Quantile(NamedTuple):
    """An estimate, and the ends of the bin in which the true value certainly lies."""

    value: float
    low: float
    high: float


class ColumnProfile(_Stated):
    """Counts of one column.

    ``nulls`` are null or NaN; all that follows is of what is neither null nor infinite. ``sums`` hold, for each bin,
    the sum of (value - ``bins.origin``), ``squares`` the sum of its square over all bins. ``ties`` count, for discrete
    bins, the values equal to the bin's upper edge. ``others`` are values that the reference lacks (for categories
    and discrete numbers) with their counts: all of them if fewer than `MAXIMUM_OTHERS`, else those whose names come
    first by CRC-32, so that the others of a union are known from the others of its parts. Profiles of format 1 have
    neither ``sums`` nor ``ties``.
    """

    bins: Bins
    counts: tuple[int, ...]
    rows: int = 0
    nulls: int = 0
    infinities: int = 0
    minimum: float | None = None
    maximum: float | None = None
    total: float = 0.0
    sums: tuple[float, ...] = ()
    squares: float = 0.0
    ties: tuple[int, ...] = ()
    others: Mapping[str, int] = {}

    @property
    def null_share(self) -> float:
        """Share of rows that are null or NaN; 0 without rows."""
        return self.nulls / self.rows if self.rows else 0.0

    @cached_property
    def valid(self) -> int:
        """Number of rows that are counted in bins."""
        return sum(self.counts)

    @cached_property
    def count_array(self) -> np.ndarray:
        """The counts as float64, of shape (bins,); not to be written."""
        return _array(self.counts)

    @cached_property
    def sum_array(self) -> np.ndarray:
        """The sums, of shape (bins,), or (0,) where there are none; not to be written."""
        return _array(self.sums)

    @property
    def below(self) -> int:
        """Number of values below all of the reference's; 0 for categories."""
        return self.counts[0] if self.bins.numeric and self.bins.edges else 0

    @property
    def above(self) -> int:
        """Number of values above all of the reference's; 0 for categories."""
        return self.counts[-1] if self.bins.numeric else 0

    @property
    def mean(self) -> float:
        """Mean of the finite values; NaN without any."""
        return self.total / self.valid if self.valid and self.bins.numeric else math.nan

    @cached_property
    def deviation(self) -> float:
        """Standard deviation (of the population) of the finite values; NaN without any, and in format 1; infinite where
        the squares are too large for float64, as they are of values beyond some 1e154."""
        if not self.sums or not self.valid:
            return math.nan
        if not math.isfinite(self.squares):
            return math.inf
        shifted = math.fsum(self.sums) / self.valid
        return math.sqrt(max(0.0, self.squares / self.valid - shifted * shifted))

    @property
    def knows_all_others(self) -> bool:
        """Whether ``others`` are all the values that the reference lacks."""
        return len(self.others) < MAXIMUM_OTHERS

    def quantile(self, level: float) -> Quantile:
        """The value below which a share of ``level`` lies, as evenly spread within its bin.

        Raises
        ------
        TrimtabError
            If there is no value, or the level is not within 0 and 1.
        """
        if not self.valid or not self.bins.numeric or not 0 <= level <= 1:
            raise TrimtabError(f"there is no quantile {level} of {self.bins.column!r} with {self.valid} numbers")
        assert self.minimum is not None
        assert self.maximum is not None
        cumulated = np.cumsum(self.counts)
        place = level * self.valid
        position = min(int(np.searchsorted(cumulated, max(place, 1))), len(self.counts) - 1)
        low = max(self.bins.edges[position - 1], self.minimum) if position else self.minimum
        high = min(self.bins.edges[position], self.maximum) if position < len(self.bins.edges) else self.maximum
        if self.ties and self.ties[position] == self.counts[position]:
            low = high
        share = min(max(1 - (int(cumulated[position]) - place) / self.counts[position], 0.0), 1.0)
        width = high - low
        value = low + width * share if math.isfinite(width) else low * (1 - share) + high * share
        return Quantile(value, low, high)

    def merge(self, other: ColumnProfile) -> ColumnProfile:
        """The profile of both sets of rows together.

        Raises
        ------
        TrimtabError
            If the two were counted on different bins.
        """
        if self.bins != other.bins:
            raise TrimtabError(
                f"profiles of {self.bins.column!r} and {other.bins.column!r} were counted on different bins; "
                "only profiles on the same reference's bins can be merged"
            )
        return ColumnProfile(
            bins=self.bins,
            counts=tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            rows=self.rows + other.rows,
            nulls=self.nulls + other.nulls,
            infinities=self.infinities + other.infinities,
            minimum=min((x for x in (self.minimum, other.minimum) if x is not None), default=None),
            maximum=max((x for x in (self.maximum, other.maximum) if x is not None), default=None),
            total=self.total + other.total,
            # What one of the two does not know, both together do not.
            sums=tuple(a + b for a, b in zip(self.sums, other.sums, strict=bool(self.sums and other.sums))),
            squares=self.squares + other.squares if self.sums and other.sums else 0.0,
            ties=tuple(a + b for a, b in zip(self.ties, other.ties, strict=bool(self.ties and other.ties))),
            others=first_others([self.others, other.others]),
        )


class Profile(_Stated):
    """Counts of several columns. Stored as JSON; fields are only ever added, with a default.

    Format 1 had neither sums nor ties nor others.
    """

    format_version: int = 2
    columns: tuple[ColumnProfile, ...]

    def column(self, name: str) -> ColumnProfile:
        """The profile of that column; KeyError if there is none."""
        for column in self.columns:
            if column.bins.column == name:
                return column
        raise KeyError(name)

    def bins(self, *names: str) -> tuple[Bins, ...]:
        """The bins of these columns, of all by default."""
        return tuple(column.bins for column in self.columns if not names or column.bins.column in names)

    def merge(self, other: Profile) -> Profile:
        """The profile of both sets of rows together. Associative and commutative, but for the rounding of sums."""
        columns = tuple(a.merge(b) for a, b in zip(self.columns, other.columns, strict=True))
        return Profile(columns=columns, format_version=min(self.format_version, other.format_version))


def merge(profiles: Sequence[Profile]) -> Profile:
    """The profile of all the rows together; one profile at least must be there."""
    return reduce(Profile.merge, profiles)


def first_others(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The others of all parts together: added by name, and of these the first by CRC-32."""
    found: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            found[name] = found.get(name, 0) + count
    kept = sorted(found, key=lambda name: (zlib.crc32(name.encode("utf-8", "surrogatepass")), name))[:MAXIMUM_OTHERS]
    return {name: found[name] for name in kept}


def _array(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    array.setflags(write=False)
    return array
