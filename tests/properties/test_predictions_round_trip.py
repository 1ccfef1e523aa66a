"""Whatever is appended, sealed and asked for in whatever order: the log is one table, each row once."""

import tempfile
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prediction_rows import FEATURES, T0, make_rows
from trimtab.errors import OutcomeConflictError
from trimtab.predictions import Outcome, Outcomes, PredictionLog
from trimtab.predictions.schema import conform, id_text, merge_schemas

_HOURS = 100
_value = {
    "income": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "age": st.none() | st.integers(-(2**63), 2**63 - 1),
    "region": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    "employed": st.none() | st.booleans(),
}
_row = st.fixed_dictionaries({**_value, "score": st.floats(0, 1), "hour": st.integers(0, _HOURS)})
_batch = st.tuples(st.lists(_row, min_size=1, max_size=6), st.sets(st.sampled_from(sorted(_value)), min_size=1))
_step = st.one_of(_batch, st.just("seal"))


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(_step, max_size=12),
    window=st.tuples(st.integers(0, _HOURS), st.integers(0, _HOURS + 1)),
    backwards=st.booleans(),
)
def test_what_went_in_comes_out_by_window_and_by_id(steps, window, backwards):
    """Against a plain list: values, nulls, order and absence are kept over spool, segments and feature sets."""
    batches, expected = [], {}
    for rows, names in (step for step in steps if step != "seal"):
        features = tuple((name, type_) for name, type_ in FEATURES if name in names)
        columns = {name: [row[name] for row in rows] for name in (*sorted(names), "score")}
        times = [T0 + timedelta(hours=row["hour"]) for row in rows]
        batch = make_rows(len(rows), features=features, event_time=times, **columns)
        batches.append(batch)
        expected |= {row["prediction_id"]: row for row in batch.to_pylist()}
    start, end = (T0 + timedelta(hours=hour) for hour in window)
    order = iter(reversed(batches) if backwards else batches)
    with tempfile.TemporaryDirectory() as folder:
        log = PredictionLog(Path(folder))
        for step in steps:
            log.seal() if step == "seal" else log.append(next(order))
        found = log.read(start, end).to_pylist()
        inside = [row for key, row in sorted(expected.items()) if start <= row["event_time"] < end]
        assert [row["prediction_id"] for row in found] == [row["prediction_id"] for row in inside]
        for row, original in zip(found, inside, strict=True):
            assert {name: value for name, value in row.items() if value is not None} == {
                name: value for name, value in original.items() if value is not None
            }
        for key, original in expected.items():
            record = log.get(id_text(key))
            assert {**original, "prediction_id": id_text(key)}.items() <= record.items()
        log.close()


@given(st.lists(st.lists(st.sampled_from(["int64", "double", "string", "bool"]), min_size=3, max_size=3), max_size=4))
def test_tables_of_any_feature_sets_fit_under_their_merged_schema(kinds):
    types = {"int64": pa.int64(), "double": pa.float64(), "string": pa.string(), "bool": pa.bool_()}
    schemas = [pa.schema([(f"f{i}", types[kind]) for i, kind in enumerate(row)]) for row in kinds]
    merged = merge_schemas(schemas)
    assert merged.names[-1] == "score"
    for schema in schemas:
        table = pa.table([pa.nulls(1, field.type) for field in schema], schema=schema)
        assert conform(table, merged).schema.equals(merged)


_statement = st.tuples(st.integers(0, 2), st.sampled_from([0.0, 1.0]), st.booleans(), st.integers(0, 9))


@settings(max_examples=60, deadline=None)
@given(st.lists(_statement, max_size=12), st.integers(0, 9))
def test_outcomes_follow_their_rule(statements, as_of):
    """Against the rule said plainly: first value, then only corrections change it, and the last known one counts."""
    hour = timedelta(hours=1)
    with tempfile.TemporaryDirectory() as folder:
        log = PredictionLog(Path(folder))
        log.append(make_rows(3))
        ids = [id_text(key) for key in log.read(T0, T0 + hour)["prediction_id"].to_pylist()]
        outcomes = Outcomes(Path(folder), log)
        kept = {key: [] for key in ids}
        for which, value, correction, at in statements:
            statement = Outcome(ids[which], value, T0 + at * hour, correction)
            past = kept[ids[which]]
            if past and not correction and value not in [was for was, _ in past]:
                with pytest.raises(OutcomeConflictError):
                    outcomes.add([statement])
                continue
            receipt = outcomes.add([statement])
            if receipt.duplicates == 0:
                past.append((value, at))
            else:
                assert past, "only what was stated can be a duplicate"
        for key, past in kept.items():
            assert [row["value"] for row in outcomes.history(key)] == [value for value, _ in past]
        table = outcomes.table(T0 + as_of * hour)
        counting = {key: [value for value, at in past if at <= as_of] for key, past in kept.items()}
        assert {
            id_text(key): value
            for key, value in zip(table["prediction_id"].to_pylist(), table["outcome"].to_pylist(), strict=True)
        } == {key: values[-1] for key, values in counting.items() if values}
        log.close()
