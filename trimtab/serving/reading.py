"""Reading the prediction log over HTTP: one prediction, or a page of them.

``parse_query`` and ``page_body`` are pure; :class:`Reader` runs what reads the disk in threads of its own, a bounded
number at a time, so that no reader delays the predictions of others for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from trimtab.errors import PredictionLogError, RequestError, UnknownPredictionError
from trimtab.predictions.listing import Page, list_predictions
from trimtab.predictions.lookup import find_prediction
from trimtab.predictions.outcomes import Outcomes
from trimtab.predictions.query import LIMIT, Query
from trimtab.predictions.schema import from_microseconds, id_bytes
from trimtab.serving.protocol import parse_time
from trimtab.settings import Settings

_PARAMETERS = ("model", "from", "to", "version", "release", "caller", "request_id", "order", "limit", "after")
_TEXTS = {"model": "model", "version": "version", "release": "release_id"} | {
    name: name for name in ("caller", "request_id")
}
_MAX_EXAMINED = 500_000
"""Rows that one page examines at most: about a tenth of a second."""
_THREADS = 2
_encode = msgspec.json.Encoder().encode


def parse_query(raw: str) -> Query:
    """What ``GET /predictions?...`` asks for.

    Parameters
    ----------
    raw
        All after the question mark, still encoded.

    Raises
    ------
    RequestError
        400, naming the parameter, its value and what would be right.
    """
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=2 * len(_PARAMETERS))
    except ValueError as error:
        raise RequestError(
            400, f"the parameters cannot be read ({error}); they must be UTF-8, percent-encoded, each given once"
        ) from error
    for name, value in pairs:
        if name not in _PARAMETERS:
            raise RequestError(400, f"there is no parameter {name[:100]!r}; there are {', '.join(_PARAMETERS)}")
        if name in given:
            raise RequestError(400, f"{name} is given twice; give it once")
        if not value:
            raise RequestError(400, f"{name} is empty; give it a value or leave it out")
        given[name] = value
    order = given.get("order", "newest")
    if order not in ("newest", "oldest"):
        raise RequestError(400, f"order is {order[:100]!r}; it must be newest or oldest (which come first)")
    asked: dict[str, Any] = {field: given[name] for name, field in _TEXTS.items() if name in given}
    for name, field in (("from", "start"), ("to", "end")):
        if name in given:
            asked[field] = from_microseconds(parse_time(given[name], name))
    limit, after = _limit(given), _id(given.get("after"))
    try:
        return Query(**asked, newest_first=order == "newest", limit=limit, after=after)
    except ValueError as error:
        raise RequestError(400, f"from and to are wrong: {error}") from error


def page_body(page: Page) -> bytes:
    """A page as JSON."""
    predictions = [{"model": model, "record": record} for model, record in page.predictions]
    return _encode({"predictions": predictions, "next": page.next_after})


class Reader:
    """Answers who reads predictions. Its methods are for one event loop.

    Parameters
    ----------
    settings : Settings
        ``max_reads`` is how many calls may be under way, waiting ones included.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._under_way = 0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="reading")

    async def prediction(self, prediction_id: str, models: Collection[str] | None = None) -> bytes:
        """One prediction, its record and outcomes, as JSON.

        Parameters
        ----------
        prediction_id
        models
            Those whose predictions the caller may see; all by default.

        Raises
        ------
        RequestError
            404 if it is not on record (for this caller), 429 if too many read, 503 if the log cannot be read.
        """
        return await self._run(self._prediction, prediction_id, models)

    async def predictions(self, query: Query, models: Collection[str] | None = None) -> bytes:
        """A page of predictions, as JSON.

        Raises
        ------
        RequestError
            429 if too many read, 503 if the log cannot be read.
        """
        return await self._run(self._predictions, query, models)

    def close(self) -> None:
        """End the threads, once they are done."""
        self._threads.shutdown()

    def _prediction(self, prediction_id: str, models: Collection[str] | None) -> bytes:
        folder = self._settings.predictions_dir
        try:
            model, record = find_prediction(folder, prediction_id, models, self._settings)
        except UnknownPredictionError as error:
            # Who may see some models is not told which others there are.
            of_some = f"no prediction {prediction_id[:100]!r} of the models that this token is for is on record"
            raise RequestError(404, str(error) if models is None else of_some) from error
        history = Outcomes(folder / model).history(record["prediction_id"])
        outcome = history[-1]["value"] if history else None
        return _encode({"model": model, "record": record, "outcome": outcome, "outcomes": history})

    def _predictions(self, query: Query, models: Collection[str] | None) -> bytes:
        folder = self._settings.predictions_dir
        return page_body(list_predictions(folder, query, models, self._settings, _MAX_EXAMINED))

    async def _run(self, work: Callable[..., bytes], *arguments: Any) -> bytes:
        if self._under_way >= self._settings.max_reads:
            raise RequestError(
                429, f"{self._under_way} calls already read predictions, the most that the gateway lets; try again"
            )
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        except PredictionLogError as error:
            raise RequestError(503, str(error)) from error
        finally:
            self._under_way -= 1


def _limit(given: dict[str, str]) -> int:
    text = given.get("limit", "100")
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= LIMIT):
        raise RequestError(400, f"limit is {text[:100]!r}; it must be a whole number from 1 to {LIMIT}")
    return int(text)


def _id(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        id_bytes(text)
    except UnknownPredictionError as error:
        raise RequestError(
            400, f"after is {text[:100]!r}; it must be the prediction id that the page before gave as next"
        ) from error
    return text
