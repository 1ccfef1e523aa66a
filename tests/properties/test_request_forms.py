"""A request means the same in whatever form it comes, and by whichever way it is parsed."""

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import RequestError
from trimtab.serving.block import Block
from trimtab.serving.protocol import RouteParser, large
from trimtab.serving.protocol.infer import parse_infer
from trimtab.serving.protocol.invocations import parse_invocation
from trimtab.serving.protocol.large import LEAST_BYTES, large_infer, large_invocation
from trimtab.serving.routes import Route, RouteFeature

ELEMENTS = {
    "number": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60),
    "integer": st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9).map(float),
    "category": st.text(max_size=4),
    "boolean": st.booleans(),
}
DATATYPES = {"number": "FP64", "integer": "INT64", "category": "BYTES", "boolean": "BOOL"}
NUMBERS = Route(
    "loan", "1", "r", "http://x:1", "d", "binary", (RouteFeature("f0", "number"), RouteFeature("f1", "number"))
)
ODD = st.sampled_from([None, "x", True, 1, 1.5, [], {}, 2**64, 10**400])


@st.composite
def routes(draw, types=tuple(DATATYPES)):
    kinds = draw(st.lists(st.sampled_from(types), min_size=1, max_size=4))
    features = tuple(RouteFeature(f"f{i}", kind, draw(st.booleans())) for i, kind in enumerate(kinds))
    return Route("loan", "1", "release-1", "http://127.0.0.1:1", "digest", "binary", features)


@st.composite
def tables(draw, route):
    n = draw(st.integers(1, 4))
    odd = draw(st.booleans())
    columns = {}
    for feature in route.features:
        element = ELEMENTS[feature.type] | st.none() if feature.nullable else ELEMENTS[feature.type]
        columns[feature.name] = draw(st.lists(element | ODD if odd else element, min_size=n, max_size=n))
    return columns


def outcome(parse):
    """What a parser makes of a request: the log's columns, or the words of its refusal."""
    try:
        rows = parse()
    except RequestError as error:
        return error.status, str(error)
    return rows


def logged(route, rows):
    return [column.to_pylist() for column in Block(route, [rows]).arrow_columns()]


def same(route, one, two):
    if isinstance(one, tuple) or isinstance(two, tuple):
        assert one == two
    else:
        assert logged(route, one) == logged(route, two)
        assert (one.n, one.event_times, one.request_id) == (two.n, two.event_times, two.request_id)


def tensors(route, table):
    return [
        {"name": f.name, "shape": [len(table[f.name])], "datatype": DATATYPES[f.type], "data": table[f.name]}
        for f in route.features
    ]


@settings(max_examples=300)
@given(st.data())
def test_the_fast_way_and_the_long_way_give_the_same(data):
    """V2 with a tensor a feature: the same rows, or the same words."""
    route = data.draw(routes())
    table = data.draw(tables(route))
    body = encode({"inputs": tensors(route, table), "id": "mine"})
    same(
        route,
        outcome(lambda: RouteParser(route, 3).infer(body, None, 7)),
        outcome(lambda: parse_infer(body, None, route, 3, 7)),
    )


@given(st.data())
def test_a_data_frame_goes_both_ways_too(data):
    route = data.draw(routes())
    table = data.draw(tables(route))
    rows = [list(row) for row in zip(*table.values(), strict=True)]
    body = encode({"dataframe_split": {"columns": list(table), "data": rows}})
    same(
        route,
        outcome(lambda: RouteParser(route, 3).invocation(body, 7)),
        outcome(lambda: parse_invocation(body, route, 3, 7)),
    )


@given(st.data(), st.booleans())
def test_numbers_mean_the_same_as_a_matrix_as_columns_and_as_bytes(data, nested):
    """Four forms of one table of numbers are logged alike; nulls are NaN among bytes."""
    route = data.draw(routes(types=("number",)))
    table = data.draw(tables(route).filter(all_numbers))
    if len(table) < 2:
        return
    n, width = len(next(iter(table.values()))), len(table)
    rows = [list(row) for row in zip(*table.values(), strict=True)]
    flat = rows if nested else [value for row in rows for value in row]
    matrix = {"name": "rows", "shape": [n, width], "datatype": "FP64", "data": flat}
    parser = RouteParser(route, 100)
    by_columns = outcome(lambda: parser.infer(encode({"inputs": tensors(route, table)}), None, 7))
    by_matrix = outcome(lambda: parser.infer(encode({"inputs": [matrix]}), None, 7))
    again = outcome(lambda: parser.infer(encode({"inputs": [matrix]}), None, 7))
    values = np.array([[math.nan if v is None else v for v in row] for row in rows], np.float64)
    by_bytes = outcome(lambda: parser.infer(*binary(matrix, values), 7))
    for other in (by_matrix, again, by_bytes):
        if isinstance(by_columns, tuple):
            assert isinstance(other, tuple)
            assert other[0] == by_columns[0]
        else:
            same(route, by_columns, other)


def read_by_simdjson(large, long, route, body):
    """Hold what simdjson takes of a body to the long way; whether it takes it."""
    found = outcome(lambda: large(body, route, 3, 7))
    if found is not None:
        same(route, found, outcome(lambda: long(body)))
    return found is not None


@settings(max_examples=300)
@given(st.data())
def test_what_simdjson_reads_is_what_the_long_way_reads(data):
    """A tensor a feature, odd values, extra keys and parameters among them."""
    route = data.draw(routes())
    table = data.draw(tables(route))
    inputs = tensors(route, table)
    data.draw(st.sampled_from(inputs)).update(data.draw(st.sampled_from([{}] * 3 + ODD_TENSORS)))
    body = {"inputs": inputs, **data.draw(st.sampled_from([{}] * 3 + ODD_BODIES))}
    read_by_simdjson(large_infer, lambda body: parse_infer(body, None, route, 3, 7), route, encode(body))


@settings(max_examples=300)
@given(st.data(), st.booleans(), st.booleans())
def test_a_matrix_that_simdjson_reads_is_what_the_long_way_reads(data, nested, odd):
    """Rows of other lengths, lists in place of values, and brackets in strings, among others."""
    route = data.draw(routes(types=("number",)).filter(lambda route: len(route.features) > 1))
    table = data.draw(tables(route))
    rows = [list(row) for row in zip(*table.values(), strict=True)]
    if odd:
        rows = data.draw(st.lists(st.lists(st.floats(0, 1) | ODD, max_size=3), max_size=3))
    flat = rows if nested else [value for row in rows for value in row]
    matrix = {"name": "rows", "shape": [len(rows), len(table)], "datatype": "FP64", "data": flat}
    matrix.update(data.draw(st.sampled_from([{}] * 3 + ODD_TENSORS)))
    body = {"inputs": [matrix], **data.draw(st.sampled_from([{}] * 3 + ODD_BODIES))}
    read_by_simdjson(large_infer, lambda body: parse_infer(body, None, route, 3, 7), route, encode(body))
    frame = {"dataframe_split": {"columns": list(table), "data": rows}, **({"params": {"a": ["["]}} if nested else {})}
    read_by_simdjson(large_invocation, lambda body: parse_invocation(body, route, 3, 7), route, encode(frame))


ODD_TENSORS = [{"name": "other"}, {"shape": [1]}, {"shape": [2, 1]}, {"shape": [[2], 2.0]}, {"shape": [True, 2]}]
ODD_TENSORS += [{"datatype": "FP32"}, {"datatype": "BOOL"}, {"datatype": 7}, {"data": None}, {"data": [[[1.0], 2.0]]}]
ODD_TENSORS += [{"data": [[1.0], [2.0]], "shape": [2, 1]}, {"parameters": {"binary_data_size": 3}}, {"more": []}]
ODD_BODIES = [{"id": "[mine"}, {"id": 7}, {"parameters": {"event_time": "2024-01-31T12:00:00Z"}}, {"parameters": None}]
ODD_BODIES += [{"parameters": {"event_time": ["2024-01-31T12:00:00Z"]}}, {"parameters": {"event_time": "["}}]
ODD_BODIES += [{"parameters": {"binary_data_output": True}}, {"outputs": [{"name": "score"}]}, {"more": {}}]


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[{"name":"r","shape":[2,2],"datatype":"FP64","data":[1,2.5,-0.0,4e-3]}]}',
        b'{"inputs":[{"name":"r","shape":[2,2],"datatype":"INT64","data":[[1,2],[3,4]]}],"id":"mine"}',
        b'{"inputs":[{"name":"f0","shape":[1],"datatype":"FP64","data":[1]},'
        b'{"name":"f1","shape":[1,1],"datatype":"FP64","data":[9007199254740993]}],"parameters":{}}',
        b'{"dataframe_split":{"columns":["f0","f1"],"data":[[1,2],[3,4]]},"params":{}}',
    ],
)
def test_simdjson_reads_what_is_as_asked(body):
    pytest.importorskip("simdjson", reason="pysimdjson has no wheel for this Python")
    if b"inputs" in body:
        assert read_by_simdjson(large_infer, lambda body: parse_infer(body, None, NUMBERS, 3, 7), NUMBERS, body)
    else:
        assert read_by_simdjson(large_invocation, lambda body: parse_invocation(body, NUMBERS, 3, 7), NUMBERS, body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[{"name":"r","shape":[1,2],"datatype":"FP64","data":[1,2],"data":[3,4]}]}',
        b'{"inputs":[{"name":"r","shape":[1,2],"datatype":"FP64","data":[[1],2]}],"id":"\\u005b"}',
        b'{"inputs":[{"name":"r","shape":[1,2],"datatype":"FP64","data":[[1],2]}],"parameters":{"a":"\\u005b"}}',
        b'\xef\xbb\xbf{"inputs":[{"name":"r","shape":[1,2],"datatype":"FP64","data":[1,2]}]}',
        b'{"inputs":[{"name":"r","shape":[1,2],"datatype":"FP64","data":[1,2]}]}x',
        b'{"inputs":[{"name":"r","shape":[1,2],"datatype":"FP64","data":[1,NaN]}]}',
        b'{"inputs":[{"name":"r","shape":[1,2],"datatype":"FP64","data":[1,2]}],"id":"\xff"}',
        b'{"inputs":[{"name":"r","shape":[1,2],"datatype":"FP64","data":[1,1e999]}]}',
        b'{"inputs":{"name":"r"}}',
        b'{"inputs":[7]}',
        b"[]",
    ],
)
def test_what_two_parsers_might_read_in_two_ways_is_left_to_one(body):
    assert large_infer(body, NUMBERS, 3, 7) is None


def test_a_body_of_many_rows_is_the_same_rows():
    values = np.random.default_rng(7).normal(size=(4_000, 2))
    body = encode({"inputs": [{"name": "r", "shape": [4_000, 2], "datatype": "FP64", "data": values.ravel().tolist()}]})
    assert len(body) > LEAST_BYTES
    (first, second) = logged(NUMBERS, RouteParser(NUMBERS, 4_000).infer(body, None, 7))
    assert [first, second] == values.T.tolist()
    with pytest.raises(RequestError, match="4000 rows; at most 3999"):
        RouteParser(NUMBERS, 3_999).infer(body, None, 7)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        ({"shape": [1, 3], "data": [1, 2, 3]}, r"it must be \[rows, 2\]"),
        ({"shape": [2, 2], "data": [1, 2, 3]}, "has 3 values; it must have 4"),
        ({"shape": [2, 2], "data": [[1, 2], [3]]}, "row 1 has 1 values; it must have 2"),
        ({"shape": [1, 2], "data": ["a", 2]}, "'f0', row 0: the value is \"a\""),
        ({"shape": [1, 2], "data": [1, 2], "datatype": "BYTES"}, "it must be FP64"),
        ({"shape": [0, 2], "data": []}, "holds no rows"),
        ({"shape": [1, 2]}, "has no data"),
    ],
)
def test_a_matrix_that_is_none_is_refused_with_what_would_be_right(tensor, words):
    body = encode({"inputs": [{"name": "rows", "datatype": "FP64", **tensor}]})
    with pytest.raises(RequestError, match=words):
        RouteParser(NUMBERS, 100).infer(body, None, 7)


@pytest.mark.parametrize("datatype", ["FP8", "BF16", "INT4", "FP64 ", "FP", "UINT"])
def test_a_datatype_that_is_none_of_v2s_is_refused_in_json_as_it_is_among_bytes(datatype):
    """It only begins like one."""
    matrix = {"name": "r", "shape": [1, 2], "datatype": datatype, "data": [1, 2]}
    columns = [{"name": name, "shape": [1], "datatype": datatype, "data": [1]} for name in ("f0", "f1")]
    for inputs in ([matrix], columns):
        with pytest.raises(RequestError, match=f"datatype '{datatype}'; it must be"):
            RouteParser(NUMBERS, 100).infer(encode({"inputs": inputs}), None, 7)


@pytest.mark.parametrize("inputs", [("r",), ("f0", "f1")])
def test_an_input_with_values_and_bytes_is_refused_for_one_of_them_would_not_count(inputs):
    """By the fast way too, and whether the bytes are there or not."""
    shape, data = ([1, 2], [1, 2]) if len(inputs) == 1 else ([1], [1])
    tensor = {"shape": shape, "datatype": "FP64", "data": data, "parameters": {"binary_data_size": 8 * len(data)}}
    body = encode({"inputs": [{"name": name, **tensor} for name in inputs]})
    for sent, length in ((body, None), (body + bytes(16), b"%d" % len(body))):
        with pytest.raises(RequestError, match="has data and binary_data_size"):
            RouteParser(NUMBERS, 100).infer(sent, length, 7)
    other = encode({"inputs": [{"name": name, **tensor, "parameters": {"more": 1}} for name in inputs]})
    assert logged(NUMBERS, RouteParser(NUMBERS, 100).infer(other, None, 7)) == [
        [1.0],
        [2.0 if len(inputs) == 1 else 1.0],
    ]


def test_a_list_longer_than_simdjson_counts_is_left_to_the_long_way(monkeypatch):
    """Its lists say at most 16,777,215 of themselves: taken for the length, the rows would hold more than they say."""
    pytest.importorskip("simdjson", reason="pysimdjson has no wheel for this Python")
    monkeypatch.setattr(large, "_numbers", lambda _: np.zeros(5))
    assert (
        large_infer(
            encode({"inputs": [{"name": "r", "shape": [2, 2], "datatype": "FP64", "data": [0] * 4}]}), NUMBERS, 3, 7
        )
        is None
    )


def all_numbers(table):
    return all(v is None or (type(v) in (int, float) and abs(v) < 1e300) for column in table.values() for v in column)


def binary(matrix, values):
    raw = np.ascontiguousarray(values).tobytes()
    head = {key: value for key, value in matrix.items() if key != "data"}
    text = encode({"inputs": [{**head, "parameters": {"binary_data_size": len(raw)}}]})
    return text + raw, b"%d" % len(text)


def encode(value):
    # msgspec encodes no whole number beyond 64 bits.
    return msgspec.json.encode(value) if not huge(value) else repr_json(value)


def huge(value):
    if isinstance(value, dict):
        return any(map(huge, value.values()))
    if isinstance(value, list):
        return any(map(huge, value))
    return type(value) is int and abs(value) >= 2**63


def repr_json(value):
    return json.dumps(value).encode()
