"""CSV at /invocations: what pandas writes is read as it was meant, and what is wrong is refused with its place."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import RequestError
from trimtab.serving.protocol.csv_rows import is_csv, parse_csv
from trimtab.serving.routes import Route, RouteFeature

FEATURES = (
    RouteFeature("income", "number"),
    RouteFeature("age", "integer", nullable=False),
    RouteFeature("region", "category"),
    RouteFeature("employed", "boolean"),
)
NAMES = [feature.name for feature in FEATURES]
ROUTE = Route("loan", "1", "r", "http://h:1", "d", "binary", FEATURES)

# An empty cell is null, so no category is the empty text; what UTF-8 cannot hold is no text.
categories = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: "\0" not in text
)
rows = st.tuples(
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1),
    categories,
    st.none() | st.booleans(),
)


def parse(body, content_type=b"text/csv", max_rows=100):
    body = body if isinstance(body, bytes) else body.encode()
    found = parse_csv(body, content_type, ROUTE, max_rows, now_us=7)
    return [[None if value != value else value for value in column] for column in found.columns], found


def written(table, header=True):
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([NAMES, *table] if header else table)
    return text.getvalue()


@given(st.lists(rows, min_size=1, max_size=5), st.booleans())
def test_rows_come_back_as_they_were_written(table, header):
    text = written([["" if value is None else value for value in row] for row in table], header)
    content_type = b"text/csv; charset=utf-8" if header else b'Text/CSV; Header="absent"'
    columns, found = parse(text, content_type)
    assert columns == [list(column) for column in zip(*table, strict=True)]
    assert found.event_times == [7] * len(table)


def test_what_pandas_writes_is_read():
    frame = pd.DataFrame(
        {"income": [1.5, np.nan], "age": [30, 41], "region": ["north, west", None], "employed": [True, False]}
    )
    columns, _ = parse(frame.to_csv(index=False))
    assert columns == [[1.5, None], [30, 41], ["north, west", None], [True, False]]
    nullable_age = frame.astype({"age": float})[["employed", "age", "region", "income"]]
    assert parse(b"\xef\xbb\xbf" + nullable_age.to_csv(index=False, lineterminator="\r\n").encode())[0] == columns


@given(st.binary(max_size=60), st.binary(max_size=30))
def test_whatever_comes_is_rows_or_refused(body, parameters):
    try:
        columns, found = parse(body, b"text/csv;" + parameters)
    except RequestError as error:
        statuses = {error.status}
    else:
        assert {len(column) for column in columns} == {found.n}
        return
    assert statuses <= {400, 413, 415}


@pytest.mark.parametrize(
    ("body", "content_type", "status", "message"),
    [
        (written([["1", "2", "a", "true", "more"]]), b"text/csv", 400, "line 2 has 5 values; it must have 4"),
        (written([["x", "2", "a", "true"]]), b"text/csv", 400, "column 'income', row 0: the value is \"x\""),
        (written([["1_0", "2", "a", "true"]]), b"text/csv", 400, 'the value is "1_0"'),
        (written([["nan", "2", "a", "true"]]), b"text/csv", 400, 'the value is "nan"; it must be a finite number'),
        (written([["1e999", "2", "a", "true"]]), b"text/csv", 400, "column 'income', row 0"),
        (written([["1", "2.5", "a", "true"]]), b"text/csv", 400, "column 'age', row 0: the value is 2.5"),
        (written([["1", "", "a", "true"]]), b"text/csv", 400, "column 'age', row 0: the value is null"),
        (written([["1", "9" * 5000, "a", "true"]]), b"text/csv", 400, "column 'age', row 0"),
        (written([["1", "2", "a", "yes"]]), b"text/csv", 400, "column 'employed', row 0: the value is \"yes\""),
        (written([["1", "2", "a", "true"]], header=False), b"text/csv", 400, "no rows"),
        (written([]), b"text/csv", 400, "no rows"),
        ("", b"text/csv", 400, "no rows"),
        ("shoe\n1\n", b"text/csv", 400, "unknown columns ['shoe']"),
        (b"\xff\xfe", b"text/csv", 400, "not CSV in UTF-8"),
        ('income,age,region,employed\n1,2,"a,true\n', b"text/csv", 400, "not CSV"),
        (written([["1", "2", "a", "true"]] * 101), b"text/csv", 413, "at most 100"),
        (written([]), b"text/csv; charset=latin-1", 415, "must be utf-8"),
        (written([]), b"text/csv; header=perhaps", 415, "must be present or absent"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(body, content_type, status, message):
    with pytest.raises(RequestError) as refused:
        parse(body, content_type)
    assert refused.value.status == status
    assert message in str(refused.value)


def test_the_content_type_says_whether_it_is_csv():
    assert is_csv(b"Text/CSV; charset=utf-8")
    assert not any(map(is_csv, (None, b"application/json", b"")))
