"""A source is held to its spec, and the same rows are the same file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.data import take_snapshot
from trimtab.decay.slices import slice_labels
from trimtab.errors import SourceError
from trimtab.models import load_model
from trimtab.settings import Settings
from trimtab.training.snapshots import conform, read_snapshot, write_table
from trimtab.training.windows import evaluation_span, training_span

MODEL = load_model(Path(__file__).parents[1] / "models", "loan")
START, END = datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 2, 3, tzinfo=UTC)
AS_OF = datetime(2024, 2, 20, tzinfo=UTC)


def loans() -> pd.DataFrame:
    return MODEL.function("data:load")(START, END, AS_OF)


def with_value(column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column].astype(object)
        values.iloc[3] = value
        return frame.assign(**{column: values.infer_objects()})

    return change


BROKEN: list[tuple[str, Callable[[pd.DataFrame], object], str]] = [
    ("no frame", lambda frame: frame.to_dict(), "must be a pandas DataFrame"),
    ("a column is missing", lambda frame: frame.drop(columns="income"), r"no columns \['income'\]"),
    ("too few rows", lambda frame: frame.head(7), "7 rows .* at least 100 are needed"),
    ("no timezone", lambda frame: frame.assign(event_time=frame["event_time"].dt.tz_localize(None)), "timezone-aware"),
    ("text for a time", lambda frame: frame.assign(event_time="2024-02-01"), "timezone-aware"),
    ("before the span", lambda frame: frame.assign(event_time=frame["event_time"] - timedelta(days=1)), "2024-01-31"),
    ("the end itself", with_value("event_time", pd.Timestamp(END)), "2024-02-03"),
    ("infinity", with_value("income", np.inf), "'income' holds inf"),
    ("text for a number", with_value("income", "many"), "'income' .*hold numbers or null"),
    ("half a year", with_value("age", 30.5), "'age' holds 30.5"),
    ("a number for a category", with_value("region", 7), "'region' holds 7 .* strings"),
    ("a word for a truth value", with_value("employed", "yes"), "'employed' holds 'yes'"),
    ("a third class", with_value("repaid", 2), "'repaid' holds 2 .* 0 or 1"),
    ("an unknown target", with_value("repaid", None), "'repaid' is missing in 1 of"),
]


@pytest.mark.parametrize(("change", "says"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_breaks_the_promise_is_named(change: Callable[[pd.DataFrame], object], says: str) -> None:
    """A source that returns something else than its spec promises is refused with the column and the value."""
    with pytest.raises(SourceError, match=says):
        conform(MODEL.spec, change(loans()), START, END, 100)


def test_the_order_of_rows_and_other_columns_do_not_matter(tmp_path: Path) -> None:
    """The same rows, shuffled and with a column more, are the same file."""
    one, _ = write_table(conform(MODEL.spec, loans(), START, END, 100), tmp_path)
    shuffled = loans().sample(frac=1, random_state=1).assign(comment="x")
    other, path = write_table(conform(MODEL.spec, shuffled, START, END, 100), tmp_path)
    assert one == other
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_nulls_stay_nulls() -> None:
    """What was not known is null in each type, never a made-up value."""
    frame = loans()
    for column in ("income", "age", "region", "employed"):
        frame = with_value(column, None)(frame)
    table = conform(MODEL.spec, frame, START, END, 100)
    row = table.filter(pa.compute.equal(table["loan_id"], frame["loan_id"].iloc[3])).to_pylist()[0]
    assert {row[column] for column in ("income", "age", "region", "employed")} == {None}


def test_a_snapshot_twice_is_one_file_and_one_record(settings_env: Settings) -> None:
    """Taking the same snapshot again changes nothing."""
    first, second = (take_snapshot.fn("loan", "training", AS_OF) for _ in range(2))
    assert first == second
    assert len(list(settings_env.snapshots_dir.iterdir())) == 1
    assert read_snapshot(first).num_rows == first.rows


def test_training_rows_end_where_the_judging_rows_begin(settings_env: Settings) -> None:
    """The evaluation slice is the latest mature one; no row of it is trained on, none is in the future."""
    judges = evaluation_span(MODEL.spec, AS_OF)
    assert training_span(MODEL.spec, AS_OF).end == judges.start
    assert judges.end == AS_OF - MODEL.spec.label_maturity
    judging = take_snapshot.fn("loan", "evaluation", AS_OF)
    times = read_snapshot(judging).column("event_time").to_pylist()
    assert min(times) >= judging.start
    assert max(times) < judging.end


def test_an_altered_snapshot_is_not_read(settings_env: Settings) -> None:
    """A file that is not the one on record is refused."""
    snapshot = take_snapshot.fn("loan", "evaluation", AS_OF)
    table = read_snapshot(snapshot)
    pa.parquet.write_table(table.slice(1), snapshot.uri)
    with pytest.raises(SourceError, match="was altered"):
        read_snapshot(snapshot)
    Path(snapshot.uri).unlink()
    with pytest.raises(SourceError, match="is missing"):
        read_snapshot(snapshot)


def test_slices_of_a_number_are_its_quartiles() -> None:
    """Categories slice by value, numbers by quartile, and null is a slice of its own."""
    assert list(slice_labels(pa.chunked_array([["a", None, "b"]]), "category")) == ["a", "null", "b"]
    labels = slice_labels(pa.chunked_array([[1.0, 2.0, 3.0, 4.0, None, 5.0]]), "number")
    assert labels[4] == "null"
    assert len(set(labels)) == 5


def test_nanoseconds_of_a_source_are_cut_to_microseconds() -> None:
    """pandas reads many files to the nanosecond: that is no reason to refuse their rows."""
    frame = loans()
    finer = frame.assign(event_time=frame["event_time"].astype("datetime64[ns, UTC]") + pd.Timedelta(123, unit="ns"))
    assert conform(MODEL.spec, finer, START, END, 100).equals(conform(MODEL.spec, frame, START, END, 100))
