"""Building blocks of the OpenAPI description: an operation, its bodies and its answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]

_JSON = "application/json"
_WORDS = {
    400: "The request is wrong.",
    401: "The token is missing, unknown, expired or revoked.",
    403: "The token is not for this, or not for this model.",
    404: "There is no such address, model, version or prediction.",
    405: "There is no such method here.",
    409: "An outcome contradicts another and is no correction, or a request id names several predictions.",
    413: "Too large, or too many rows.",
    415: "The body is of a kind that is not taken.",
    429: "Too many rows wait, or too many calls read: try again after retry-after seconds.",
    500: "A fault of the gateway, which is in its log.",
    503: "The scorer does not answer, the prediction could not be logged, or the gateway is not ready.",
}


def operation(
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
    made: dict[str, Any] = {
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
        made["security"] = [{"admin": []}] if scope == "admin" else [{"token": [] if scope == "any" else [scope]}]
    if body is not None:
        made["requestBody"] = body
        made["parameters"] = [_header("x-request-id", "Kept beside each prediction, where the body has no id.")]
    if scope == "predict":
        made["parameters"].append(_header("x-trimtab-caller", "Kept beside each prediction as its caller."))
        made["parameters"].append(_header("traceparent", "W3C trace context; passed on and answered."))
    return made


def _header(name: str, words: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": words, "schema": {"type": "string", "maxLength": 200}}


def body(content: dict[str, Any]) -> dict[str, Any]:
    """A body that must be there, of any of these content types."""
    return {"required": True, "content": content}


def json_answer(schema: Schema) -> dict[str, Any]:
    """What is answered where all goes well."""
    return {"content": {_JSON: {"schema": schema}}}


def flag(name: str) -> Schema:
    """An object that says of something that it is so."""
    return {"type": "object", "properties": {name: {"const": True}}, "required": [name]}


def one_of(found: list[Schema]) -> Schema:
    """Any of these."""
    return found[0] if len(found) == 1 else {"anyOf": found}
