"""The gateway's addresses and their answers.

=========================================================  =====================================================
``POST /v2/models/{m}[/versions/{v}]/infer``               predict (Open Inference, V2)
``POST /models/{m}/invocations``, ``/invocations?model=``  predict (MLflow, SageMaker)
``POST /v2/models/{m}/outcomes``                           state what came true
``GET /predictions/{id}``                                  a prediction's record and outcomes
``GET /predictions?model=&from=&to=&...``                  a page of them (``reading.py``)
``GET /v2``, ``/v2/health/live``, ``/v2/health/ready``     the server; also ``/ping``
``GET /v2/models/{m}[/versions/{v}]``, ``.../ready``       what serves, and whether it does
``GET /metrics``, ``/openapi.json``, ``/docs``             ``operations.py``
``GET /admin/routes``, ``PUT|DELETE /admin/routes/{m}``    routes
=========================================================  =====================================================

To predict takes no task and no future: a request is parsed and queued where it is received, and answered where its
batch is logged. Everything else is a coroutine. Errors are ``{"error": "..."}`` with the status that
``errors.RequestError`` carries.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec
import numpy as np

from trimtab import __version__
from trimtab.errors import (
    OutcomeConflictError,
    PredictionLogError,
    RequestError,
    ServiceUnavailableError,
    UnknownPredictionError,
)
from trimtab.predictions.schema import ID_CHARACTERS
from trimtab.serving.access import Access, Caller
from trimtab.serving.batching import Lane
from trimtab.serving.content import explain, parse_invocation
from trimtab.serving.logs import log_request
from trimtab.serving.metrics import Metrics
from trimtab.serving.operations import Operations
from trimtab.serving.outcome_bodies import add_posted, parse_outcomes
from trimtab.serving.protocol import Rows
from trimtab.serving.protocol.columns import SCORER_DATATYPES
from trimtab.serving.reading import Reader, parse_query
from trimtab.serving.routes import Route, check_route, is_model_name
from trimtab.serving.switchboard import Switchboard
from trimtab.serving.tokens import Scope
from trimtab.serving.tracing import TraceContext, read_trace
from trimtab.settings import Settings
from trimtab.wire.http import Exchange, Headers, Request, error_body, header_text
from trimtab.wire.shared import Shared
from trimtab.wire.tensors import EXTENSION, HEADER_LENGTH

_encode = msgspec.json.Encoder().encode
_logger = logging.getLogger(__name__)
_ADDRESSES = (
    "predict at POST /v2/models/{model}/infer, outcomes at POST /v2/models/{model}/outcomes, read a prediction at "
    "GET /predictions/{id}, many at GET /predictions; docs/gateway.md lists all addresses"
)
_STATUS_HEADERS: dict[int, Headers] = {
    401: [(b"www-authenticate", b"Bearer")],
    429: [(b"retry-after", b"1")],
    503: [(b"retry-after", b"1")],
}
_BINARY = b"application/octet-stream"
_LAST_WAIT_S = 5.0  # a change of routes may wait for a scorer that hangs
_MAX_REQUEST_ID_CHARACTERS = 200


class Answer(msgspec.Struct):
    """What is answered to one request."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: Headers = ()


class _Prediction:
    """A request to predict, from its receipt to its answer."""

    __slots__ = ("_exchange", "_gateway", "_is_invocation", "_lane", "_rows", "received_at")

    def __init__(self, gateway: Gateway, exchange: Exchange, lane: Lane, rows: Rows, is_invocation: bool) -> None:
        self._gateway = gateway
        self._exchange = exchange
        self._lane = lane
        self._rows = rows
        self._is_invocation = is_invocation
        self.received_at = exchange.request.received_at

    def answer(self, ids: bytes, scores: np.ndarray) -> None:
        """Answer with what is logged."""
        answers, rows = self._lane.answers, self._rows
        if self._gateway.logs_requests:
            self._log(ids[:ID_CHARACTERS].decode())
        headers: Headers = () if rows.trace is None else ((b"traceparent", rows.trace.traceparent),)
        if self._is_invocation:
            self._exchange.answer(200, answers.invocation(ids, scores), headers=headers)
            return
        body, json_length = answers.infer(rows, ids, scores)
        if json_length is None:
            self._exchange.answer(200, body, headers=headers)
        else:
            self._exchange.answer(200, body, _BINARY, [*headers, (HEADER_LENGTH, b"%d" % json_length)])

    def refuse(self, error: BaseException) -> None:
        """Answer that there is no prediction, and why."""
        self._gateway.refuse(self._exchange, error, self._lane.route.model)

    def _log(self, prediction_id: str) -> None:
        rows, route = self._rows, self._lane.route
        duration_ms = 1000 * (asyncio.get_running_loop().time() - self.received_at)
        trace_id = "" if rows.trace is None else rows.trace.trace_id.decode()
        log_request(
            *(route.model, route.version, 200, duration_ms, rows.n),
            *(rows.caller, rows.request_id, prediction_id, trace_id),
        )


class Gateway:
    """The application; its state is the switchboard. One event loop, one process.

    Parameters
    ----------
    settings : Settings
        ``home`` holds routes, tokens and logs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.logs_requests = settings.log_requests
        self.access = Access(settings)
        self._metrics = Metrics(self._version_of)
        self._switchboard = Switchboard(settings, self._metrics)
        self._reader = Reader(settings)
        self._operations = Operations(settings, self._switchboard, self.access, self._metrics)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Take up the routes that were kept.

        Raises
        ------
        SpecError
            If the file of routes is damaged.
        """
        self._switchboard.start()

    def models(self) -> list[str]:
        """What is served."""
        return sorted(self._switchboard.routes())

    def watch(self, server: Shared) -> None:
        """Show the server's connections among the metrics."""
        self._operations.server = server

    def drain(self) -> None:
        """Say from now on that no requests should be sent here; those that are will be answered."""
        self._operations.draining = True

    async def stop(self) -> None:
        """Answer what is under way, then close scorers and logs."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_WAIT_S)
        await self._switchboard.stop()
        self._reader.close()

    def __call__(self, request: Request, exchange: Exchange) -> None:
        """Answer a request, at once or later."""
        match request.head.method, request.head.segments:
            case "POST", ["v2", "models", model, "infer"]:
                self._predict(request, exchange, model, is_invocation=False)
            case "POST", ["v2", "models", model, "versions", version, "infer"]:
                self._predict(request, exchange, model, is_invocation=False, version=version)
            case "POST", ["models", model, "invocations"]:
                self._predict(request, exchange, model, is_invocation=True)
            case "POST", ["invocations"]:
                self._predict(request, exchange, None, is_invocation=True)
            case method, parts:
                self._spawn(exchange, self._answer(method, parts, request, exchange))

    def refuse(self, exchange: Exchange, error: BaseException, model: str | None = None) -> None:
        """Answer that a request is refused; count it if it was to predict with a model."""
        request, trace = exchange.request, _trace(exchange.request)
        request_id = header_text(request.head.header(b"x-request-id") or b"")
        trace_id = "" if trace is None else trace.trace_id.decode()
        if isinstance(error, RequestError):
            status, body = error.status, error_body(str(error))
        else:
            known = {"model": model, "request_id": request_id, "trace_id": trace_id}
            _logger.error("%s %s failed", request.head.method, request.head.path, exc_info=error, extra=known)
            status, body = 500, error_body("internal error; the log has the details")
        if model is not None:
            self._metrics.refused(model, status)
            if self.logs_requests:
                duration_ms = 1000 * (asyncio.get_running_loop().time() - request.received_at)
                version = self._version_of(model) or ""
                log_request(model, version, status, duration_ms, 0, request_id=request_id, trace_id=trace_id)
        headers = list(_STATUS_HEADERS.get(status, ()))
        if trace is not None:
            headers.append((b"traceparent", trace.traceparent))
        exchange.answer(status, body, headers=headers)

    def _predict(
        self, request: Request, exchange: Exchange, model: str | None, is_invocation: bool, version: str | None = None
    ) -> None:
        """Check a request and queue its rows, all at once: it is checked against the very route that answers it."""
        now_us = time.time_ns() // 1000
        try:
            authorization = request.head.header(b"authorization")
            caller = self.access.check(authorization, "predict", model, now_us, exchange.peer)
            if model is None:
                model = self._asked_model(request, caller)
                caller = self.access.check(authorization, "predict", model, now_us, exchange.peer)
            lane = self._switchboard.lane(model, caller.may_use)
            if len(request.body) > lane.limits.max_body_bytes:
                raise RequestError(
                    413,
                    f"the body is {len(request.body)} bytes; {model} takes at most {lane.limits.max_body_bytes}: "
                    "send several requests",
                )
            if is_invocation:
                rows = parse_invocation(request, lane, now_us)
            else:
                _check_version(lane, version)
                rows = lane.parser.infer(request.body, request.head.header(HEADER_LENGTH), now_us)
            rows.caller = caller.on_record(request.head.header(b"x-trimtab-caller"))
            if not rows.request_id and (request_id := request.head.header(b"x-request-id")):
                rows.request_id = header_text(request_id)
            if len(rows.request_id) > _MAX_REQUEST_ID_CHARACTERS:
                # It stands beside each row: a long one of a large request would fill the memory.
                raise RequestError(
                    400,
                    f"the request's id has {len(rows.request_id)} characters; it may have {_MAX_REQUEST_ID_CHARACTERS}",
                )
            rows.trace = _trace(request)
            lane.submit(rows, _Prediction(self, exchange, lane, rows, is_invocation))
        except RequestError as error:
            self.refuse(exchange, explain(error, request), model or "")

    def _spawn(self, exchange: Exchange, answer: Coroutine[Any, Any, Answer]) -> None:
        async def work() -> None:
            try:
                found = await answer
            except Exception as error:  # noqa: BLE001 (every caller is answered, every fault is logged)
                self.refuse(exchange, error)
            else:
                exchange.answer(found.status, found.body, found.content_type, found.headers)

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, method: str, parts: Sequence[str], request: Request, exchange: Exchange) -> Answer:
        match "GET" if method == "HEAD" else method, parts:
            case "POST", ["v2", "models", model, "outcomes"]:
                caller = self._check(request, exchange, "outcomes", model)
                return await self._outcomes(request, model, caller)
            case "GET", ["predictions"]:
                return await self._predictions(request, exchange)
            case "GET", ["predictions", prediction_id]:
                return await self._prediction(request, exchange, prediction_id)
            case "GET", ["v2", "health", "live"]:
                return Answer(200, b'{"live":true}')
            case "GET", ["ping"] | ["v2", "health", "ready"]:
                await self._check_ready()
                return Answer(200, b'{"ready":true}')
            case "GET", ["v2"]:
                return _json({"name": "trimtab", "version": __version__, "extensions": ["outcomes", EXTENSION]})
            case "GET", ["v2", "models", model] | ["v2", "models", model, "versions", _]:
                caller = self._check(request, exchange, None, model)
                lane = self._switchboard.lane(model, caller.may_use)
                _check_version(lane, *parts[4:5])
                return await self._metadata(lane)
            case "GET", ["v2", "models", model, "ready"] | ["v2", "models", model, "versions", _, "ready"]:
                if (found := self._switchboard.find(model)) is None:
                    # Whoever watches over models needs no token, and is told of no others.
                    raise RequestError(404, f"there is no model {model!r}")
                _check_version(found, *parts[4:5])
                return await self._ready(found)
            case "GET", ["metrics"]:
                return _page(await self._operations.metrics((request.head.header(b"accept") or b"").decode("latin-1")))
            case "GET", ["openapi.json"]:
                return _page(self._operations.openapi(self._check(request, exchange, None, None)))
            case "GET", ["docs"]:
                return _page(self._operations.docs(self._check(request, exchange, None, None)))
            case "GET", ["version"]:
                return _page(self._operations.version())
            case _, ["admin", "routes", *rest]:
                caller = self._check(request, exchange, "admin", rest[0] if rest else None)
                return await self._administer(method, rest, request.body, caller)
        raise RequestError(404, f"there is nothing at {method} {request.head.path}; {_ADDRESSES}")

    async def _outcomes(self, request: Request, model: str, caller: Caller) -> Answer:
        lane = self._switchboard.find(model)
        if lane is None and not (is_model_name(model) and (self._settings.predictions_dir / model).is_dir()):
            self._switchboard.lane(model, caller.may_use)
        binary = lane is not None and lane.route.kind == "binary"
        writer = self._switchboard.writer(model)
        classes = lane.route.classes if lane is not None else await _off_loop(writer.log.classes)
        posted = parse_outcomes(
            request.body, request.head.header(b"content-type"), binary, time.time_ns() // 1000, classes
        )
        return _json(await _off_loop(add_posted, writer.outcomes, writer.log, posted))

    async def _predictions(self, request: Request, exchange: Exchange) -> Answer:
        caller = self._check(request, exchange, "read", None)
        query = parse_query(request.head.query)
        if query.model is not None:
            self._check(request, exchange, "read", query.model)
        return Answer(200, await self._reader.predictions(query, caller.models))

    async def _prediction(self, request: Request, exchange: Exchange, prediction_id: str) -> Answer:
        caller = self._check(request, exchange, "read", None)
        return Answer(200, await self._reader.prediction(prediction_id, caller.models))

    async def _metadata(self, lane: Lane) -> Answer:
        found = await _reachable(lane.scorer.metadata())
        route = lane.route
        outputs = [
            {"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in lane.answers.outputs
        ]
        # What is to be sent here, whatever the scorer takes.
        inputs = [
            {"name": feature.name, "datatype": SCORER_DATATYPES[feature.type], "shape": [-1]}
            for feature in route.features
        ]
        own = {"name": route.model, "versions": [route.version], "platform": found.get("platform", "")}
        return _json({**found, **own, "inputs": inputs, "outputs": outputs, "route": route})

    async def _check_ready(self) -> None:
        if reason := await self._operations.why_not_ready():
            raise RequestError(503, reason)

    async def _ready(self, lane: Lane) -> Answer:
        await self._check_ready()
        await _reachable(lane.scorer.check_ready())
        return _json({"name": lane.route.model, "ready": True})

    async def _administer(self, method: str, rest: list[str], body: bytes, caller: Caller) -> Answer:
        match method, rest:
            case "GET", []:
                routes = self._switchboard.routes()
                return _json({"routes": {model: route for model, route in routes.items() if caller.may_use(model)}})
            case "PUT", [model]:
                try:
                    route = msgspec.json.decode(body, type=Route)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise RequestError(400, f"the body is no route: {error}") from error
                check_route(model, route)
                return _json({"previous": await _reachable(self._switchboard.change(model, route))})
            case "DELETE", [model]:
                return _json({"previous": await self._switchboard.change(model, None)})
        raise RequestError(
            405, f"{method} is not answered here; use GET /admin/routes, PUT or DELETE /admin/routes/{{m}}"
        )

    def _check(self, request: Request, exchange: Exchange, scope: Scope | None, model: str | None) -> Caller:
        now_us = time.time_ns() // 1000
        return self.access.check(request.head.header(b"authorization"), scope, model, now_us, exchange.peer)

    def _asked_model(self, request: Request, caller: Caller) -> str:
        if asked := parse_qs(request.head.query).get("model"):
            return str(asked[0])
        models = sorted(filter(caller.may_use, self._switchboard.routes()))
        if len(models) == 1:
            return models[0]
        raise RequestError(400, f"the request names no model; add ?model= with one of {models}")

    def _version_of(self, model: str) -> str | None:
        lane = self._switchboard.find(model)
        return None if lane is None else lane.route.version


def _check_version(lane: Lane, version: str | None = None) -> None:
    model, serving = lane.route.model, lane.route.version
    if version is not None and version != serving:
        raise RequestError(404, f"version {version!r} of {model!r} does not serve; version {serving!r} does")


def _trace(request: Request) -> TraceContext | None:
    if request.head.header(b"traceparent") is None:
        return None
    return read_trace(request.head.all(b"traceparent"), request.head.all(b"tracestate"))


def _json(value: Any) -> Answer:
    return Answer(200, _encode(value))


def _page(page: tuple[bytes, bytes]) -> Answer:
    return Answer(200, *page)


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
