"""``trimtab predictions``: what the models predicted."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab.answers import LABEL, SCORE, outcome_text, score_names
from trimtab.cli.terminal import log_folder, parse_moment, read_settings, say

if TYPE_CHECKING:
    from pathlib import Path

    from trimtab.predictions import Query

app = typer.Typer(no_args_is_help=True, help="What the models predicted.")

_Found = list[tuple[str, dict[str, Any]]]
_SHOWN = 20
_COLUMNS = ("prediction_id", "event_time", "version", "score", "caller", "request_id")


@app.command("show", epilog="Example: trimtab predictions show --request-id order-4711")
def show(
    prediction_id: Annotated[str | None, typer.Argument(help="The id that the prediction was answered with.")] = None,
    request_id: Annotated[str | None, typer.Option(help="Or the id that the caller gave its request.")] = None,
) -> None:
    """Show one logged prediction, or those of one request, and what is known of their outcomes."""
    from trimtab.predictions.arrow import leave_out_pandas

    leave_out_pandas()
    from trimtab.errors import UnknownPredictionError
    from trimtab.predictions import Query, find_prediction, list_predictions

    if (prediction_id is None) == (request_id is None):
        raise typer.BadParameter("give either a prediction id or --request-id")
    folder = read_settings().predictions_dir
    if prediction_id is not None:
        _show(folder, *find_prediction(folder, prediction_id))
        return
    try:
        query = Query(request_id=request_id, newest_first=False, limit=_SHOWN)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    found, after = _take(lambda query: list_predictions(folder, query), query, _SHOWN)
    if not found:
        raise UnknownPredictionError(f"no prediction of a request {request_id!r} is on record in {folder}")
    for number, (model, record) in enumerate(found):
        if number:
            say("")
        _show(folder, model, record)
    if after is not None:
        say(f"\n(and more: trimtab predictions list --request-id {request_id} --order oldest --after {after})")


@app.command("list", epilog="Example: trimtab predictions list --model churn --from 2024-01-31 --format csv")
def list_(
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Only with an event time from this moment on.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Only with an event time before this moment.")] = None,
    version: Annotated[str | None, typer.Option(help="Only of this version of the model.")] = None,
    release: Annotated[str | None, typer.Option(help="Only of the release with this id.")] = None,
    caller: Annotated[str | None, typer.Option(help="Only for this caller.")] = None,
    request_id: Annotated[str | None, typer.Option(help="Only of the request that its caller gave this id.")] = None,
    order: Annotated[Literal["newest", "oldest"], typer.Option(help="Which come first.")] = "newest",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    after: Annotated[str | None, typer.Option(help="Go on after this prediction id.")] = None,
    form: Annotated[
        Literal["table", "json", "csv"],
        typer.Option("--format", help="A table; JSON, an object a line, or CSV: both with the features."),
    ] = "table",
) -> None:
    """List predictions in the order in which they were answered."""
    from trimtab.predictions.arrow import leave_out_pandas

    leave_out_pandas()
    from trimtab.predictions import Query, list_predictions
    from trimtab.predictions.query import LIMIT

    settings = read_settings()
    folder = settings.predictions_dir
    if model is not None:
        log_folder(settings, model)
    try:
        query = Query(
            **{"model": model, "version": version, "release_id": release, "caller": caller, "request_id": request_id},
            start=parse_moment(start, "--from"),
            end=parse_moment(end, "--to"),
            newest_first=order == "newest",
            limit=min(limit, LIMIT),
            after=after,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    found, further = _take(lambda query: list_predictions(folder, query), query, limit)
    {"table": _as_table, "json": _as_json, "csv": _as_csv}[form](found)
    if further is not None:
        typer.echo(f"(there are more: --after {further})", err=True)


def _take(page_of: Callable[[Query], Any], query: Query, limit: int) -> tuple[_Found, str | None]:
    """So many predictions, as many pages as it takes; and where to go on, if there is more."""
    found: _Found = []
    while True:
        page = page_of(replace(query, limit=min(query.limit, limit - len(found))))
        found += page.predictions
        if page.next_after is None or len(found) == limit:
            return found, page.next_after
        query = replace(query, after=page.next_after)


def _show(folder: Path, model: str, record: dict[str, Any]) -> None:
    from trimtab.predictions import Outcomes

    width = max(len(name) for name in record)
    say(f"{'model':{width}}  {model}")
    for name, value in record.items():
        say(f"{name:{width}}  {'missing' if value is None else _printable(value)}")
    for each in Outcomes(folder / model).history(record["prediction_id"]):
        note = " (a correction)" if each["correction"] else ""
        say(f"{'outcome':{width}}  {outcome_text(each['value'])}{note}, known at {each['observed_at']}")


def _as_table(found: _Found) -> None:
    rows = [("model", *_COLUMNS), *((model, *_cells(record)) for model, record in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cells(record: dict[str, Any]) -> Iterator[str]:
    for name in _COLUMNS:
        if name == "event_time":
            yield f"{record[name]:%Y-%m-%d %H:%M:%S}"
        elif name == SCORE:
            yield _said(record)
        else:
            yield "" if record[name] is None else _printable(record[name])


def _said(record: dict[str, Any]) -> str:
    """The score; of several classes the likeliest and its probability."""
    if record.get(SCORE) is not None:
        return f"{record[SCORE]:.6g}"
    (name,) = score_names([record[LABEL]])
    return _printable(f"{record[LABEL]} {record[name]:.6g}")


def _printable(value: object) -> str:
    """What callers sent, without what would command a terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in str(value))


def _as_json(found: _Found) -> None:
    import msgspec

    for model, record in found:
        typer.echo(msgspec.json.encode({"model": model, "record": record}))


def _as_csv(found: _Found) -> None:
    """All columns that any of them has: features that a prediction lacks are empty, as nulls are."""
    names = dict.fromkeys(name for _, record in found for name in record)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["model", *names])
    for model, record in found:
        values = (record.get(name) for name in names)
        writer.writerow([model, *(value.isoformat() if isinstance(value, datetime) else value for value in values)])
