"""Cells of a CSV file that keep a column from being read as its owner meant it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from trimtab.backtest.files import NUMBER, feature_type
from trimtab.errors import SourceError

_WITH_COMMAS = r"^\s*[-+]?((\d{1,3}(\.\d{3})*|\d+),\d+|\d{1,3}(,\d{3})+(\.\d+)?)\s*$"
"""A number with a decimal comma, such as ``1.234,56``, or with commas between its thousands."""
_LEAST_AMOUNTS = 20
"""So many texts of that form that differ are numbers; fewer may be codes, such as ``1,5`` of an engine."""


def require_decimal_points(table: pa.Table, names: Sequence[str]) -> None:
    """Refuse columns of texts that are numbers with commas: they would count as so many categories or classes.

    Raises
    ------
    SourceError
        With the column, how many cells are so, and one of them.
    """
    for name in names:
        if feature_type(table[name].type) != "category":
            continue
        values, counts = pc.value_counts(table[name].drop_null()).flatten()
        is_amount = pc.match_substring_regex(values, _WITH_COMMAS)
        amounts = values.filter(is_amount)
        cells = pc.sum(counts.filter(is_amount), min_count=0).as_py()
        if len(amounts) >= _LEAST_AMOUNTS and 2 * cells > pc.sum(counts, min_count=0).as_py():
            raise SourceError(
                f"column {name!r} holds {amounts[0].as_py()!r}, and numbers with commas in {cells:,} of "
                f"{table.num_rows:,} rows; write them with a decimal point and nothing between the thousands, such as "
                "1234.56"
            )


def texts_among_numbers(path: Path, table: pa.Table, names: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Columns that are read as texts though most of their cells are numbers: a single ``-`` makes a column so.

    Parameters
    ----------
    path
        The file; in a Parquet file a column has the type that its writer gave it, and none is found.
    table
        Its rows.
    names
        The columns to look at.

    Returns
    -------
    dict
        By column, how many cells hold a text that is no number, and the commonest of them.
    """
    found = {}
    for name in names if path.suffix.lower() == ".csv" else ():
        if feature_type(table[name].type) != "category":
            continue
        values, counts = pc.value_counts(table[name].drop_null()).flatten()
        is_other = pc.invert(pc.match_substring_regex(values, NUMBER))
        others, of_each = values.filter(is_other), counts.filter(is_other)
        cells = pc.sum(of_each, min_count=0).as_py()
        if 0 < 2 * cells < pc.sum(counts, min_count=0).as_py():
            found[name] = (cells, others[pc.index(of_each, pc.max(of_each)).as_py()].as_py())
    return found
