"""A first expectation suite, drawn from rows that are known to be sound, for a person to edit."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.decay.rows import code, mix
from trimtab.decay.soundness import ColumnSoundness, Soundness, quantiles_at, soundness
from trimtab.spec import Feature, ModelSpec, in_words

MOST_CATEGORIES = 50
_TYPES = {
    "number": ["float64", "int64"],
    "integer": ["int64", "float64"],
    "boolean": ["bool", "object"],
}
"""What pandas calls the columns; integers with nulls are floats there, booleans with nulls objects.

Great Expectations knows no name for the strings of pandas 3; their sets and lengths tell them.
"""

Item = dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """A suite as Great Expectations reads it, and what a person should look at before it is used."""

    suite: dict[str, Any]
    look_at: tuple[str, ...]

    def to_json(self) -> str:
        """The suite as JSON, an expectation a line."""
        lines = ",\n    ".join(json.dumps(item, ensure_ascii=False) for item in self.suite["expectations"])
        return f'{{\n  "name": {json.dumps(self.suite["name"])},\n  "expectations": [\n    {lines}\n  ]\n}}\n'


def draft_suite(spec: ModelSpec, rows: pa.Table) -> Draft:
    """Draft the suite of a model. It holds on the rows that it is drawn from.

    Parameters
    ----------
    spec
        The model's spec.
    rows
        Rows as a snapshot has them: event time, key, features and target.
    """
    sound = soundness(spec, rows)
    items = [_row_count(spec, rows, sound), _not_null(spec.event_time, 0.0, "event times are never missing")]
    look_at: list[str] = []
    if spec.key:
        twice = rows.num_rows - len(pc.unique(rows[spec.key]))
        if twice:
            look_at.append(f"{spec.key}: the key is there twice in {twice:,} of {rows.num_rows:,} rows")
        else:
            note = f"no key was there twice in {rows.num_rows:,} rows"
            items.append(_item("expect_column_values_to_be_unique", note, column=spec.key))
    for feature in spec.features:
        known = sound.column(feature.name) or ColumnSoundness(column=feature.name)
        items += _of_feature(feature, rows, known, look_at)
    items += [*_repeats(spec, rows, look_at), *_of_target(spec, rows)]
    return Draft({"name": spec.suite, "expectations": items}, tuple(look_at))


def _row_count(spec: ModelSpec, rows: pa.Table, sound: Soundness) -> Item:
    least = max(1, min(rows.num_rows, sound.rows) // 10)
    window = in_words(spec.window)
    note = f"a tenth of the {sound.rows:,} rows that a window of {window} had at most: windows are held against it"
    return _item("expect_table_row_count_to_be_between", note, min_value=least)


def _of_feature(feature: Feature, rows: pa.Table, known: ColumnSoundness, look_at: list[str]) -> Iterator[Item]:
    name, column = feature.name, rows[feature.name]
    if feature.type in _TYPES:
        types, note = _TYPES[feature.type], f"type {feature.type} in the spec"
        yield _item("expect_column_values_to_be_in_type_list", note, column=name, type_list=types)
    yield from _nulls(feature, column, look_at)
    present = code(column, feature).present
    if not len(present):
        look_at.append(f"{name}: it has no value in any row")
    elif feature.type == "category":
        yield from _categories(name, column, look_at)
    elif feature.type != "boolean":
        yield from _range(feature, present, look_at)
        yield from _shape(name, known, len(np.unique(present)), look_at)


def _nulls(feature: Feature, column: pa.ChunkedArray, look_at: list[str]) -> Iterator[Item]:
    missing = np.asarray(column.is_null())
    share = float(missing.mean()) if len(missing) else 0.0
    worst = max((float(part.mean()) for part in np.array_split(missing, 10) if len(part)), default=0.0)
    if share:
        look_at.append(f"{feature.name}: {share:.2%} of its values are missing, {worst:.2%} in the worst tenth")
    slack = 0.0 if not feature.nullable and not share else max(0.01, worst + max(0.05, worst / 2) if share else 0.0)
    note = f"{share:.2%} missing of {len(missing):,}, {worst:.2%} in the worst tenth of the rows"
    if slack < 1:
        yield _not_null(feature.name, slack, note)


def _not_null(name: str, slack: float, note: str) -> Item:
    mostly = {} if not slack else {"mostly": math.floor((1 - slack) * 100) / 100}
    return _item("expect_column_values_to_not_be_null", note, column=name, **mostly)


def _categories(name: str, column: pa.ChunkedArray, look_at: list[str]) -> Iterator[Item]:
    values = sorted(value for value in pc.unique(column).to_pylist() if value is not None)
    if len(values) <= MOST_CATEGORIES:
        note = f"the {len(values)} values of {len(column):,} rows; one row in a hundred may have another"
        yield _item("expect_column_values_to_be_in_set", note, column=name, value_set=values, mostly=0.99)
        return
    lengths = [len(value) for value in values]
    look_at.append(f"{name}: it has {len(values):,} values; too many to list, so only their lengths are checked")
    note = f"the shortest and the longest of {len(values):,} values"
    yield _item(
        "expect_column_value_lengths_to_be_between",
        note,
        column=name,
        min_value=min(lengths),
        max_value=max(lengths),
        mostly=0.99,
    )


def _range(feature: Feature, present: np.ndarray, look_at: list[str], room: float = 0.5) -> Iterator[Item]:
    """Bounds beyond where the values lie, by ``room`` times as far as 99.8 % of them are apart; a row in a hundred may
    be outside: single odd rows are no fault, and what is heavy-tailed has some in each window."""
    low, high = quantiles_at(present, [0.001, 0.999]).tolist()
    margin = (high / 2 - low / 2) * 2 * room or max(1.0, abs(low))
    least, most = _rounded(low - margin, math.floor), _rounded(high + margin, math.ceil)
    # What is never negative hardly ever may be.
    least = max(0.0, least) if present.min() >= 0 else least
    outside = float(np.mean((present < least) | (present > most)))
    if outside:
        look_at.append(
            f"{feature.name}: {outside:.3%} of its values are outside of {least:g} to {most:g}, such as "
            f"{present[np.argmax(np.abs(present / 2 - (low / 4 + high / 4)))]:g}"
        )
    mostly = math.floor(min(0.99, 1 - 2 * outside) * 1000) / 1000
    note = f"0.1 % to 99.9 % lie within {low:.6g} to {high:.6g}, all within {present.min():.6g} to {present.max():.6g}"
    bounds = {"min_value": least, "max_value": most}
    if feature.type == "integer":
        bounds = {end: int(value) for end, value in bounds.items()}
    yield _item("expect_column_values_to_be_between", note, column=feature.name, **bounds, mostly=mostly)


def _shape(name: str, known: ColumnSoundness, distinct: int, look_at: list[str]) -> Iterator[Item]:
    if distinct == 1:
        look_at.append(f"{name}: it has one value in all rows")
    if 3 * known.top_share <= 1:
        note = f"no value had more than {known.top_share:.2%} of the values of any window"
        yield _item(
            "expect_column_most_common_value_share_to_be_between",
            note,
            column=name,
            max_value=round(max(0.1, 3 * known.top_share), 3),
        )
        quantiles, nonzero = (
            [float(f"{value:.5g}") for value in found[0]] if found else [] for found in (known.quantiles, known.nonzero)
        )
        note = "quantiles at 0.02, 0.04, ... 0.98 of all rows, and of those that are not 0"
        yield _item(
            "expect_column_values_to_match_reference_units",
            note,
            column=name,
            quantiles=quantiles,
            nonzero_quantiles=nonzero,
        )


def _repeats(spec: ModelSpec, rows: pa.Table, look_at: list[str]) -> Iterator[Item]:
    _, counts = np.unique(mix([code(rows[one.name], one).values for one in spec.features]), return_counts=True)
    share = float(counts[counts > 1].sum() / max(1, rows.num_rows))
    if share > 0.1:
        look_at.append(f"{share:.1%} of the rows are equal to another in all features: that is not checked")
    elif len(spec.features) > 1:
        note = f"{share:.2%} of the rows are equal to another in all features"
        yield _item(
            "expect_compound_columns_to_be_unique",
            note,
            column_list=spec.feature_names,
            mostly=math.floor((1 - max(0.1, 3 * share)) * 100) / 100,
        )


def _of_target(spec: ModelSpec, rows: pa.Table) -> Iterator[Item]:
    name = spec.target.name
    yield _not_null(name, 0.0, "the target of every row was known")
    if spec.target.classes:
        classes = list(spec.target.classes)
        yield _item("expect_column_values_to_be_in_set", "the target's classes", column=name, value_set=classes)
        return
    values = np.asarray(rows[name].to_numpy(), dtype=np.float64)
    if spec.target.kind == "binary":
        yield _item("expect_column_values_to_be_in_set", "a binary target", column=name, value_set=[0, 1])
        mean = float(values.mean())
        least, most = _rounded(mean / 4, math.floor), 1 - _rounded((1 - mean) / 4, math.floor)
        note = f"the mean was {mean:.4g}: wide, for when it moves a new model is wanted"
        yield _item("expect_column_mean_to_be_between", note, column=name, min_value=least, max_value=round(most, 4))
    else:
        # Wide: when it moves, a new model is wanted; this is for another unit.
        yield from _range(Feature(name=name, type="number"), values, [], room=4.0)


def _item(type_: str, note: str, **kwargs: Any) -> Item:
    return {"type": type_, "kwargs": kwargs, "meta": {"notes": note}}


def _rounded(value: float, to: Any) -> float:
    """Two digits, away from the values; the largest float where that is beyond it."""
    if not value:
        return 0.0
    value = max(-sys.float_info.max, min(value, sys.float_info.max))
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    rounded = float(f"{to(value / unit) * unit:.12g}")
    return rounded if math.isfinite(rounded) else value
