"""``trimtab outcomes``: what came true."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.answers import outcome_text
from trimtab.cli.terminal import AsOf, Model, PredictionId, console, log_folder, parse_moment, read_settings, say
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from trimtab.predictions.bulk import LoadReport
    from trimtab.predictions.outcome_status import DayStatus
    from trimtab.settings import Settings
    from trimtab.spec import ModelSpec

app = typer.Typer(no_args_is_help=True, help="What came true.")

_DAYS_SHOWN = 31
_STATUS = ("day", "predictions", "mature", "with outcome", "of the mature", "corrected")


@app.command("load", epilog="Example: trimtab outcomes load january.csv --model churn --request-id-column order")
def load(
    file: Annotated[Path, typer.Argument(help="A .csv, .parquet, .jsonl or .ndjson file.")],
    model: Annotated[str, typer.Option(help="The model that predicted.")],
    id_column: Annotated[str | None, typer.Option(help="Column of prediction ids; prediction_id if left out.")] = None,
    request_id_column: Annotated[
        str | None, typer.Option(help="Or: column of the ids that callers gave their requests.")
    ] = None,
    value_column: Annotated[str, typer.Option(help="Column of what came true.")] = "value",
    observed_at_column: Annotated[
        str | None,
        typer.Option(help="Column of when it became known; observed_at where the file has it."),
    ] = None,
    observed_at: Annotated[
        str | None, typer.Option(help="When what says no time became known; now if left out.")
    ] = None,
    correction_column: Annotated[str | None, typer.Option(help="Column that marks corrections with true.")] = None,
    corrections: Annotated[
        bool, typer.Option("--corrections", help="Other values than those on record replace them; both are kept.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Store nothing: say what would come of it.")] = False,
    rejects: Annotated[
        Path | None, typer.Option(help="CSV file for rows that are rejected; FILE.rejects.csv if left out.")
    ] = None,
) -> None:
    """Load a file of outcomes. Loading it again changes nothing; exit code 1 if any row was rejected."""
    from trimtab.predictions import Outcomes, PredictionLog
    from trimtab.predictions.bulk import Load, load_outcomes
    from trimtab.predictions.outcome_files import Layout

    if id_column is not None and request_id_column is not None:
        raise typer.BadParameter("give --id-column or --request-id-column, not both")
    settings = read_settings()
    folder = log_folder(settings, model)
    spec = _spec_of(settings, model)
    rejects = rejects or file.with_name(f"{file.name}.rejects.csv")
    how = Load(
        Layout(
            request_id_column or id_column or "prediction_id",
            *(request_id_column is not None, value_column, observed_at_column, correction_column),
        ),
        corrections=corrections,
        observed_at=parse_moment(observed_at, "--observed-at"),
        binary=spec is not None and spec.target.kind == "binary",
    )
    log = PredictionLog(folder)
    with tempfile.TemporaryDirectory() as aside, _progress(file) as tell:
        outcomes = Outcomes(folder, log)
        report = load_outcomes(file, outcomes.copy(Path(aside)) if dry_run else outcomes, log, how, rejects, tell)
    _say_report(file, report, rejects, dry_run)
    if report.rejected:
        raise typer.Exit(1)


@app.command("show", epilog="Example: trimtab outcomes show 01929f0e-7b1a-7c3e-9d55-0d4f1c1e2a3b")
def show(prediction_id: PredictionId) -> None:
    """Show every outcome that was stated of a prediction, and which one counts."""
    from trimtab.predictions import Outcomes, find_prediction

    folder = read_settings().predictions_dir
    model, record = find_prediction(folder, prediction_id)
    say(f"prediction {record['prediction_id']} of {model}, {record['event_time']:%Y-%m-%d %H:%M:%S} UTC")
    history = Outcomes(folder / model).history(record["prediction_id"])
    for number, each in enumerate(history, 1):
        known, recorded = (f"{each[name]:%Y-%m-%d %H:%M:%S}" for name in ("observed_at", "recorded_at"))
        notes = ["a correction"] * each["correction"] + ["counts"] * (number == len(history))
        say(f"{outcome_text(each['value'])}  known {known}  recorded {recorded}  {', '.join(notes)}".rstrip())
    if not history:
        say("no outcome is known")


@app.command("status", epilog="Example: trimtab outcomes status flight-delay --from 2013-04-01 --to 2013-05-01")
def status(
    model: Model,
    start: Annotated[str | None, typer.Option("--from", help="Only with an event time from this moment on.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Only with an event time before this moment.")] = None,
    as_of: AsOf = None,
    maturity_days: Annotated[
        float | None, typer.Option(min=0, help="Days after which an outcome is due; by default as the spec says.")
    ] = None,
) -> None:
    """Show how many predictions have outcomes, by day of event time (UTC)."""
    from trimtab.predictions.gaps import read_gaps, tell_gaps
    from trimtab.predictions.outcome_status import days_of, outcome_status
    from trimtab.spec import in_words

    settings = read_settings()
    folder = log_folder(settings, model)
    spec = _spec_of(settings, model)
    if maturity_days is not None:
        maturity = timedelta(days=maturity_days)
    elif spec is not None:
        maturity = spec.label_maturity
    else:
        raise TrimtabError(
            f"no spec of {model} is in {settings.models_dir}: say when outcomes are due, --maturity-days"
        )
    since, until = parse_moment(start, "--from"), parse_moment(end, "--to")
    there = days_of(folder)
    if there is None:
        say(f"no predictions of {model} are on record")
        return
    until = until or there[1]
    since = since or max(there[0], until - timedelta(days=_DAYS_SHOWN))
    moment = parse_moment(as_of) or datetime.now(UTC)
    _say_status(outcome_status(folder, since, until, moment, maturity))
    say(f"as of {moment:%Y-%m-%d %H:%M:%S} UTC; an outcome is due {in_words(maturity)} after its prediction")
    if since > there[0] and start is None:
        say(f"(there are earlier days, from {there[0]:%Y-%m-%d} on: --from)")
    if lost := tell_gaps(read_gaps(folder, since, until)):
        say(lost)


def _spec_of(settings: Settings, model: str) -> ModelSpec | None:
    """The model's spec, if it is here: who loads outcomes need not have it."""
    from trimtab.errors import UnknownModelError
    from trimtab.models import load_model

    try:
        return load_model(settings.models_dir, model).spec
    except UnknownModelError:
        return None


@contextmanager
def _progress(file: Path) -> Iterator[Callable[[LoadReport], None]]:
    """Says how far a load is: a bar on a terminal, else a line now and then."""
    if sys.stdout.isatty():
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn(file.name), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.description}"), console=console()) as bar:
            task = bar.add_task("", total=1.0)
            yield lambda report: bar.update(task, completed=report.done, description=_counts(report))
        return
    yield lambda report: say(f"{report.done:4.0%}  {report.rows} rows: {_counts(report)}")


def _counts(report: LoadReport) -> str:
    return (
        f"{report.accepted} accepted, {report.duplicates} duplicates, {report.corrected} corrected, "
        f"{report.rejected.total()} rejected"
    )


def _say_report(file: Path, report: LoadReport, rejects: Path, dry_run: bool) -> None:
    say(f"{file}: {report.rows} rows: {_counts(report)}{' (nothing is stored: a dry run)' if dry_run else ''}")
    for reason, count in report.rejected.most_common():
        say(f"  {count:8}  {reason}")
    if report.rejected:
        say(f"the rejected rows are in {rejects}; put right, that file can be loaded itself")


def _say_status(days: list[DayStatus]) -> None:
    rows = [(f"{day.day:%Y-%m-%d}", *_cells(day)) for day in days]
    if days:
        total = days[0]
        for day in days[1:]:
            total += day
        rows.append(("total", *_cells(total)))
    widths = [max(len(row[i]) for row in [_STATUS, *rows]) for i in range(len(_STATUS))]
    for row in [_STATUS, *rows]:
        say("  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]))


def _cells(day: DayStatus) -> tuple[str, ...]:
    share = f"{day.mature_known / day.mature:.1%}" if day.mature else "-"
    return str(day.predictions), str(day.mature), str(day.known), share, str(day.corrected)
