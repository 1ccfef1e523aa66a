"""Commands on a model's data: a suite drafted from a snapshot, and the odd rows of a window."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from trimtab.cli.terminal import Model, parse_moment, read_settings, say
from trimtab.errors import LedgerError, SourceError, TrimtabError

if TYPE_CHECKING:
    import pyarrow as pa

    from trimtab.decay.anomalies import Anomalies
    from trimtab.ledger import Ledger
    from trimtab.models import Model as LoadedModel
    from trimtab.records import Release
    from trimtab.settings import Settings

R = TypeVar("R")

app = typer.Typer()

From = Annotated[str | None, typer.Option("--from", help="Only rows with an event time from this moment on.")]
To = Annotated[str | None, typer.Option("--to", help="Only rows with an event time before this moment.")]


@app.command("suggest-suite", epilog="Example: trimtab suggest-suite flight-delay --from 2013-01-01 --to 2013-03-01")
def suggest_suite(
    model: Model,
    snapshot: Annotated[str | None, typer.Option(help="Id of a snapshot; the newest that trained by default.")] = None,
    start: From = None,
    end: To = None,
    file: Annotated[Path | None, typer.Option(help="A CSV or Parquet file with the spec's columns instead.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to; the model's own suite if left out.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Draft an expectation suite from rows that are known to be sound, for a person to edit."""
    if sum((snapshot is not None, start is not None or end is not None, file is not None)) > 1:
        raise typer.BadParameter("give one of --snapshot, --from with --to, and --file")
    if (start is None) != (end is None):
        raise typer.BadParameter("--from and --to go together")
    from trimtab.models import load_model
    from trimtab.training.suite_draft import draft_suite

    settings = read_settings()
    found = load_model(settings.models_dir, model)
    path = output or settings.suites_dir / f"{found.spec.suite}.json"
    if path.exists() and not force:
        raise TrimtabError(f"{path} is there already; give another --output, or --force to write over it")
    if file is not None:
        rows = _of_file(found, file)
    elif start is not None and end is not None:
        rows = _of_source(found, start, end)
    else:
        rows = _of_snapshot(settings, model, snapshot)
    draft = draft_suite(found.spec, rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draft.to_json(), encoding="utf-8")
    say(f"{len(draft.suite['expectations'])} expectations from {rows.num_rows:,} rows: {path}")
    for line in draft.look_at:
        say(f"look at {line}")
    say("each says in meta.notes from what number it was drawn: tighten what you know better")


@app.command(epilog="Example: trimtab anomalies flight-delay --from 2013-04-01 --to 2013-04-08")
def anomalies(model: Model, start: From = None, end: To = None) -> None:
    """List the logged rows that lie outside the training distribution, the oddest first.

    The last window up to now if no time is given. Rows are held against what the release that served at its end was
    trained on.
    """
    from trimtab.models import load_model

    settings = read_settings()
    spec = load_model(settings.models_dir, model).spec
    until = parse_moment(end, "--to") or datetime.now(UTC)
    since = parse_moment(start, "--from") or until - spec.window
    if since >= until:
        raise typer.BadParameter(f"--from is {since.isoformat()}; it must be before --to, {until.isoformat()}")
    found = _anomalies(settings, model, since, until)
    share = f"{found.share:.3%} of {found.rows:,}; {found.expected_share:.3%} are expected of sound rows"
    listed = f"; the oddest {len(found.worst)}:" if len(found.worst) < found.count else ""
    say(f"{found.count:,} rows lie outside the training distribution ({share}){listed}")
    for one in found.worst:
        say(f"{one.score:8.2f}  {one.prediction_id}  {one.event_time:%Y-%m-%d %H:%M:%S}  {one.reason}")


def _anomalies(settings: Settings, model: str, since: datetime, until: datetime) -> Anomalies:
    from tasks.monitoring.reference import ensure_reference
    from trimtab.decay.anomalies import find_anomalies
    from trimtab.ledger import Ledger
    from trimtab.models import load_model
    from trimtab.predictions import PredictionLog
    from trimtab.records import Candidate, Decision, Evaluation, Version

    spec = load_model(settings.models_dir, model).spec
    ledger = Ledger(settings.ledger)
    release = _release(ledger, model, until)
    decision = ledger.find(Decision, _known(ledger.find(Version, release.version_id), release.version_id).decision_id)
    evaluation = ledger.find(Evaluation, _known(decision, release.version_id).evaluation_id)
    candidate = ledger.find(Candidate, release.candidate_id)
    reference = ensure_reference(
        spec, settings, _known(candidate, release.candidate_id), _known(evaluation, release.candidate_id)
    )
    columns = ["prediction_id", "event_time", *spec.feature_names]
    rows = PredictionLog(settings.predictions_dir / spec.name, settings).read(since, until, columns)
    return find_anomalies(spec, reference.oddness, rows)


def _release(ledger: Ledger, model: str, moment: datetime) -> Release:
    from trimtab.records import Release

    served = [release for release in ledger.records(Release, model) if release.since <= moment]
    if not served:
        raise LedgerError(f"no release of {model} served before {moment.isoformat()}: there is nothing to compare with")
    return served[-1]


def _known(record: R | None, record_id: str) -> R:
    if record is None:
        raise LedgerError(f"a record that {record_id} follows from is not in the ledger")
    return record


def _of_snapshot(settings: Settings, model: str, snapshot_id: str | None) -> pa.Table:
    from trimtab.ledger import Ledger
    from trimtab.records import Snapshot
    from trimtab.training.snapshots import read_snapshot

    taken = [one for one in Ledger(settings.ledger).records(Snapshot, model) if isinstance(one, Snapshot)]
    wanted = [one for one in taken if (one.id == snapshot_id if snapshot_id is not None else one.purpose == "training")]
    if not wanted:
        named = f"no snapshot {snapshot_id!r}" if snapshot_id is not None else "no training snapshot"
        raise LedgerError(f"{named} of {model} is on record; give --from and --to, or --file")
    return read_snapshot(wanted[-1])


def _of_source(model: LoadedModel, start: str, end: str) -> pa.Table:
    from trimtab.training.snapshots import conform, load_rows

    spec, since, until = model.spec, parse_moment(start, "--from"), parse_moment(end, "--to")
    if since is None or until is None or since >= until:
        raise typer.BadParameter(f"--from is {start!r} and --to {end!r}; --from must come first")
    frame = load_rows(model, since, until, until + spec.label_maturity)
    return conform(spec, frame, since, until, 1)


def _of_file(model: LoadedModel, path: Path) -> pa.Table:
    import pandas as pd

    from trimtab.backtest.files import parse_times, read_file
    from trimtab.training.snapshots import conform

    spec = model.spec
    frame = read_file(path).to_pandas()
    if missing := [name for name in spec.columns if name not in frame.columns]:
        raise SourceError(f"{path} has no columns {missing}; it has {list(frame.columns)}")
    times = frame[spec.event_time] = parse_times(spec.event_time, frame[spec.event_time])
    end = times.max() + pd.Timedelta(microseconds=1)
    return conform(spec, frame, times.min().to_pydatetime(), end.to_pydatetime(), 1)
