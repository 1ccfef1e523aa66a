"""Which lane answers for which model, and how that changes: at once, without a failed request, and kept on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trimtab.errors import RequestError
from trimtab.predictions.log import PredictionLog
from trimtab.serving.batching import Lane, Observer
from trimtab.serving.log_writer import LogWriter
from trimtab.serving.routes import Route, load_routes, save_routes
from trimtab.settings import Settings

_LAST_WAIT_S = 5.0
"""For scorers, once no caller is left to wait for them."""


class Switchboard:
    """The lanes by model. One event loop."""

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self._settings = settings
        self._observer = observer
        self._routes_file = settings.home / "routes.json"
        self._lanes: dict[str, Lane] = {}
        self._leaving: set[Lane] = set()
        self._writers: dict[str, LogWriter] = {}
        self._changing = asyncio.Lock()

    def start(self) -> None:
        """Take up the routes that were kept.

        Raises
        ------
        SpecError
            If the file of routes is damaged.
        """
        for model, route in load_routes(self._routes_file).items():
            self._lanes[model] = self._new_lane(route)

    async def stop(self) -> None:
        """Answer what is under way, then close scorers and logs; what a scorer does not answer soon is given up."""
        for lane in (*self._leaving, *self._lanes.values()):
            try:
                async with asyncio.timeout(_LAST_WAIT_S):
                    await lane.drain()
            except TimeoutError:
                lane.abandon()
            lane.close()
        for writer in self._writers.values():
            await asyncio.to_thread(writer.close)

    def routes(self) -> dict[str, Route]:
        """The routes by model."""
        return {model: lane.route for model, lane in self._lanes.items()}

    def find(self, model: str) -> Lane | None:
        """The model's lane, if it has one."""
        return self._lanes.get(model)

    def lane(self, model: str, may_use: Callable[[str], bool] = lambda _: True) -> Lane:
        """The model's lane.

        Raises
        ------
        RequestError
            404, naming the models that there are, of those that the caller may use.
        """
        lane = self._lanes.get(model)
        if lane is None:
            models = sorted(filter(may_use, self._lanes))
            none = "no model that the caller may use" if self._lanes else "no model"
            there = f"there are {models}" if models else f"{none} is released yet"
            raise RequestError(404, f"there is no model {model!r}; {there}")
        return lane

    def writer(self, model: str) -> LogWriter:
        """The model's log and outcomes."""
        if model not in self._writers:
            self._writers[model] = LogWriter(self._settings.predictions_dir / model)
        return self._writers[model]

    async def change(self, model: str, route: Route | None) -> Route | None:
        """Replace or (None) remove a model's route.

        Returns
        -------
        Route or None
            The route before, once its last request is answered.

        Raises
        ------
        ServiceUnavailableError
            If the new route's scorer is not ready; nothing changed.
        RequestError
            409 if the route's classes are not those of the log, 503 if the routes cannot be kept; nothing changed.
        """
        async with self._changing:
            old = self._lanes.get(model)
            if old is not None and old.route == route:
                return route
            new = None if route is None else self._new_lane(route)
            if route is not None:
                await asyncio.to_thread(check_classes, self.writer(model).log, route, old.route if old else None)
            if new is not None:
                await new.scorer.check_ready()
            await self._keep(model, route)
            # The switch: every request from now on is the new lane's.
            if new is None:
                self._lanes.pop(model, None)
            else:
                self._lanes[model] = new
        if old is None:
            return None
        # No other change waits for this: the scorer that is left may be one that hangs.
        self._leaving.add(old)
        await old.drain()
        self._leaving.discard(old)
        old.close()
        return old.route

    async def _keep(self, model: str, route: Route | None) -> None:
        kept = {name: known for name, known in self.routes().items() if name != model}
        if route is not None:
            kept[model] = route
        try:
            await asyncio.to_thread(save_routes, self._routes_file, kept)
        except OSError as error:
            raise RequestError(503, f"{self._routes_file} cannot be written: {error}; no route was changed") from error

    def _new_lane(self, route: Route) -> Lane:
        return Lane(route, self.writer(route.model), route.limits.within(self._settings), self._observer)


def check_classes(log: PredictionLog, route: Route, old: Route | None) -> None:
    """Refuse a route under which the places of classes, by which outcomes are kept, would mean something else.

    Raises
    ------
    RequestError
        409, naming the classes that there were.
    """
    for known in (log.classes() if log.exists else None, old.classes if old else None):
        if known is None or (bool(known) == bool(route.classes) and route.classes[: len(known)] == known):
            continue
        were = f"the classes {list(known)}, in that order" if known else "one score, and no classes"
        raise RequestError(
            409,
            f"the route has the classes {list(route.classes)}; {route.model} was logged with {were}: a class may be "
            "added at the end, none moved or taken away. Give another target a model name of its own",
        )
