"""The gateway's addresses and their answers: a plain ASGI application.

=========================================================  =====================================================
``POST /v2/models/{m}/infer``                              predict (Open Inference, V2)
``POST /models/{m}/invocations``, ``/invocations?model=``  predict (MLflow, SageMaker)
``POST /v2/models/{m}/outcomes``                           state what came true
``GET /predictions/{id}``                                  a prediction's record and outcomes
``GET /v2``, ``/v2/health/live``, ``/v2/health/ready``     the server; also ``/ping``
``GET /v2/models/{m}``, ``/v2/models/{m}/ready``           what serves, and whether it does
``GET /admin/routes``, ``PUT|DELETE /admin/routes/{m}``    routes (admin token)
=========================================================  =====================================================

Errors are ``{"error": "..."}`` with the status that ``errors.RequestError`` carries.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from trimtab import __version__
from trimtab.errors import (
    OutcomeConflictError,
    PredictionLogError,
    RequestError,
    ServiceUnavailableError,
    UnknownPredictionError,
)
from trimtab.predictions.lookup import find_prediction
from trimtab.predictions.outcomes import Outcome, Outcomes
from trimtab.predictions.schema import from_microseconds
from trimtab.serving import protocol
from trimtab.serving.batching import Lane
from trimtab.serving.routes import Route, check_route, is_model_name
from trimtab.serving.switchboard import Switchboard
from trimtab.serving.tokens import admin_token, bearer_is
from trimtab.settings import Settings

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_encode = msgspec.json.Encoder().encode
_logger = logging.getLogger(__name__)
_ADDRESSES = (
    "predict at POST /v2/models/{model}/infer, outcomes at POST /v2/models/{model}/outcomes, read a prediction at "
    "GET /predictions/{id}; docs/gateway.md lists all addresses"
)
_JSON = (b"content-type", b"application/json")


class Gone(Exception):  # noqa: N818 (no error: nobody is left to answer)
    """The caller hung up before its request was complete."""


class Gateway:
    """The ASGI application; its state is the switchboard. One event loop, one process.

    Parameters
    ----------
    settings : Settings
        ``home`` holds routes, token and logs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._switchboard = Switchboard(settings)
        self._admin_token = admin_token(settings.admin_token_file)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        try:
            status, body = await self._answer(scope, receive)
        except Gone:
            return
        except RequestError as error:
            status, body = error.status, _encode({"error": str(error)})
        except Exception:
            # The one place for a broad except: every caller is answered, every fault is logged (so BLE001 is content).
            _logger.exception("%s %s failed", scope["method"], scope["path"])
            status, body = 500, _encode({"error": "internal error; the log has the details"})
        headers = [_JSON, (b"content-length", b"%d" % len(body))]
        if status == 429:
            headers.append((b"retry-after", b"1"))
        elif status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        method, path = scope["method"], scope["path"]
        parts = path.strip("/").split("/")
        match method, parts:
            case "POST", ["v2", "models", model, "infer"]:
                return await self._predict(scope, receive, model, protocol.parse_infer, protocol.infer_answer)
            case "POST", ["models", model, "invocations"]:
                return await self._invoke(scope, receive, model)
            case "POST", ["invocations"]:
                return await self._invoke(scope, receive, self._asked_model(scope))
            case "POST", ["v2", "models", model, "outcomes"]:
                return await self._outcomes(scope, receive, model)
            case "GET", ["predictions", prediction_id]:
                self._check_caller(scope)
                return await self._prediction(prediction_id)
            case "GET" | "HEAD", ["ping"] | ["v2", "health", "live" | "ready"]:
                return 200, b"{}"
            case "GET", ["v2"]:
                return 200, _encode({"name": "trimtab", "version": __version__, "extensions": ["outcomes"]})
            case "GET", ["v2", "models", model]:
                return await self._metadata(self._switchboard.lane(model))
            case "GET", ["v2", "models", model, "ready"]:
                return await self._ready(self._switchboard.lane(model))
            case _, ["admin", "routes", *rest]:
                self._check_admin(scope)
                return await self._administer(method, rest, scope, receive)
        raise RequestError(404, f"there is nothing at {method} {path}; {_ADDRESSES}")

    async def _invoke(self, scope: Scope, receive: Receive, model: str) -> tuple[int, bytes]:
        return await self._predict(scope, receive, model, protocol.parse_invocation, protocol.invocation_answer)

    async def _predict(
        self,
        scope: Scope,
        receive: Receive,
        model: str,
        parse: Callable[[bytes, Route, int, int], protocol.Rows],
        answer: Callable[[Route, protocol.Rows, list[bytes], list[float]], bytes],
    ) -> tuple[int, bytes]:
        self._check_caller(scope)
        body = await self._body(scope, receive)
        # From here to submit there is no await: the request is checked against the very route that answers it.
        lane = self._switchboard.lane(model)
        rows = parse(body, lane.route, self._settings.max_rows, time.time_ns() // 1000)
        _identify(rows, scope)
        ids, scores = await lane.submit(rows)
        return 200, answer(lane.route, rows, ids, scores)

    async def _outcomes(self, scope: Scope, receive: Receive, model: str) -> tuple[int, bytes]:
        self._check_caller(scope)
        body = await self._body(scope, receive)
        lane = self._switchboard.find(model)
        if lane is None and not (is_model_name(model) and (self._settings.predictions_dir / model).is_dir()):
            self._switchboard.lane(model)
        binary = lane is not None and lane.route.kind == "binary"
        outcomes = [_outcome(given, number, binary) for number, given in enumerate(_decode_outcomes(body))]
        receipt = await _off_loop(self._switchboard.writer(model).outcomes.add, outcomes)
        return 200, _encode(receipt)

    async def _prediction(self, prediction_id: str) -> tuple[int, bytes]:
        model, record = await _off_loop(find_prediction, self._settings.predictions_dir, prediction_id)
        history = await _off_loop(Outcomes(self._settings.predictions_dir / model).history, prediction_id)
        outcome = history[-1]["value"] if history else None
        return 200, _encode({"model": model, "record": record, "outcome": outcome, "outcomes": history})

    async def _metadata(self, lane: Lane) -> tuple[int, bytes]:
        found = await _reachable(lane.scorer.metadata())
        route = lane.route
        own = {"name": route.model, "versions": [route.version], "platform": found.get("platform", "")}
        return 200, _encode({**found, **own, "route": route})

    async def _ready(self, lane: Lane) -> tuple[int, bytes]:
        await _reachable(lane.scorer.check_ready())
        return 200, _encode({"name": lane.route.model, "ready": True})

    async def _administer(self, method: str, rest: list[str], scope: Scope, receive: Receive) -> tuple[int, bytes]:
        match method, rest:
            case "GET", []:
                return 200, _encode({"routes": self._switchboard.routes()})
            case "PUT", [model]:
                body = await self._body(scope, receive)
                try:
                    route = msgspec.json.decode(body, type=Route)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise RequestError(400, f"the body is no route: {error}") from error
                check_route(model, route)
                return 200, _encode({"previous": await _reachable(self._switchboard.change(model, route))})
            case "DELETE", [model]:
                return 200, _encode({"previous": await self._switchboard.change(model, None)})
        raise RequestError(
            405, f"{method} is not answered here; use GET /admin/routes, PUT or DELETE /admin/routes/{{m}}"
        )

    def _asked_model(self, scope: Scope) -> str:
        if asked := parse_qs(scope["query_string"].decode("latin-1")).get("model"):
            return str(asked[0])
        models = sorted(self._switchboard.routes())
        if len(models) == 1:
            return models[0]
        raise RequestError(400, f"the request names no model; add ?model= with one of {models}")

    def _check_caller(self, scope: Scope) -> None:
        token = self._settings.gateway_token
        if token and not bearer_is(_header(scope, b"authorization"), token):
            raise RequestError(401, "the caller's token is missing or wrong; send it as Authorization: Bearer <token>")

    def _check_admin(self, scope: Scope) -> None:
        if not bearer_is(_header(scope, b"authorization"), self._admin_token):
            raise RequestError(
                401,
                "routes are moved with the admin token only; send what is in "
                f"{self._settings.admin_token_file.name} of trimtab's home as Authorization: Bearer <token>",
            )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limit = self._settings.max_body_bytes
        declared = _header(scope, b"content-length")
        if declared is not None and int(declared) > limit:
            raise RequestError(
                413, f"the body is {int(declared)} bytes; at most {limit} are read: send several requests"
            )
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise RequestError(413, f"the body is over {limit} bytes, the most that is read: send several requests")
            parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._switchboard.start()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._switchboard.stop()
        await send({"type": "lifespan.shutdown.complete"})


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def _identify(rows: protocol.Rows, scope: Scope) -> None:
    for key, value in scope["headers"]:
        if key == b"x-trimtab-caller":
            rows.caller = value.decode("latin-1")
        elif key == b"x-request-id" and not rows.request_id:
            rows.request_id = value.decode("latin-1")


_outcomes_decoder = msgspec.json.Decoder(protocol.OutcomesBody)


def _decode_outcomes(body: bytes) -> Iterable[protocol.OutcomeBody]:
    return protocol.decode(_outcomes_decoder, body).outcomes


def _outcome(given: protocol.OutcomeBody, number: int, binary: bool) -> Outcome:
    value = float(given.value)
    if binary and value not in (0.0, 1.0):
        raise RequestError(400, f"outcome {number}: the value is {value:g}; of a binary model it must be 0 or 1")
    now = time.time_ns() // 1000
    observed = (
        now if given.observed_at is None else protocol.parse_time(given.observed_at, f"outcome {number}: observed_at")
    )
    return Outcome(given.prediction_id, value, from_microseconds(observed), given.correction)


async def _off_loop(work: Callable[..., Any], *arguments: Any) -> Any:
    """Run what reads or writes the disk in a thread; its errors become answers."""
    try:
        return await asyncio.to_thread(work, *arguments)
    except UnknownPredictionError as error:
        raise RequestError(404, str(error)) from error
    except OutcomeConflictError as error:
        raise RequestError(409, str(error)) from error
    except PredictionLogError as error:
        raise RequestError(503, str(error)) from error


async def _reachable(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except ServiceUnavailableError as error:
        raise RequestError(503, str(error)) from error
