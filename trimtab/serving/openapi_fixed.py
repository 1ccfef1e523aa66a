"""The addresses that are there whatever serves: records, the server itself, routes."""

from __future__ import annotations

from typing import Any

from trimtab.predictions.query import LIMIT
from trimtab.serving.openapi_parts import Schema, body, flag, json_answer, operation

_JSON = "application/json"
_ID = "019b2f6e-9d3a-7c11-8a52-5d1f0e7c9b34"
ERROR: Schema = {
    "type": "object",
    "description": "What is wrong, with the value, and what would be right.",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
    "examples": [{"error": "column 'age', row 0: the value is 30.5; it must be a whole number of 64 bits"}],
}
_OUTCOME: Schema = {
    "type": "object",
    "properties": {
        "prediction_id": {"type": "string", "format": "uuid"},
        "request_id": {
            "type": "string",
            "description": "In its stead: the caller's own id of the request, if it had one row.",
        },
        "value": {
            "type": ["number", "boolean", "string"],
            "description": "Of a binary model 0 or 1, of several classes the name of one, else a number.",
        },
        "observed_at": {"type": "string", "format": "date-time", "description": "By default, now."},
        "correction": {"type": "boolean", "default": False},
    },
    "required": ["value"],
    "oneOf": [{"required": ["prediction_id"]}, {"required": ["request_id"]}],
    "additionalProperties": False,
}
OUTCOMES: Schema = {
    "type": "object",
    "properties": {"outcomes": {"type": "array", "items": _OUTCOME}},
    "required": ["outcomes"],
    "additionalProperties": False,
    "examples": [{"outcomes": [{"prediction_id": _ID, "value": 1, "observed_at": "2024-01-31T12:00:00Z"}]}],
}
OUTCOME_LINES: Schema = {
    "type": "string",
    "description": "One outcome a line, as in the JSON form.",
    "examples": [f'{{"prediction_id": "{_ID}", "value": 1}}\n'],
}
OUTCOMES_CSV: Schema = {
    "type": "string",
    "description": "With a header: value and prediction_id or request_id, and if need be observed_at, correction.",
    "examples": [f"prediction_id,value\n{_ID},1\n"],
}
RECEIPT: Schema = {
    "type": "object",
    "properties": {name: {"type": "integer", "minimum": 0} for name in ("accepted", "duplicates", "corrected")},
    "required": ["accepted", "duplicates", "corrected"],
}
PREDICTION: Schema = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "record": {"type": "object"},
        "outcome": {"type": ["number", "string", "null"], "description": "The one that counts."},
        "outcomes": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["model", "record", "outcome", "outcomes"],
}
PAGE: Schema = {
    "type": "object",
    "properties": {
        "predictions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"model": {"type": "string"}, "record": {"type": "object"}},
                "required": ["model", "record"],
            },
        },
        "next": {"type": ["string", "null"], "description": "What to ask for `after` for the next page; null: none."},
    },
    "required": ["predictions", "next"],
}
_QUERY: dict[str, Schema] = {
    **{name: {"type": "string", "minLength": 1} for name in ("model", "version", "release", "caller", "request_id")},
    "from": {"type": "string", "format": "date-time", "description": "Event time from this moment on."},
    "to": {"type": "string", "format": "date-time", "description": "Event time before this moment."},
    "order": {"enum": ["newest", "oldest"], "default": "newest", "description": "Which come first."},
    "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT, "default": 100},
    "after": {"type": "string", "format": "uuid", "description": "The prediction id that a page gave as `next`."},
}
TENSOR_METADATA: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["name", "datatype", "shape"],
}
MODEL_METADATA: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "versions": {"type": "array", "items": {"type": "string"}},
        "platform": {"type": "string"},
        "inputs": {"type": "array", "items": TENSOR_METADATA},
        "outputs": {"type": "array", "items": TENSOR_METADATA},
    },
    "required": ["name", "versions", "platform", "inputs", "outputs"],
}


def record_paths() -> dict[str, Any]:
    """Predictions on record."""
    statuses = (400, 401, 403, 404, 429, 500, 503)
    one = operation(
        "A prediction's record and outcomes", "records", "prediction", statuses, json_answer(PREDICTION), "read"
    )
    some = operation("Predictions, a page at a time", "records", "predictions", statuses, json_answer(PAGE), "read")
    prediction_id = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    asked = [{"name": name, "in": "query", "schema": schema} for name, schema in _QUERY.items()]
    return {
        "/predictions": {"get": {**some, "parameters": asked}},
        "/predictions/{id}": {"get": {**one, "parameters": [prediction_id]}},
    }


def server_paths() -> dict[str, Any]:
    """Health, metrics, and this description."""
    server = {
        "type": "object",
        "properties": {
            "name": {"const": "trimtab"},
            "version": {"type": "string"},
            "extensions": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "version", "extensions"],
    }
    text = {"schema": {"type": "string"}}

    def get(summary: str, name: str, content: dict[str, Any], *statuses: int, scope: str = "") -> dict[str, Any]:
        return {"get": operation(summary, "server", name, statuses, content, scope=scope)}

    return {
        "/v2": get("The server", "server", json_answer(server)),
        "/v2/health/live": get("Whether the process answers", "live", json_answer(flag("live"))),
        "/v2/health/ready": get("Whether requests should be sent here", "ready", json_answer(flag("ready")), 503),
        "/version": get("The version, for MLflow's client", "version", {"content": {"text/plain": text}}),
        "/ping": get("Whether requests should be sent here, for SageMaker", "ping", json_answer(flag("ready")), 503),
        "/metrics": get("Metrics in Prometheus's form", "metrics", {"content": {"text/plain": text}}),
        "/openapi.json": get("This description", "openapi", json_answer({"type": "object"}), 401, scope="any"),
        "/docs": get("This description, for people", "docs", {"content": {"text/html": text}}, 401, scope="any"),
    }


def admin_paths() -> dict[str, Any]:
    """Routes."""
    previous = {"type": "object", "properties": {"previous": {"type": ["object", "null"]}}, "required": ["previous"]}
    routes = {"type": "object", "properties": {"routes": {"type": "object"}}, "required": ["routes"]}
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    statuses = (400, 401, 403, 404, 405, 413, 500, 503)
    listing = operation("The routes by model", "admin", "routes", (401, 403, 500), json_answer(routes), scope="admin")
    put = operation(
        "Send a model's traffic over this route",
        "admin",
        "switch",
        statuses,
        json_answer(previous),
        scope="admin",
        body=body({_JSON: {"schema": {"type": "object"}}}),
    )
    delete = operation("Take a model's route away", "admin", "withdraw", statuses, json_answer(previous), scope="admin")
    return {
        "/admin/routes": {"get": listing},
        "/admin/routes/{model}": {"parameters": [model], "put": put, "delete": delete},
    }
