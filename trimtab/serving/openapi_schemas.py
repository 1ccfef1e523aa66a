"""JSON Schemas of what a model takes and answers, from its route; with values that a person can copy."""

from __future__ import annotations

from typing import Any

from trimtab.serving.protocol.columns import SCORER_DATATYPES
from trimtab.serving.routes import Route, RouteFeature

Schema = dict[str, Any]

_TYPES: dict[str, Schema] = {
    "number": {"type": "number"},
    "integer": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "category": {"type": "string"},
    "boolean": {"type": "boolean"},
}
_EXAMPLES: dict[str, Any] = {"number": 1.5, "integer": 1, "category": "a", "boolean": True}
_EVENT_TIME: Schema = {
    "description": "When it happened: of all rows, or of each; ISO 8601 with a timezone. By default, now.",
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "array", "items": {"type": "string", "format": "date-time"}},
    ],
}


def value_schema(feature: RouteFeature) -> Schema:
    """One value of a feature."""
    schema = _TYPES[feature.type]
    return {**schema, "type": [schema["type"], "null"]} if feature.nullable else dict(schema)


def row_example(route: Route) -> dict[str, Any]:
    """A row that the model takes."""
    return {feature.name: _EXAMPLES[feature.type] for feature in route.features}


def infer_request(route: Route) -> Schema:
    """V2's request: a tensor a feature."""
    return {
        "type": "object",
        "description": "One input a feature, in any order, all with as many values. Models of numbers only also take "
        "one input of shape [rows, features].",
        "properties": {
            "id": {"type": "string", "description": "Kept beside each prediction as request_id."},
            "inputs": {
                "type": "array",
                "prefixItems": [_tensor(feature) for feature in route.features],
                "minItems": len(route.features),
                "maxItems": len(route.features),
            },
            "parameters": {"type": "object", "properties": {"event_time": _EVENT_TIME}},
            "outputs": {
                "type": "array",
                "description": "Which outputs to answer; all by default.",
                "items": {
                    "type": "object",
                    "properties": {"name": {"enum": [name for name, _ in outputs(route)]}},
                    "required": ["name"],
                },
            },
        },
        "required": ["inputs"],
        "examples": [
            {
                "inputs": [
                    {"name": f.name, "shape": [1], "datatype": SCORER_DATATYPES[f.type], "data": [_EXAMPLES[f.type]]}
                    for f in route.features
                ]
            }
        ],
    }


def infer_answer(route: Route) -> Schema:
    """V2's answer."""
    elements: dict[str, Schema] = {
        "FP64": {"type": "number"},
        "INT64": {"type": "integer"},
        "BYTES": {"type": "string"},
    }
    width = len(route.classes)
    classes: Schema = {"classes": {"const": list(route.classes)}} if route.classes else {}
    rows = (
        {"type": "array", "items": elements["FP64"], "minItems": width, "maxItems": width}
        if route.classes
        else elements["FP64"]
    )
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "model_name": {"const": route.model},
            "model_version": {"type": "string"},
            "parameters": {
                "type": "object",
                "properties": {"release_id": {"type": "string"}, **classes},
                "required": ["release_id", *classes],
            },
            "outputs": {
                "type": "array",
                "items": {
                    "anyOf": [
                        {
                            "type": "object",
                            "properties": {
                                "name": {"const": name},
                                "datatype": {"const": datatype},
                                "shape": {"type": "array", "items": {"type": "integer"}},
                                "data": {"type": "array", "items": rows if name == "score" else elements[datatype]},
                            },
                            "required": ["name", "datatype", "shape"],
                        }
                        for name, datatype in outputs(route)
                    ]
                },
            },
        },
        "required": ["model_name", "model_version", "parameters", "outputs"],
    }


def invocation_request(route: Route) -> Schema:
    """MLflow's and SageMaker's request: exactly one of its forms."""
    row = {
        "type": "object",
        "properties": {feature.name: value_schema(feature) for feature in route.features},
        "required": [feature.name for feature in route.features],
        "additionalProperties": False,
    }
    columns = {
        "type": "object",
        "properties": {f.name: {"type": "array", "items": value_schema(f)} for f in route.features},
        "required": [feature.name for feature in route.features],
        "additionalProperties": False,
    }
    positions = {
        "type": "array",
        "prefixItems": [value_schema(feature) for feature in route.features],
        "minItems": len(route.features),
        "maxItems": len(route.features),
    }
    split = {
        "type": "object",
        "properties": {
            "columns": {"const": [feature.name for feature in route.features]},
            "data": {"type": "array", "items": positions, "minItems": 1},
        },
        "required": ["columns", "data"],
    }
    rows = {"anyOf": [{"type": "array", "items": form, "minItems": 1} for form in (row, positions)]}
    forms = {
        "dataframe_split": split,
        "dataframe_records": {"type": "array", "items": row, "minItems": 1},
        "inputs": {"anyOf": [columns, *rows["anyOf"]]},
        "instances": rows,
    }
    params = {"type": "object", "properties": {"event_time": _EVENT_TIME}}
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": {name: form, "params": params},
                "required": [name],
                "additionalProperties": False,
            }
            for name, form in forms.items()
        ],
        "examples": [{"dataframe_records": [row_example(route)]}],
    }


def invocation_answer(route: Route) -> Schema:
    """MLflow's answer: an object a row."""
    score: Schema = {"type": "number"}
    if route.classes:
        score = {"type": "object", "properties": dict.fromkeys(route.classes, score), "required": list(route.classes)}
    kinds: dict[str, Schema] = {"score": score, "prediction_id": {"type": "string", "format": "uuid"}}
    if route.kind != "regression":
        kinds["label"] = {"enum": list(route.classes) or [0, 1]}
    return {
        "type": "object",
        "properties": {
            "predictions": {
                "type": "array",
                "items": {"type": "object", "properties": kinds, "required": list(kinds)},
            },
            "model_name": {"const": route.model},
            "model_version": {"type": "string"},
            "release_id": {"type": "string"},
        },
        "required": ["predictions", "model_name", "model_version", "release_id"],
    }


def csv_example(route: Route) -> str:
    """The same row as CSV with a header."""
    cells = [str(value).lower() if value is True else str(value) for value in row_example(route).values()]
    names = [feature.name for feature in route.features]
    return "\n".join(",".join(_cell(text) for text in line) for line in (names, cells)) + "\n"


def outputs(route: Route) -> list[tuple[str, str]]:
    """Name and datatype of each output."""
    label = [("label", "BYTES" if route.classes else "INT64")] if route.kind != "regression" else []
    return [("score", "FP64"), *label, ("prediction_id", "BYTES")]


def _tensor(feature: RouteFeature) -> Schema:
    return {
        "type": "object",
        "properties": {
            "name": {"const": feature.name},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2},
            "datatype": {"const": SCORER_DATATYPES[feature.type]},
            "data": {"type": "array", "items": value_schema(feature), "minItems": 1},
        },
        "required": ["name", "shape", "datatype", "data"],
    }


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text
