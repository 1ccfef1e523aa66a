"""The OpenAPI 3.1 description of the gateway's addresses, made from what serves at the moment.

Each model has addresses of its own in it, with its features' names and types and a row that can be copied. Pure: routes
in, document out. ``docs_page.py`` renders it for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trimtab import __version__
from trimtab.serving import openapi_schemas as schemas
from trimtab.serving.openapi_fixed import (
    ERROR,
    MODEL_METADATA,
    OUTCOME_LINES,
    OUTCOMES,
    OUTCOMES_CSV,
    RECEIPT,
    admin_paths,
    record_paths,
    server_paths,
)
from trimtab.serving.openapi_parts import body, flag, json_answer, one_of, operation
from trimtab.serving.routes import Route

PREDICT_STATUSES = (400, 401, 403, 404, 413, 415, 429, 500, 503)
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
    paths.update(record_paths())
    paths.update(server_paths())
    paths.update(admin_paths())
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
            "schemas": {"Error": ERROR},
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
        "post": operation(
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
    metadata = operation(
        f"What serves as {model}",
        model,
        f"{model}-metadata",
        (401, 403, 404, 503),
        json_answer(MODEL_METADATA),
        scope="any",
    )
    ready = operation(f"Whether {model} answers", model, f"{model}-ready", (404, 503), json_answer(flag("ready")))
    version = f"{base}/versions/{route.version}"
    outcomes = operation(
        f"State what came true of predictions of {model}",
        model,
        f"{model}-outcomes",
        (400, 401, 403, 404, 409, 413, 429, 500, 503),
        json_answer(RECEIPT),
        scope="outcomes",
        body=body(
            {
                _JSON: {"schema": OUTCOMES},
                "application/x-ndjson": {"schema": OUTCOME_LINES},
                "text/csv": {"schema": OUTCOMES_CSV},
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
    operation = _invocation(None, [routes[model] for model in models], "invocations")
    asked = {
        "name": "model",
        "in": "query",
        "required": len(models) > 1,
        "description": "May be left out while one model is served.",
        "schema": {"enum": models},
    }
    return {"/invocations": {"post": {**operation, "parameters": [asked, *operation["parameters"]]}}}


def _invocation(model: str | None, routes: list[Route], name: str) -> dict[str, Any]:
    bodies = [schemas.invocation_request(route) for route in routes]
    answers = [schemas.invocation_answer(route) for route in routes]
    csv = {"schema": {"type": "string"}, "example": schemas.csv_example(routes[0])}
    return operation(
        f"Predict with {model} (MLflow, SageMaker)" if model else "Predict (MLflow, SageMaker)",
        model or "all",
        name,
        PREDICT_STATUSES,
        json_answer(one_of(answers)),
        scope="predict",
        body=body({_JSON: {"schema": one_of(bodies)}, "text/csv": csv}),
    )


def _infer_body(route: Route) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary", "description": _BINARY_WORDS}}
    return body({_JSON: {"schema": schemas.infer_request(route)}, _BINARY: binary})


def _infer_answers(route: Route) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary", "description": _BINARY_WORDS}}
    return {"content": {_JSON: {"schema": schemas.infer_answer(route)}, _BINARY: binary}}


def _operations(paths: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    return (operation for path in paths.values() for method, operation in path.items() if method != "parameters")
