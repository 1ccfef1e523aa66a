"""A body of megabytes that is wrong in many thousand places is refused as fast, and in as few words, as a small one.

Work that grew with the square of these numbers would end in the test's timeout.
"""

import json

import pytest

from trimtab.errors import RequestError
from trimtab.serving.protocol import RouteParser
from trimtab.serving.protocol.csv_rows import parse_csv
from trimtab.serving.routes import Route, RouteFeature
from trimtab.wire.http import error_body

N = 30_000
ROUTE = Route(
    "loan",
    "1",
    "r",
    "http://h:1",
    "d",
    "binary",
    (RouteFeature("income", "number"), RouteFeature("region", "category")),
)
PARSER = RouteParser(ROUTE, 10_000)
NAMES = [f"column-{number}" for number in range(N)]
LONG = "x" * 1_000_000
GOOD = [
    {"name": "income", "shape": [1], "datatype": "FP64", "data": [1.0]},
    {"name": "region", "shape": [1], "datatype": "BYTES", "data": ["a"]},
]


def tensor(name, **changes):
    return {"name": name, "shape": [1], "datatype": "FP64", "data": [1.0], **changes}


INFER = {
    "one column again and again": {"inputs": [tensor("income")] * N},
    "many unknown columns, one twice": {"inputs": [tensor(name) for name in [*NAMES, NAMES[0]]]},
    "unknown columns beside the right ones": {"inputs": [*GOOD, *(tensor(name) for name in NAMES)]},
    "a long name": {"inputs": [tensor(LONG)]},
    "a long shape": {"inputs": [tensor("income", shape=[1] * N), GOOD[1]]},
    "a long datatype": {"inputs": [tensor("income", datatype=LONG), GOOD[1]]},
    "a long value": {"inputs": [tensor("income", data=[LONG]), GOOD[1]]},
    "unknown outputs": {"inputs": GOOD, "outputs": [{"name": name} for name in NAMES]},
    "an output with a long name": {"inputs": GOOD, "outputs": [{"name": LONG}]},
    "event times for other rows": {"inputs": GOOD, "parameters": {"event_time": ["2024-01-31T12:00:00Z"] * N}},
    "a long event time": {"inputs": GOOD, "parameters": {"event_time": LONG}},
    "too many rows": {
        "inputs": [tensor("income", shape=[N], data=[1.0] * N), tensor("region", shape=[N], data=["a"] * N)]
    },
}
INVOCATIONS = {
    "one column again and again": {"dataframe_split": {"columns": ["income"] * N, "data": [[1.0] * N]}},
    "unknown columns": {"dataframe_split": {"columns": NAMES, "data": [[1.0] * N]}},
    "records that differ": {"dataframe_records": [{"income": 1.0}, dict.fromkeys(NAMES, 1.0)]},
    "unknown inputs": {"inputs": {name: [1.0] for name in NAMES}},
    "a long list of numbers": {"instances": [1.0] * N},
    "long rows": {"instances": [[1.0] * N]},
}


def refused(parse, *arguments):
    with pytest.raises(RequestError) as found:
        parse(*arguments)
    assert found.value.status in (400, 413)
    assert len(error_body(str(found.value))) < 3000


@pytest.mark.parametrize("name", INFER)
def test_a_v2_request_is_refused_in_few_words(name):
    refused(PARSER.infer, json.dumps(INFER[name]).encode(), None, 0)


@pytest.mark.parametrize("name", INVOCATIONS)
def test_an_invocation_is_refused_in_few_words(name):
    refused(PARSER.invocation, json.dumps(INVOCATIONS[name]).encode(), 0)


@pytest.mark.parametrize(
    "body", [",".join(["income"] * N), ",".join(NAMES) + "\n" + ",1" * N, f"income,region\n{LONG},a", "\n1,2" * N]
)
def test_csv_is_refused_in_few_words(body):
    refused(parse_csv, body.encode(), b"text/csv", ROUTE, 10_000, 0)
