"""A CSV or Parquet file as the rows of a history."""

from __future__ import annotations

import codecs
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.answers import SCORE, class_name, score_names
from trimtab.backtest.rows import PastRows
from trimtab.errors import SourceError, SpecError
from trimtab.spec import Feature, ModelSpec

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".parquet")
NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
"""A text of a CSV that is a number."""
_MOST_HEADING_BYTES = 1_000_000
_MOST_FILLERS, _LEAST_NUMBERS = 3, 20
"""A column of a CSV holds numbers where at most so many texts are none, and so many others differ: fewer are codes."""

_SHOWN_VALUES, _SHOWN_BYTES = 10, 60
_SAVED = "save the file as UTF-8"

FeatureType = Literal["number", "integer", "category", "boolean"]


def read_file(path: Path) -> pa.Table:
    """The rows of a CSV or Parquet file, as they are.

    Raises
    ------
    SourceError
        If it is not there, has another suffix, or is not what its suffix says.
    """
    import pyarrow.csv
    import pyarrow.parquet as pq

    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SourceError(f"{path} ends in {path.suffix!r}; it must be a .csv or a .parquet file")
    if not path.is_file():
        raise SourceError(f"there is no file {path}")
    if suffix == ".csv":
        _require_heading(path)
    try:
        # Whatever an empty text means, it is no category.
        nulls = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
        of_csv = suffix == ".csv"
        table = pyarrow.csv.read_csv(path, convert_options=nulls) if of_csv else pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path} cannot be read as {suffix[1:]}: {error}") from error
    if not table.num_rows:
        raise SourceError(f"{path} has no rows")
    if twice := [name for name, count in Counter(table.column_names).items() if count > 1]:
        raise SourceError(f"{path} has several columns of the name {twice}; each needs a name of its own")
    if of_csv:
        _require_texts(path, table)
    read = _as_numbers if of_csv else _plain
    return pa.table({name: read(table[name]) for name in table.column_names})


def _require_heading(path: Path) -> None:
    with path.open("rb") as file:
        heading = file.readline(_MOST_HEADING_BYTES)
    try:
        # A heading that is longer than what was read may end within a letter.
        codecs.getincrementaldecoder("utf-8")().decode(heading)
    except UnicodeDecodeError as error:
        raise SourceError(f"the heading of {path}, {heading[:_SHOWN_BYTES]!r}, is not UTF-8: {_SAVED}") from error
    marks = [mark for mark in ";\t|" if mark.encode() in heading]
    if marks and b"," not in heading:
        raise SourceError(
            f"the cells of {path} are divided by {marks[0]!r}: write it with commas, and its numbers with a point"
        )


def _require_texts(path: Path, table: pa.Table) -> None:
    """Refuse a CSV with cells in another encoding: Arrow takes a column that has one for bytes."""
    for name in table.column_names:
        if not pa.types.is_binary(table[name].type):
            continue
        for number, cell in enumerate(table[name].to_pylist(), 1):
            try:
                (cell or b"").decode()
            except UnicodeDecodeError as error:
                raise SourceError(f"column {name!r} of {path} holds {cell!r} in row {number}: {_SAVED}") from error


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values themselves where a dictionary holds them."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _as_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts that are numbers but for a filler such as ``-`` as numbers; others as they are."""
    if not pa.types.is_string(column.type):
        return column
    told = pc.fill_null(pc.match_substring_regex(column, NUMBER), fill_value=False)
    others = pc.count_distinct(column.filter(pc.invert(told))).as_py()
    numbers = pc.count_distinct(column.filter(told)).as_py()
    if others > _MOST_FILLERS or numbers < _LEAST_NUMBERS or 2 * pc.sum(told).as_py() < len(column):
        return column
    return pc.if_else(told, pc.utf8_trim_whitespace(column), None).cast(pa.float64())


def unread_numbers(path: Path, table: pa.Table, names: Sequence[str]) -> dict[str, int]:
    """How many texts such as ``n/a`` of a CSV file's columns of numbers or truth values count as missing, by column.

    Parameters
    ----------
    path
        The file; in a Parquet file a column has one type, and none is unread.
    table
        Its rows.
    names
        The columns to look at; those without such a text are left out.

    Raises
    ------
    SourceError
        If most values of a column are such texts.
    """
    import pyarrow.csv

    numeric = ("number", "integer", "boolean")
    asked = [name for name in names if feature_type(table[name].type) in numeric and table[name].null_count]
    if path.suffix.lower() != ".csv" or not asked:
        return {}
    as_texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(asked, pa.string()), include_columns=asked)
    found, written = {}, pyarrow.csv.read_csv(path, convert_options=as_texts)
    for name in asked:
        texts = written[name].filter(pc.and_(pc.is_null(table[name]), pc.not_equal(written[name], "")))
        if 2 * len(texts) > table.num_rows:
            raise SourceError(
                f"column {name!r} holds no numbers in {len(texts):,} of {table.num_rows:,} rows, such as "
                f"{texts[0].as_py()!r}; leave it out of --features, or leave its cells empty where nothing is known"
            )
        if len(texts):
            found[name] = len(texts)
    return found


def require_columns(table: pa.Table, wanted: dict[str, str]) -> None:
    """Refuse a table that lacks a column; ``wanted`` says what each is for.

    Raises
    ------
    SpecError
        With the columns that there are.
    """
    for name, purpose in wanted.items():
        if name not in table.column_names:
            raise SpecError(
                f"there is no column {name!r}, which is to be the {purpose}; there are {table.column_names}"
            )


def infer_features(table: pa.Table, names: list[str]) -> tuple[Feature, ...]:
    """Each column as a feature of the type that its values have.

    Raises
    ------
    SpecError
        If a column holds what no feature can be, such as a time.
    """
    features = []
    for name in names:
        kind = feature_type(table.schema.field(name).type)
        if kind is None:
            raise SpecError(
                f"column {name!r} holds {table.schema.field(name).type}; a feature holds numbers, texts or truth values"
            )
        features.append(Feature(name=name, type=kind))
    return tuple(features)


def feature_type(kind: pa.DataType) -> FeatureType | None:
    """What a column of that Arrow type is as a feature; None if it is none."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "category"
    return None


def class_names(column: pa.ChunkedArray) -> tuple[str, ...]:
    """The classes that a target's column holds, sorted."""
    return tuple(sorted({class_name(value) for value in pc.unique(column.drop_null()).to_pylist()}))


def target_kind(column: pa.ChunkedArray) -> str:
    """The kind of target that a column's values are: two of them binary, other numbers regression, texts multiclass."""
    if feature_type(column.type) == "category":
        return "multiclass" if pc.count_distinct(column).as_py() > 2 else "binary"
    values = pc.unique(column.drop_null())
    is_binary = len(values) == 2 or all(value in (0, 1) for value in values[:3].to_pylist())
    return "binary" if is_binary else "regression"


def require_binary(name: str, column: pa.ChunkedArray) -> None:
    """Refuse a column of two values of which none says which is 1.

    Raises
    ------
    SpecError
        With what says so.
    """
    values = pc.unique(column.drop_null())
    if len(values) == 2 and not set(values.to_pylist()) <= {0, 1}:
        one, other = sorted(map(class_name, values.to_pylist()))
        raise SpecError(
            f"target {name!r} holds {one!r} and {other!r}; --positive, or positive = ... in the spec, says which of "
            f"them is 1, such as --positive {shlex.quote(other)}"
        )


def with_positive(table: pa.Table, name: str, positive: str) -> pa.Table:
    """The table with its target as 1 where it is the positive value, 0 where it is the other, null where it is null.

    Raises
    ------
    SpecError
        If the target does not hold two values, or neither of them is the positive one.
    """
    column = table[name]
    known = pc.unique(column.drop_null())
    values = [class_name(value) for value in known[:_SHOWN_VALUES].to_pylist()]
    if len(known) != 2 or positive not in values:
        more = f", and {len(known) - len(values)} more" if len(known) > len(values) else ""
        raise SpecError(
            f"positive is {positive!r}, but target {name!r} holds {sorted(values)}{more}; it must be one of two values"
        )
    is_positive = pc.equal(column, known[values.index(positive)]).cast(pa.int64())
    return table.set_column(table.column_names.index(name), name, is_positive)


def is_feature(column: pa.ChunkedArray) -> bool:
    """Whether a column can be a feature, holds some value, and is no whole number or text that differs in every row:
    that names the row, and says nothing of another."""
    if column.null_count == len(column):
        return False
    kind = feature_type(column.type)
    if kind in ("integer", "category"):
        return len(column) < 2 or bool(pc.count_distinct(column, mode="all").as_py() < len(column))
    return kind is not None


def past_rows(spec: ModelSpec, table: pa.Table, score: str | None = None) -> PastRows:
    """Check the rows against the spec, and put them in the order of their event time.

    Times without a zone count as UTC; a target that is null never became known.

    Parameters
    ----------
    spec
        Names the columns.
    table
        The rows, in any order.
    score
        The column that holds what a deployed model said, of several classes the columns ``<score>.<class>``; None:
        there is none.

    Raises
    ------
    SourceError
        If a column holds something other than the spec says; the message names column and value.
    """

    frame = table.to_pandas()
    frame[spec.event_time] = parse_times(spec.event_time, frame[spec.event_time])
    for feature in spec.features:
        if feature.type == "category":
            frame[feature.name] = frame[feature.name].astype("object").where(frame[feature.name].notna(), None)
    known = frame[spec.target.name].notna().to_numpy()
    frame[spec.target.name] = _target(spec, frame[spec.target.name], known)
    order = np.argsort(frame[spec.event_time].to_numpy(), kind="stable")
    frame, known = frame.iloc[order].reset_index(drop=True), known[order]
    rows = _conform(spec, frame)
    # Checked together, so that a target that is not known is no reason to refuse its row.
    target = pc.if_else(pa.array(known), rows[spec.target.name], pa.scalar(None, rows[spec.target.name].type))
    rows = rows.set_column(rows.column_names.index(spec.target.name), spec.target.name, target)
    for name in score_names(spec.target.classes) if score else ():
        column = f"{score}{name.removeprefix(SCORE)}"
        rows = rows.append_column(name, pa.array(_scores(spec, column, frame[column])))
    return PastRows(spec, rows)


def _conform(spec: ModelSpec, frame: pd.DataFrame) -> pa.Table:
    """As `conform` has it, in the order that the frame has: its own sorting would part rows from their scores."""
    from trimtab.training.snapshots import typed_columns

    return pa.table(typed_columns(spec, frame))


def parse_times(name: str, values: pd.Series[Any]) -> pd.Series[Any]:
    """A column's times, in UTC; those without a zone count as UTC. Texts are ISO 8601: no order of day and month is
    guessed.

    Raises
    ------
    SourceError
        With the first cell that is empty or no time, and its row.
    """
    import pandas as pd

    if values.isna().any():
        at = int(np.argmax(values.isna().to_numpy()))
        raise SourceError(f"column {name!r} is empty in row {at + 1}; each row needs its time")
    if pd.api.types.is_numeric_dtype(values.dtype):
        raise SourceError(f"column {name!r} holds {values.iloc[0]}; it must hold times, such as 2024-03-01 08:30:00")
    parsed = pd.to_datetime(values, utc=True, errors="coerce", format=None if _is_time(values) else "ISO8601")
    if parsed.isna().any():
        at = int(np.argmax(parsed.isna().to_numpy()))
        raise SourceError(
            f"column {name!r} holds {values.iloc[at]!r} in row {at + 1}; it must hold times in ISO 8601, such as "
            "2024-03-01 08:30:00"
        )
    return parsed.astype("datetime64[us, UTC]")


def _is_time(values: pd.Series[Any]) -> bool:
    import pandas as pd

    return pd.api.types.is_datetime64_any_dtype(values.dtype)


def _target(spec: ModelSpec, values: pd.Series[Any], known: np.ndarray) -> pd.Series[Any]:
    """As numbers, 0 where it is not known; of several classes as their names, the first where it is not known."""
    import pandas as pd

    if spec.target.classes:
        return values.where(known, spec.target.classes[0]).map(class_name)
    plain = values.where(known, 0).map(lambda value: float(value) if isinstance(value, bool | np.bool_) else value)
    numbers = pd.to_numeric(plain, errors="coerce")
    if (wrong := numbers.isna().to_numpy()).any():
        wanted = "0 or 1" if spec.target.kind == "binary" else "a number"
        raise SourceError(
            f"target {spec.target.name!r} holds {values.iloc[int(np.argmax(wrong))]!r} ({int(wrong.sum())} such rows); "
            f"a {spec.target.kind} target is {wanted}, or empty where it is not known; names of three classes and more "
            "are of kind multiclass"
        )
    return numbers


def _scores(spec: ModelSpec, name: str, values: pd.Series[Any]) -> np.ndarray:
    try:
        scores = values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise SourceError(f"column {name!r} has type {values.dtype}; scores are numbers: {error}") from error
    wrong = ~np.isfinite(scores)
    is_probability = spec.target.kind != "regression"
    if is_probability:
        wrong |= (scores < 0) | (scores > 1)
    if wrong.any():
        wanted = "a probability between 0 and 1" if is_probability else "a finite number"
        raise SourceError(
            f"column {name!r} holds {scores[wrong][0]} ({int(wrong.sum())} such rows); a score is {wanted}"
        )
    return scores
