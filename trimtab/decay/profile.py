"""What a column looks like, in counts that add up.

A `Profile` holds, for each column, counts on bins that were chosen once, on the reference (`choose_bins`). Profiles on
the same bins are added by `merge`: hour plus hour is the day, in any order. Its size depends on columns, never on rows.
DuckDB counts all columns in one scan of an Arrow table or of a Parquet file.
"""

# ruff: noqa: S608 (names are quoted, and the values within the queries are the bins' own)
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from trimtab.errors import TrimtabError
from trimtab.records import Value
from trimtab.spec import Feature

QUANTILE_BINS = 64
EQUAL_WIDTH_BINS = 64
MAXIMUM_DISTINCT = 64
MAXIMUM_CATEGORIES = 200
SCORE = "score"
_SOURCE = "source_rows"

ColumnType = Literal["number", "integer", "category", "boolean"]


class Bins(Value):
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


class ColumnProfile(Value):
    """Counts of one column. ``nulls`` are null or NaN, ``counts`` hold neither those nor the infinities."""

    bins: Bins
    counts: tuple[int, ...]
    rows: int = 0
    nulls: int = 0
    infinities: int = 0
    minimum: float | None = None
    maximum: float | None = None
    total: float = 0.0

    @property
    def null_share(self) -> float:
        """Share of rows that are null or NaN; 0 without rows."""
        return self.nulls / self.rows if self.rows else 0.0

    @property
    def valid(self) -> int:
        """Number of rows that are counted in bins."""
        return sum(self.counts)

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
        )


class Profile(Value):
    """Counts of several columns. Stored as JSON; fields are only ever added, with a default."""

    format_version: int = 1
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
        """The profile of both sets of rows together. Associative and commutative, but for the rounding of ``total``."""
        return Profile(columns=tuple(a.merge(b) for a, b in zip(self.columns, other.columns, strict=True)))


def merge(profiles: Sequence[Profile]) -> Profile:
    """The profile of all the rows together; one profile at least must be there."""
    return reduce(Profile.merge, profiles)


def reference_profile(table: pa.Table, features: Sequence[Feature], score: Sequence[float]) -> Profile:
    """The profile that windows are compared with: bins are chosen here, and kept with the model.

    Parameters
    ----------
    table
        The training rows, with a column for each feature.
    features
        The model's features.
    score
        The model's scores on rows that it was not trained on, of shape (rows,).
    """
    scores = pa.table({SCORE: pa.array(np.asarray(score, dtype=np.float64))})
    of_features = profile(table, choose_bins(table, {feature.name: feature.type for feature in features}))
    of_score = profile(scores, choose_bins(scores, {SCORE: "number"}))
    return Profile(columns=of_features.columns + of_score.columns)


def choose_bins(source: pa.Table | Path, columns: Mapping[str, ColumnType]) -> tuple[Bins, ...]:
    """Bins for these columns: the distinct values where they are few, else quantiles and equal widths mixed; the most
    frequent categories (`MAXIMUM_CATEGORIES` at most)."""
    return tuple(_choose(source, column, kind) for column, kind in columns.items())


def profile(source: pa.Table | Path, bins: Sequence[Bins]) -> Profile:
    """Count the rows of a table or Parquet file on these bins, in one scan."""
    typed = ", ".join(f"{_typed(one)} AS c{position}" for position, one in enumerate(bins))
    measures = ", ".join(_measures(position, one) for position, one in enumerate(bins))
    row = _fetch(source, f"SELECT count(*) AS rows, {measures} FROM (SELECT {typed} FROM {_SOURCE})")[0]
    return Profile(columns=tuple(_column(position, one, row) for position, one in enumerate(bins)))


def _choose(source: pa.Table | Path, column: str, kind: ColumnType) -> Bins:
    values = f"(SELECT {_typed(Bins(column=column, type=kind))} AS c FROM {_SOURCE})"
    if kind in ("category", "boolean"):
        found = _fetch(
            source,
            f"SELECT c FROM {values} WHERE c IS NOT NULL GROUP BY c "
            f"ORDER BY count(*) DESC, c LIMIT {MAXIMUM_CATEGORIES}",
        )
        return Bins(column=column, type=kind, categories=tuple(sorted(row["c"] for row in found)))
    finite = f"(SELECT c FROM {values} WHERE isfinite(c))"
    distinct = _fetch(source, f"SELECT DISTINCT c FROM {finite} LIMIT {MAXIMUM_DISTINCT + 1}")
    if len(distinct) <= MAXIMUM_DISTINCT:
        edges = np.unique([row["c"] + 0.0 for row in distinct])
    else:
        levels = [round(level / QUANTILE_BINS, 9) for level in range(QUANTILE_BINS + 1)]
        quantiles = _fetch(source, f"SELECT quantile_disc(c, {levels}) AS q FROM {finite}")[0]["q"]
        with np.errstate(over="ignore", invalid="ignore"):
            widths = np.linspace(quantiles[0], quantiles[-1], EQUAL_WIDTH_BINS + 1)
        edges = np.unique(np.concatenate([np.asarray(quantiles), widths[np.isfinite(widths)]]) + 0.0)
    # The first bin is for what lies below all of the reference, so its edge lies just below the least value.
    below = [float(np.nextafter(edges[0], -math.inf))] if len(edges) else [0.0]
    return Bins(
        column=column,
        type=kind,
        edges=(*below, *(float(edge) for edge in edges)),
        discrete=len(distinct) <= MAXIMUM_DISTINCT,
    )


def _typed(bins: Bins) -> str:
    quoted = '"' + bins.column.replace('"', '""') + '"'
    if bins.type == "boolean":
        return f"CAST(CAST({quoted} AS BOOLEAN) AS VARCHAR)"
    return f"CAST({quoted} AS {'DOUBLE' if bins.numeric else 'VARCHAR'})"


def _measures(position: int, bins: Bins) -> str:
    c = f"c{position}"
    if not bins.numeric:
        # DuckDB counts all other values under '', so real values carry a mark that '' lacks.
        marked = "[" + ", ".join(_text("=" + category) for category in bins.categories) + "]::VARCHAR[]"
        return f"count(*) - count({c}) AS nulls{position}, histogram_exact('=' || {c}, {marked}) AS counts{position}"
    edges = "[" + ", ".join(f"'{edge!r}'::DOUBLE" for edge in bins.edges) + "]"
    finite = f"FILTER (WHERE isfinite({c}))"
    return (
        f"count(*) FILTER (WHERE {c} IS NULL OR isnan({c})) AS nulls{position}, "
        f"count(*) FILTER (WHERE isinf({c})) AS infinities{position}, "
        f"histogram({c}, {edges}) {finite} AS counts{position}, min({c}) {finite} AS minimum{position}, "
        f"max({c}) {finite} AS maximum{position}, sum({c}) {finite} AS total{position}"
    )


def _column(position: int, bins: Bins, row: Mapping[str, Any]) -> ColumnProfile:
    found = row[f"counts{position}"] or {}
    nulls = row[f"nulls{position}"]
    if not bins.numeric:
        known = [int(found.get("=" + category, 0)) for category in bins.categories]
        return ColumnProfile(
            bins=bins, counts=(*known, row["rows"] - nulls - sum(known)), rows=row["rows"], nulls=nulls
        )
    infinities = row[f"infinities{position}"]
    within = [int(found.get(edge, 0)) for edge in bins.edges]
    return ColumnProfile(
        bins=bins,
        counts=(*within, row["rows"] - nulls - infinities - sum(within)),
        rows=row["rows"],
        nulls=nulls,
        infinities=infinities,
        minimum=row[f"minimum{position}"],
        maximum=row[f"maximum{position}"],
        total=row[f"total{position}"] or 0.0,
    )


def _fetch(source: pa.Table | Path, query: str) -> list[dict[str, Any]]:
    import duckdb

    with duckdb.connect(config={"threads": 2}) as connection:
        if isinstance(source, Path):
            connection.execute(f"CREATE VIEW {_SOURCE} AS FROM read_parquet({_text(str(source))})")
        else:
            connection.register(_SOURCE, source)
        cursor = connection.execute(query)
        columns = [column[0] for column in cursor.description or ()]
        return [dict(zip(columns, values, strict=True)) for values in cursor.fetchall()]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
