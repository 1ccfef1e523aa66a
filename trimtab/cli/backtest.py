"""``trimtab backtest``: what the policy would have done with the past."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.terminal import parse_moment, read_settings

if TYPE_CHECKING:
    import pyarrow as pa

    from trimtab.backtest.prepare import Prepared
    from trimtab.backtest.results import Backtest
    from trimtab.backtest.run import Every
    from trimtab.backtest.workshop import Validate
    from trimtab.records import Validation
    from trimtab.settings import Settings
    from trimtab.spec import ModelSpec

app = typer.Typer()

_FILE = "Files"
_MOST_CHARACTERS = 200
_EXAMPLE = "Example: trimtab backtest flight-delay --from 2013-03-01 --to 2014-01-01 --always month"


@app.command(epilog=_EXAMPLE)
def backtest(
    subject: Annotated[str, typer.Argument(help="Name of a model, or a .csv or .parquet file.")],
    start: Annotated[str | None, typer.Option("--from", help="The first window begins here (UTC).")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Rows before this moment are replayed (UTC).")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Try a field of the spec, such as policy.performance_drop=0.01; may come again."),
    ] = None,
    always: Annotated[
        str, typer.Option(help="How often the model that it is held against is retrained: window, month or never.")
    ] = "window",
    logged: Annotated[
        bool, typer.Option("--logged", help="Replay the logged predictions of a model instead of its source.")
    ] = False,
    suite: Annotated[bool, typer.Option(help="Hold each window against the model's expectation suite.")] = True,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write everything here, as JSON.")] = None,
    plot_path: Annotated[Path | None, typer.Option("--plot", help="Draw the picture here (.png, .svg, .pdf).")] = None,
    spec: Annotated[Path | None, typer.Option(help="A small spec in TOML.", rich_help_panel=_FILE)] = None,
    time: Annotated[str, typer.Option(help="Column of the event time.", rich_help_panel=_FILE)] = "",
    target: Annotated[str, typer.Option(help="Column of what happened.", rich_help_panel=_FILE)] = "",
    kind: Annotated[
        str,
        typer.Option(help="binary, multiclass or regression; what its values say if left out.", rich_help_panel=_FILE),
    ] = "",
    positive: Annotated[
        str,
        typer.Option(help="Which of a target's two values is 1, if they are not 0 and 1.", rich_help_panel=_FILE),
    ] = "",
    features: Annotated[
        str, typer.Option(help="Columns, with commas; all others if left out.", rich_help_panel=_FILE)
    ] = "",
    protected: Annotated[
        str, typer.Option(help="Features that name groups of people, with commas.", rich_help_panel=_FILE)
    ] = "",
    score: Annotated[
        str,
        typer.Option(
            help="Column of what a deployed model said (of several classes, NAME of NAME.<class>): rulings alone.",
            rich_help_panel=_FILE,
        ),
    ] = "",
    window: Annotated[
        str,
        typer.Option(help="Such as 7d; weeks with enough rows if left out.", rich_help_panel=_FILE),
    ] = "",
    maturity: Annotated[
        str,
        typer.Option(help="When a target is known, such as 30d; a day later if left out.", rich_help_panel=_FILE),
    ] = "",
) -> None:
    """Replay history through the policy: what it would have ruled, retrained and saved. Nothing else is touched."""
    if always not in ("window", "month", "never"):
        raise typer.BadParameter(f"--always is {always!r}; it must be window, month or never")
    from trimtab.backtest.plot import check_plot_path
    from trimtab.backtest.small_spec import read_small_spec

    if plot_path is not None:
        check_plot_path(plot_path)
    moments = parse_moment(start, "--from"), parse_moment(end, "--to")
    home = read_settings()
    given = {
        **{"time": time, "target": target, "kind": kind, "score": score, "window": window, "maturity": maturity},
        **{"features": _columns(features), "protected": _columns(protected), "positive": positive},
    }
    of_file = bool(Path(subject).suffix) or Path(subject).is_file()
    if of_file:
        from trimtab.backtest.prepare import of_file as prepare

        if logged:
            raise typer.BadParameter("--logged replays a model's predictions; of a file, --score names their column")
        small = read_small_spec(spec, given)
        prepared = prepare(Path(subject), small, *moments, _every(always), settings or ())
    else:
        if spec is not None or any(given.values()):
            raise typer.BadParameter(
                f"{subject} is no file, and a model has a spec: --set tries other values of it, files alone take these"
            )
        prepared = _of_model(home, subject, *moments, _every(always), logged, settings or [])
    validate = _suite(home, prepared.rows.spec) if suite and not of_file else (lambda rows, incoming: None)
    found = _run(prepared, validate)
    named = "-".join([found.name, f"{found.start:%Y%m%d}", f"{found.end:%Y%m%d}", *(settings or ())])
    folder = home.home / "backtests" / re.sub(r"[^\w.=-]+", "_", named)[:_MOST_CHARACTERS]
    _keep(found, json_path or folder / "backtest.json", plot_path or folder / "backtest.png")


def _of_model(
    home: Settings,
    name: str,
    start: datetime | None,
    end: datetime | None,
    always: Every,
    logged: bool,
    settings: list[str],
) -> Prepared:
    from trimtab.backtest.prepare import of_log, of_model
    from trimtab.backtest.small_spec import with_settings
    from trimtab.models import load_model

    if start is None or end is None:
        raise typer.BadParameter("--from and --to must be given for a model, such as --from 2013-03-01 --to 2014-01-01")
    model = load_model(home.models_dir, name)
    spec, now = with_settings(model.spec, settings), datetime.now(UTC)
    return of_log(home, spec, start, end, now) if logged else of_model(model, spec, start, end, always, now)


def _run(prepared: Prepared, validate: Validate) -> Backtest:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from trimtab.backtest.run import backtest as replay

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        found = replay(
            prepared.rows,
            prepared.asked,
            prepared.functions,
            logged=prepared.logged,
            deployments=prepared.deployments,
            validate=validate,
            progress=lambda done, of, what: bar.update(task, completed=done, total=of, description=what),
        )
    return found.model_copy(update={"notes": (*prepared.notes, *found.notes)})


def _keep(found: Backtest, json_path: Path, plot_path: Path) -> None:
    from trimtab.backtest.plot import write_plot
    from trimtab.cli.backtest_shown import show

    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(found.model_dump_json(indent=2) + "\n")
    write_plot(found, plot_path)
    show(found, json_path, plot_path)


def _suite(home: Settings, spec: ModelSpec) -> Validate:
    """The model's suite as a plain function: no page, no record."""
    from tasks.validation.suite import columns_of, read_suite, run_suite
    from trimtab.records import Validation, content_id

    items, digest = read_suite(spec, home)

    def validate(rows: pa.Table, incoming: bool) -> Validation | None:
        table = rows
        if incoming:
            table = rows.rename_columns(
                [spec.event_time if name == "event_time" else name for name in rows.column_names]
            )
        there = {*table.column_names, *spec.feature_names}
        asked = [item for item in items if not incoming or not columns_of(item) - there]
        failed = run_suite(asked, table)
        return Validation(
            id=content_id("validation", spec.name, digest, table.num_rows),
            model=spec.name,
            subject_id="",
            suite=spec.suite,
            suite_digest=digest,
            success=not failed,
            expectations=len(asked),
            rows=table.num_rows,
            failed=failed,
        )

    return validate


def _columns(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _every(text: str) -> Every:
    every: dict[str, Every] = {"window": "window", "month": "month", "never": "never"}
    return every[text]
