"""What a column looks like, in counts that add up.

A `Profile` holds, for each column, counts on bins that were chosen once, on the reference (`choose_bins`). Profiles on
the same bins are added by `merge`: hour plus hour is the day, in any order. Its size depends on columns, never on rows.

To change what is kept: values.py · where rows come from: sources.py · how numbers are counted: numbers.py, and the
loops of it: counting_few.py and counting_many.py · how categories are counted: categories.py · in which threads:
threads.py · which bins are chosen: choosing.py · how hours are stored: stored.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trimtab.answers import SCORE
from trimtab.decay.profile.categories import CategoryCounter
from trimtab.decay.profile.choosing import choose_bins
from trimtab.decay.profile.numbers import number_counter
from trimtab.decay.profile.sources import Source, column_batches
from trimtab.decay.profile.stored import bins_digest, from_bytes, merge_stored, to_bytes
from trimtab.decay.profile.threads import by_columns
from trimtab.decay.profile.values import Bins, ColumnProfile, ColumnType, Profile, Quantile, merge
from trimtab.spec import Feature

__all__ = [
    "SCORE",
    "Bins",
    "ColumnProfile",
    "ColumnType",
    "Profile",
    "Quantile",
    "Source",
    "bins_digest",
    "choose_bins",
    "from_bytes",
    "merge",
    "merge_stored",
    "profile",
    "reference_profile",
    "to_bytes",
]


def profile(source: Source, bins: Sequence[Bins]) -> Profile:
    """Count the rows of a source on these bins, in one scan.

    Parameters
    ----------
    source
        An Arrow table, a Parquet file or several, or a DuckDB relation, such as ``connection.table(name)`` of what
        :func:`trimtab.predictions.scan.register` made a table. Of it some 33,000 rows are held at a time, of one file
        262,000 of one column in each thread.
    bins
        Which columns, and where their counts go.

    Raises
    ------
    TrimtabError
        If a column is not in the source, or does not hold what its type says.
    """

    def counted(some: Sequence[Bins]) -> list[ColumnProfile]:
        counters: list[Any] = [number_counter(one) if one.numeric else CategoryCounter(one) for one in some]
        for place, values in column_batches(source, {one.column: one.type for one in some}):
            counters[place].add(values)
        return [counter.result() for counter in counters]

    return Profile(columns=by_columns(source, bins, counted))


def reference_profile(table: Source, features: Sequence[Feature], answers: Source, said: Sequence[Feature]) -> Profile:
    """The profile that windows are compared with: bins are chosen here, and kept with the model.

    Parameters
    ----------
    table
        The training rows, with a column for each feature.
    features
        The model's features.
    answers
        What the model said of rows that it was not trained on, with a column for each of ``said``.
    said
        The columns of an answer, such as ``score``.
    """
    of_features = profile(table, choose_bins(table, {feature.name: feature.type for feature in features}))
    of_answers = profile(answers, choose_bins(answers, {one.name: one.type for one in said}))
    return Profile(columns=of_features.columns + of_answers.columns)
