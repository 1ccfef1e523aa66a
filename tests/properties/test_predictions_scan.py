"""Whatever was appended and sealed: a scan is what a filter over all rows gives, to Arrow and to DuckDB alike."""

import tempfile
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prediction_rows import T0, make_rows
from trimtab.errors import PredictionLogError
from trimtab.predictions import PredictionLog, scan
from trimtab.predictions.schema import conform, merge_schemas

pytestmark = pytest.mark.usefixtures("small_parts")

_HOURS = 20
# "size" changes its type in the log's life.
_FEATURES = (
    (("income", "number"), ("size", "number")),
    (("income", "number"), ("size", "integer")),
    (("region", "category"), ("a.b", "boolean")),
)
_batch = st.tuples(
    st.lists(st.integers(0, _HOURS), min_size=1, max_size=8), st.sampled_from([0, 1, 2]), st.sampled_from("12")
)
_step = st.one_of(_batch, st.just("seal"))


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(_step, max_size=10),
    window=st.tuples(st.integers(0, _HOURS), st.integers(0, _HOURS + 1)),
    columns=st.none()
    | st.lists(
        st.sampled_from(["income", "size", "score", "a.b", "event_time", "prediction_id"]), unique=True, min_size=1
    ),
    release_id=st.sampled_from([None, "release-1", "release-2"]),
)
def test_a_scan_is_what_a_filter_over_all_rows_gives(steps, window, columns, release_id):
    """Rows, values, nulls and types; over spool and segments, feature sets that come and go, and any columns."""
    start, end = (T0 + timedelta(hours=hour) for hour in window)
    with tempfile.TemporaryDirectory() as folder:
        log = PredictionLog(Path(folder))
        batches = []
        for step in steps:
            if step == "seal":
                log.seal()
                continue
            hours, which, release = step
            times = [T0 + timedelta(hours=hour) for hour in hours]
            batches.append(
                make_rows(len(hours), features=_FEATURES[which], event_time=times, release_id=f"release-{release}")
            )
            log.append(batches[-1])
        known = merge_schemas([batch.schema for batch in batches])
        if columns is not None and batches and (strange := [name for name in columns if name not in known.names]):
            with pytest.raises(PredictionLogError, match=f"ever had a column '{strange[0]}'"):
                read(log, start, end, columns, release_id)
            log.close()
            return
        found = read(log, start, end, columns, release_id)
        if columns is not None:
            assert found.column_names == columns
        if batches:
            everything = pa.concat_tables([conform(pa.Table.from_batches([batch]), known) for batch in batches])
            expected = [
                tuple(_plain(row[name]) for name in found.column_names)
                for row in everything.to_pylist()
                if start <= row["event_time"] < end and release_id in (None, row["release_id"])
            ]
            assert sorted(rows_of(found), key=repr) == sorted(expected, key=repr)
        with duckdb.connect() as connection:
            for _ in range(2):  # a second time replaces the first
                scan.register(connection, "some rows", log, start, end, columns, release_id)
            names = ", ".join(f'"{name}"' for name in found.column_names)
            copied = connection.sql(f'SELECT {names} FROM "some rows"').to_arrow_table()
            assert sorted(rows_of(copied), key=repr) == sorted(rows_of(found), key=repr)
        log.close()


def read(log, *asked):
    with scan.open_scan(log, *asked) as reader:
        return reader.read_all()


def rows_of(table):
    return [tuple(_plain(value) for value in row.values()) for row in table.to_pylist()]


def _plain(value):
    """A whole number that was logged as integer and is read as float is the same number."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
