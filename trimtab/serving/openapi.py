"""The OpenAPI 3.1 description of the gateway's addresses, made from what serves at the moment.

Each model has addresses of its own in it, with its features' names and types and a row that can be copied. Pure: routes
in, document out. ``docs_page.py`` renders it for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trimtab import __version__
from trimtab.serving import openapi_schemas as schemas
from trimtab.serving.openapi_schemas import Schema
from trimtab.serving.routes import Route

PREDICT_STATUSES = (400, 401, 403, 404, 413, 415, 429, 500, 503)
_WORDS = {
    400: "The request is wrong.",
    401: "The token is missing, unknown, expired or revoked.",
    403: "The token is not for this, or not for this model.",
    404: "There is no such address, model, version or prediction.",
    405: "There is no such method here.",
    409: "An outcome contradicts another and is no correction.",
    413: "Too large, or too many rows.",
    415: "The body is of a kind that is not taken.",
    429: "Too many rows wait: try again after retry-after seconds.",
    500: "A fault of the gateway, which is in its log.",
    503: "The scorer does not answer, the prediction could not be logged, or the gateway is not ready.",
}
_JSON = "application/json"
_BINARY = "application/octet-stream"
_BINARY_WORDS = (
    "The binary tensor extension: the JSON, then the raw little-endian bytes of each tensor that names its "
    "binary_data_size; the header Inference-Header-Content-Length is the length of the JSON."
)
_ABOUT = (
    "Every answered prediction is in the prediction log before it is answered; its id finds it again. Errors are "
    'objects with one field, "error": what is wrong, with the value, and what would be right. Besides the statuses '
    "listed, a request that does not arrive in time is answered with 408, one with too large headers with 431."
)


def document(routes: Mapping[str, Route], secured: bool) -> dict[str, Any]:
    """The description.

    Parameters
    ----------
    routes
        By model; only those that the reader may know of.
    secured
        Whether callers must send a token.

    Returns
    -------
    dict
        As JSON.
    """
    paths: dict[str, Any] = {}
    for model, route in sorted(routes.items()):
        paths.update(_model_paths(model, route))
    paths.update(_invocations(routes))
    paths.update(_record_paths())
    paths.update(_server_paths())
    paths.update(_admin_paths())
    if not secured:
        for operation in _operations(paths):
            if operation.get("security") == [{"admin": []}]:
                continue
            operation.pop("security", None)
    return {
        "openapi": "3.1.0",
        "info": {"title": "trimtab gateway", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Error": schemas.ERROR},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token with the scope that is named."},
                "admin": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The home's admin token, or an API token.",
                },
            },
        },
    }


def _model_paths(model: str, route: Route) -> dict[str, Any]:
    infer = {
        "post": _operation(
            f"Predict with {model} (Open Inference, V2)",
            model,
            f"{model}-infer",
            PREDICT_STATUSES,
            _infer_answers(route),
            scope="predict",
            body=_infer_body(route),
        )
    }
    base = f"/v2/models/{model}"
    metadata = _operation(
        f"What serves as {model}",
        model,
        f"{model}-metadata",
        (401, 403, 404, 503),
        _json_answer(schemas.MODEL_METADATA),
        scope="any",
    )
    ready = _operation(f"Whether {model} answers", model, f"{model}-ready", (404, 503), _json_answer(_flag("ready")))
    version = f"{base}/versions/{route.version}"
    outcomes = _operation(
        f"State what came true of predictions of {model}",
        model,
        f"{model}-outcomes",
        (400, 401, 403, 404, 409, 413, 429, 500, 503),
        _json_answer(schemas.RECEIPT),
        scope="outcomes",
        body=_body(
            {
                _JSON: {"schema": schemas.OUTCOMES},
                "application/x-ndjson": {"schema": schemas.OUTCOME_LINES},
                "text/csv": {"schema": schemas.OUTCOMES_CSV},
            }
        ),
    )
    return {
        f"{base}/infer": infer,
        f"/models/{model}/invocations": {"post": _invocation(model, [route], f"{model}-invocations")},
        f"{base}/outcomes": {"post": outcomes},
        base: {"get": metadata},
        f"{base}/ready": {"get": ready},
        f"{version}/infer": {"post": {**infer["post"], "operationId": f"{model}-version-infer"}},
        version: {"get": {**metadata, "operationId": f"{model}-version-metadata"}},
        f"{version}/ready": {"get": {**ready, "operationId": f"{model}-version-ready"}},
    }


def _invocations(routes: Mapping[str, Route]) -> dict[str, Any]:
    if not routes:
        return {}
    models = sorted(routes)
    operation = _invocation("all", [routes[model] for model in models], "invocations")
    asked = {
        "name": "model",
        "in": "query",
        "required": len(models) > 1,
        "description": "May be left out while one model is served.",
        "schema": {"enum": models},
    }
    return {"/invocations": {"post": {**operation, "parameters": [asked, *operation["parameters"]]}}}


def _invocation(model: str, routes: list[Route], name: str) -> dict[str, Any]:
    bodies = [schemas.invocation_request(route) for route in routes]
    answers = [schemas.invocation_answer(route) for route in routes]
    csv = {"schema": {"type": "string"}, "example": schemas.csv_example(routes[0])}
    return _operation(
        f"Predict with {model} (MLflow, SageMaker)" if len(routes) == 1 else "Predict (MLflow, SageMaker)",
        model if len(routes) == 1 else "all",
        name,
        PREDICT_STATUSES,
        _json_answer(_one_of(answers)),
        scope="predict",
        body=_body({_JSON: {"schema": _one_of(bodies)}, "text/csv": csv}),
    )


def _record_paths() -> dict[str, Any]:
    prediction_id = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    operation = _operation(
        "A prediction's record and outcomes",
        "records",
        "prediction",
        (400, 401, 403, 404, 500, 503),
        _json_answer(schemas.PREDICTION),
        scope="read",
    )
    return {"/predictions/{id}": {"get": {**operation, "parameters": [prediction_id, *operation["parameters"]]}}}


def _server_paths() -> dict[str, Any]:
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
        return {"get": _operation(summary, "server", name, statuses, content, scope=scope)}

    return {
        "/v2": get("The server", "server", _json_answer(server)),
        "/v2/health/live": get("Whether the process answers", "live", _json_answer(_flag("live"))),
        "/v2/health/ready": get("Whether requests should be sent here", "ready", _json_answer(_flag("ready")), 503),
        "/ping": get("The same, for SageMaker", "ping", _json_answer(_flag("ready")), 503),
        "/metrics": get("Metrics in Prometheus's form", "metrics", {"content": {"text/plain": text}}),
        "/openapi.json": get("This description", "openapi", _json_answer({"type": "object"}), 401, scope="any"),
        "/docs": get("This description, for people", "docs", {"content": {"text/html": text}}, 401, scope="any"),
    }


def _admin_paths() -> dict[str, Any]:
    previous = {"type": "object", "properties": {"previous": {"type": ["object", "null"]}}, "required": ["previous"]}
    routes = {"type": "object", "properties": {"routes": {"type": "object"}}, "required": ["routes"]}
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    statuses = (400, 401, 403, 404, 405, 413, 500, 503)
    listing = _operation("The routes by model", "admin", "routes", (401, 403, 500), _json_answer(routes), scope="admin")
    put = _operation(
        "Send a model's traffic over this route",
        "admin",
        "switch",
        statuses,
        _json_answer(previous),
        scope="admin",
        body=_body({_JSON: {"schema": {"type": "object"}}}),
    )
    delete = _operation(
        "Take a model's route away", "admin", "withdraw", statuses, _json_answer(previous), scope="admin"
    )
    return {
        "/admin/routes": {"get": listing},
        "/admin/routes/{model}": {"parameters": [model], "put": put, "delete": delete},
    }


def _operation(
    summary: str,
    tag: str,
    name: str,
    statuses: Iterable[int],
    answer: dict[str, Any],
    scope: str = "",
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One operation; ``scope`` is what a token must have, "any" for any token, empty where none is asked for."""
    error = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    operation: dict[str, Any] = {
        "summary": summary,
        "tags": [tag],
        "operationId": name,
        "parameters": [],
        "responses": {
            "200": {"description": "As asked.", **answer},
            **{str(status): {"description": _WORDS[status], "content": error} for status in statuses},
        },
    }
    if scope:
        operation["security"] = [{"admin": []}] if scope == "admin" else [{"token": [] if scope == "any" else [scope]}]
    if body is not None:
        operation["requestBody"] = body
        operation["parameters"] = [_header("x-request-id", "Kept beside each prediction, where the body has no id.")]
    if scope == "predict":
        operation["parameters"].append(_header("x-trimtab-caller", "Kept beside each prediction as its caller."))
        operation["parameters"].append(_header("traceparent", "W3C trace context; passed on and answered."))
    return operation


def _header(name: str, words: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": words, "schema": {"type": "string", "maxLength": 200}}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": content}


def _json_answer(schema: Schema) -> dict[str, Any]:
    return {"content": {_JSON: {"schema": schema}}}


def _infer_body(route: Route) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary", "description": _BINARY_WORDS}}
    return _body({_JSON: {"schema": schemas.infer_request(route)}, _BINARY: binary})


def _infer_answers(route: Route) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary", "description": _BINARY_WORDS}}
    return {"content": {_JSON: {"schema": schemas.infer_answer(route)}, _BINARY: binary}}


def _flag(name: str) -> Schema:
    return {"type": "object", "properties": {name: {"const": True}}, "required": [name]}


def _one_of(found: list[Schema]) -> Schema:
    return found[0] if len(found) == 1 else {"anyOf": found}


def _operations(paths: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    return (operation for path in paths.values() for method, operation in path.items() if method != "parameters")
