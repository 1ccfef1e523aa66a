"""Whatever was appended and sealed, and whatever is asked for: a listing is what a filter over all rows gives."""

import tempfile
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prediction_rows import T0, make_rows
from trimtab.predictions import PredictionLog, Query, list_predictions
from trimtab.predictions.schema import id_text

pytestmark = pytest.mark.usefixtures("small_parts")

_HOURS = 20
_row = st.fixed_dictionaries(
    {
        "hour": st.integers(0, _HOURS),
        "version": st.sampled_from(["1", "2"]),
        "release_id": st.sampled_from(["release-1", "release-2"]),
        "caller": st.sampled_from([None, "branch", "web", "é"]),
        "request_id": st.sampled_from([None, "", "a", "b", "request-12", "request-123"]),
    }
)
_batch = st.tuples(st.sampled_from(["loan", "tax"]), st.lists(_row, min_size=1, max_size=8))
_step = st.one_of(_batch, st.just("seal"))
_hour = st.none() | st.integers(0, _HOURS)


@st.composite
def _queries(draw):
    start, end = draw(_hour), draw(_hour)
    if start is not None and end is not None and start >= end:
        start, end = None, end
    return Query(
        model=draw(st.sampled_from([None, "loan", "tax", "none"])),
        start=None if start is None else T0 + timedelta(hours=start),
        end=None if end is None else T0 + timedelta(hours=end),
        version=draw(st.sampled_from([None, "1", "2", "3"])),
        release_id=draw(st.sampled_from([None, None, "release-2"])),
        caller=draw(st.sampled_from([None, None, "branch", "é"])),
        request_id=draw(st.sampled_from([None, None, "", "a", "request-12"])),
        newest_first=draw(st.booleans()),
        limit=draw(st.integers(1, 6)),
    )


def naive(rows, query):
    """Every row that the query asks for, in its order, by the rule said plainly."""
    found = [
        row
        for row in rows
        if (query.model is None or row["model"] == query.model)
        and (query.start is None or row["event_time"] >= query.start)
        and (query.end is None or row["event_time"] < query.end)
        and all(
            getattr(query, name) is None or row[name] == getattr(query, name)
            for name in ("version", "release_id", "caller", "request_id")
        )
    ]
    return sorted(found, key=lambda row: row["prediction_id"], reverse=query.newest_first)


def pages(folder, query, between=lambda: None, **how):
    """All pages of a query; each begins where the one before ended."""
    while True:
        page = list_predictions(folder, query, **how)
        assert len(page.predictions) <= query.limit
        yield page.predictions
        if page.next_after is None:
            return
        assert page.next_after != query.after
        query = Query(**{name: getattr(query, name) for name in query.__slots__} | {"after": page.next_after})
        between()


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(_step, max_size=12),
    queries=st.lists(_queries(), min_size=1, max_size=6),
    shuffled=st.randoms(use_true_random=False),
    max_examined=st.sampled_from([1, 20, 2_000_000]),
    seals=st.booleans(),
)
def test_a_listing_is_what_a_filter_over_all_rows_gives(steps, queries, shuffled, max_examined, seals):
    """Over spool and segments that overlap in any way, page by page, however little a page may examine.

    A seal between two pages changes nothing.
    """
    batches = []
    for model, rows in (step for step in steps if step != "seal"):
        times = [T0 + timedelta(hours=row["hour"]) for row in rows]
        columns = {name: [row[name] for row in rows] for name in ("version", "caller", "request_id")}
        features = (("income", "number"),) if len(rows) % 2 else (("age", "integer"),)
        batch = make_rows(len(rows), features=features, event_time=times, **columns)
        releases = pa.array([row["release_id"] for row in rows])
        batches.append((model, batch.set_column(3, batch.schema.field(3), releases)))
    # Ids of a segment may lie among those of another.
    shuffled.shuffle(batches)
    expected = [{"model": model, **row} for model, batch in batches for row in batch.to_pylist()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        logs = {model: PredictionLog(folder / model) for model in ("loan", "tax")}
        order = iter(batches)
        for step in steps:
            if step == "seal":
                for log in logs.values():
                    log.seal()
            else:
                model, batch = next(order)
                logs[model].append(batch)

        def seal():
            if seals:
                for log in logs.values():
                    log.seal()

        for query in queries:
            found = [row for page in pages(folder, query, seal, max_examined=max_examined) for row in page]
            inside = naive(expected, query)
            assert [row["prediction_id"] for _, row in found] == [id_text(row["prediction_id"]) for row in inside]
            for (model, row), original in zip(found, inside, strict=True):
                expected_row = {**original, "prediction_id": id_text(original["prediction_id"])}
                assert expected_row.items() <= {"model": model, **row}.items()
        for log in logs.values():
            log.close()
