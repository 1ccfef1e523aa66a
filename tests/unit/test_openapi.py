"""The description of the gateway is sound OpenAPI 3.1, says what each model takes, and people can read it offline."""

import json
import re

import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from trimtab.serving.docs_page import render_docs
from trimtab.serving.openapi import document
from trimtab.serving.protocol.csv_rows import parse_csv
from trimtab.serving.protocol.infer import parse_infer
from trimtab.serving.protocol.invocations import parse_invocation
from trimtab.serving.routes import Route, RouteFeature

LOAN = Route(
    "loan",
    "3",
    "release-3",
    "http://h:1",
    "digest",
    "binary",
    (
        RouteFeature("income", "number"),
        RouteFeature("age", "integer", nullable=False),
        RouteFeature('re"gion, <b>', "category"),
        RouteFeature("employed", "boolean"),
    ),
)
PRICE = Route("price", "7", "release-7", "http://h:2", "digest", "regression", (RouteFeature("size", "number"),))
CASES = [{}, {"loan": LOAN}, {"loan": LOAN, "price": PRICE}]


@pytest.mark.parametrize("routes", CASES, ids=len)
@pytest.mark.parametrize("secured", [True, False])
def test_it_is_sound_openapi(routes, secured):
    described = json.loads(msgspec.json.encode(document(routes, secured)))
    OpenAPIV31SpecValidator(described).validate()
    names = [
        operation["operationId"]
        for path in described["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    assert len(set(names)) == len(names)
    asks = {operation for operation in names if "predict" in json.dumps(_find(described, operation).get("security"))}
    assert bool(asks) == (secured and bool(routes))


@pytest.mark.parametrize("route", [LOAN, PRICE], ids=lambda route: route.model)
def test_every_example_is_what_the_gateway_takes(route):
    paths = document({route.model: route}, secured=False)["paths"]
    infer = paths[f"/v2/models/{route.model}/infer"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    invocations = paths[f"/models/{route.model}/invocations"]["post"]["requestBody"]["content"]
    rows = [
        parse_infer(json.dumps(infer["examples"][0]).encode(), None, route, 10, 0),
        parse_invocation(json.dumps(invocations["application/json"]["schema"]["examples"][0]).encode(), route, 10, 0),
        parse_csv(invocations["text/csv"]["example"].encode(), b"text/csv", route, 10, 0),
    ]
    assert [row.n for row in rows] == [1, 1, 1]
    first, *others = [[list(column) for column in row.columns] for row in rows]
    assert all(columns == first for columns in others)
    jsonschema.validate(infer["examples"][0], infer)
    schema = invocations["application/json"]["schema"]
    jsonschema.validate(schema["examples"][0], schema)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"income": 1.5}]},
        {"dataframe_records": []},
        {"dataframe_records": [{"income": "x", "age": 1, 're"gion, <b>': "a", "employed": True}]},
        {"dataframe_records": [{"income": 1, "age": None, 're"gion, <b>': "a", "employed": True}]},
        {"dataframe_split": {"columns": ["income"], "data": [[1]]}},
        {"inputs": {"income": [1]}, "instances": []},
    ],
)
def test_the_schema_refuses_what_the_gateway_refuses(body):
    content = document({"loan": LOAN}, secured=False)["paths"]["/invocations"]["post"]["requestBody"]["content"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, content["application/json"]["schema"])


def test_the_page_needs_no_network_and_shows_no_feature_as_markup():
    page = render_docs(document({"loan": LOAN, "price": PRICE}, secured=True), "http://127.0.0.1:8080")
    assert not re.findall(r"(?:src|href)=\"(?!/openapi\.json)", page)
    assert '<b>"' not in page
    assert "curl -X POST http://127.0.0.1:8080/v2/models/loan/infer -H &quot;authorization: Bearer $TOKEN&quot;" in page
    for path in ("/predictions/{id}", "/metrics", "/admin/routes", "/v2/models/price/versions/7/infer"):
        assert f"<code>{path}</code>" in page


def _find(described, name):
    return next(
        operation
        for path in described["paths"].values()
        for method, operation in path.items()
        if method != "parameters" and operation["operationId"] == name
    )
