"""What those ask for who operate a gateway or write a client for it: readiness, metrics, and its own description."""

from __future__ import annotations

import asyncio

import msgspec

from trimtab import __version__
from trimtab.serving.access import Access, Caller
from trimtab.serving.docs_page import render_docs
from trimtab.serving.exposition import Exposition, Readings
from trimtab.serving.health import LogProbe
from trimtab.serving.metrics import Metrics
from trimtab.serving.openapi import document
from trimtab.serving.switchboard import Switchboard
from trimtab.settings import Settings
from trimtab.wire.shared import Shared

_encode = msgspec.json.Encoder().encode

Page = tuple[bytes, bytes]
"""A body and its content type."""


class Operations:
    """Reads the gateway's state and shows it. Belongs to its event loop."""

    def __init__(self, settings: Settings, switchboard: Switchboard, access: Access, metrics: Metrics) -> None:
        self._address = settings.gateway_url.rstrip("/")
        self._switchboard = switchboard
        self._access = access
        self._metrics = metrics
        self._probe = LogProbe(settings.predictions_dir)
        self._exposition = Exposition(settings.predictions_dir)
        self._exposing = asyncio.Lock()
        self.server: Shared | None = None
        """Where connections come in; known once it listens."""
        self.draining = False

    async def why_not_ready(self) -> str:
        """Why no requests should be sent here; empty if they should.

        It does not depend on the scorers: one that is down takes its own model away, not all of them.
        """
        if self.draining:
            return "the gateway is shutting down"
        routes = self._switchboard.routes().values()
        if routes and all(route.log_policy == "available" for route in routes):
            return ""
        return await self._probe.refusal()

    async def metrics(self, accept: str) -> Page:
        """``/metrics``, in the form that the ``Accept`` header asks for."""
        async with self._exposing:
            routes, server = self._switchboard.routes(), self.server
            lanes = [lane for lane in map(self._switchboard.find, routes) if lane is not None]
            readings = Readings(
                self._metrics.snapshot(),
                {(lane.route.model, lane.route.version): lane.unanswered_rows for lane in lanes},
                {model: self._switchboard.writer(model).gaps.total for model in routes},
                dict(self._access.denied),
                ready=not await self.why_not_ready(),
                connections=len(server.connections) if server else 0,
                buffered_bytes=server.buffered_bytes if server else 0,
                refused_connections=dict(server.refused) if server else {},
            )
            body, content_type = await asyncio.to_thread(self._exposition.render, readings, accept)
        return body, content_type.encode()

    def openapi(self, caller: Caller) -> Page:
        """``/openapi.json``: of the models that the caller's token is for."""
        return _encode(self._document(caller)), b"application/json"

    def docs(self, caller: Caller) -> Page:
        """``/docs``: the same for people."""
        return render_docs(self._document(caller), self._address).encode(), b"text/html; charset=utf-8"

    @staticmethod
    def version() -> Page:
        """``/version``, which MLflow's client asks for."""
        return __version__.encode(), b"text/plain; charset=utf-8"

    def _document(self, caller: Caller) -> dict[str, object]:
        routes = {model: route for model, route in self._switchboard.routes().items() if caller.may_use(model)}
        return document(routes, self._access.in_force)
