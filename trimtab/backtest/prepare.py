"""What is replayed: a file, a model's source, or the predictions that are logged; read, and never written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trimtab.answers import score_names
from trimtab.backtest.cells import require_decimal_points, texts_among_numbers
from trimtab.backtest.files import past_rows, read_file, unread_numbers
from trimtab.backtest.rows import RELEASE_ID, PastRows
from trimtab.backtest.run import Asked, Every
from trimtab.backtest.small_spec import FUNCTIONS, SmallSpec, model_spec, with_settings, with_target
from trimtab.backtest.workshop import Deployment
from trimtab.decay.answers import of_known_classes, scores_of
from trimtab.decay.measuring import spans_before
from trimtab.decay.reference import OUTCOME, Reference
from trimtab.errors import LedgerError, SourceError
from trimtab.ledger import Ledger
from trimtab.models import Model
from trimtab.predictions import read_window
from trimtab.records import Decision, Evaluation, Release, Version
from trimtab.settings import Settings
from trimtab.spec import ModelSpec, in_words
from trimtab.training.snapshots import conform, load_rows
from trimtab.training.windows import training_span, training_windows

_TICK = timedelta(microseconds=1)
_USUAL_WINDOWS, _FEW_WINDOWS, _SPARE = 12, 4, 1.25
"""How many windows a history should hold at least, how many will do, and by how much its usual window exceeds what can
be judged."""


@dataclass(frozen=True)
class Prepared:
    """All that `trimtab.backtest.run.backtest` asks for, and what a reader should know."""

    rows: PastRows
    asked: Asked
    functions: dict[str, Callable[..., Any]]
    logged: bool = False
    deployments: tuple[Deployment, ...] = ()
    notes: tuple[str, ...] = ()


def of_file(
    path: Path,
    small: SmallSpec,
    start: datetime | None,
    end: datetime | None,
    always: Every,
    settings: Sequence[str] = (),
) -> Prepared:
    """A CSV or Parquet file.

    ``end`` is the last row's time if left out, and ``start`` a third of the way there; without ``training.window`` all
    rows before the slice that judges train; without a window :func:`usual_window` is.

    Raises
    ------
    SourceError, SpecError
        If the file, the spec or a row is wrong, or the span is empty.
    """
    table = read_file(path)
    asked = [*small.features, small.target] if small.features else table.column_names
    require_decimal_points(table, [name for name in asked if name in table.column_names and name != small.time])
    table = with_target(small, table)
    spec, notes = model_spec(small, path.stem, table)
    notes += _doubtful_cells(path, table, spec, small)
    if not small.maturity and not any(one.startswith("label_maturity=") for one in settings):
        usual = in_words(spec.label_maturity)
        notes += (f"--maturity is left out: a target counts as known {usual} after the time of its row",)
    rows = past_rows(with_settings(spec, settings), table, small.score or None)
    if not small.window and not any(one.startswith("window=") for one in settings):
        window = usual_window(rows)
        rows = replace(rows, spec=with_settings(spec, [*_windows_of(small, window), *settings]))
        per_window = round(rows.table.num_rows * (window / max(rows.last - rows.beginning, _TICK)))
        notes = (*notes, f"--window is left out: it is {in_words(window)}, with some {per_window:,} rows each")
    _require_rows_before(rows, start)
    end = end or rows.last + _TICK
    if start is None:
        start = _third(rows.beginning, rows.last)
        notes = (*notes, f"--from is left out: the rows before {_moment(start)}, a third of the time, come before")
    _require_order(start, end)
    if "window" not in small.training and not any(one.startswith("training.window=") for one in settings):
        training = rows.spec.training.model_copy(update={"window": max(end - rows.beginning, _TICK)})
        rows = replace(rows, spec=rows.spec.model_copy(update={"training": training}))
    name, function = FUNCTIONS[spec.target.kind]
    return Prepared(rows, Asked(start, end, always), {name: function}, logged=bool(small.score), notes=notes)


def _third(beginning: datetime, last: datetime) -> datetime:
    """A third of the way, at the beginning of a day; of a short history at that of an hour, minute or second."""
    span = last - beginning
    third = beginning + span / 3
    for unit in (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)):
        if unit <= span / 12:
            return third - (third - datetime.min.replace(tzinfo=third.tzinfo)) % unit
    return third


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}" if moment.time() == time.min else f"{moment:%Y-%m-%d %H:%M:%S}"


def _doubtful_cells(path: Path, table: pa.Table, spec: ModelSpec, small: SmallSpec) -> tuple[str, ...]:
    unread = unread_numbers(path, table, [*spec.feature_names, spec.target.name])
    # Of what could be a feature: a column of texts that differ in every row is left out, for a single "-" at times.
    possible = small.features or [name for name in table.column_names if name not in (small.time, small.target)]
    return (
        *(f"{count:,} values of {name!r} are no numbers and count as missing" for name, count in unread.items()),
        *(
            f"{name!r} counts as texts, not as numbers: {count:,} of its {table.num_rows:,} cells hold none, such as "
            f"{text!r}; empty those cells if they mean that nothing is known"
            for name, (count, text) in texts_among_numbers(path, table, possible).items()
        ),
    )


def usual_window(rows: PastRows) -> timedelta:
    """Whole weeks, else days, else hours, that hold as many rows as the policy needs outcomes; a week if none do.

    So many that the history holds a dozen windows, or else a few.
    """
    policy, span = rows.spec.policy, rows.last - rows.beginning
    window: timedelta
    needed = _SPARE * max(policy.minimum_rows, policy.minimum_outcomes)
    least = span * (needed / rows.table.num_rows)
    for windows in (_USUAL_WINDOWS, _FEW_WINDOWS):
        for unit in (timedelta(days=7), timedelta(days=1), timedelta(hours=1)):
            window = unit * max(1, ceil(least / unit))
            if window * windows <= span:
                return window
    return timedelta(days=7)


def _windows_of(small: SmallSpec, window: timedelta) -> list[str]:
    """Settings for a window; the slice that judges a candidate is as long, unless the spec says how long."""
    fields = ["window", *([] if "evaluation_window" in small.training else ["training.evaluation_window"])]
    return [f"{field}={window.total_seconds()}s" for field in fields]


def of_model(model: Model, spec: ModelSpec, start: datetime, end: datetime, always: Every, now: datetime) -> Prepared:
    """The rows of a model's source, as they are known now.

    Raises
    ------
    SourceError
        If the source fails or returns something other than the spec promises, or the span is empty.
    """
    _require_order(start, end)
    trained_from = [training_span(spec, start, window).start for window in (None, *training_windows(spec))]
    begin = min(*trained_from, _counted_from(spec, start))
    table = conform(spec, load_rows(model, begin, end, max(now, end + spec.label_maturity)), begin, end, 1)
    functions = {trainer.function: model.function(trainer.function) for trainer in spec.trainers}
    return Prepared(PastRows(spec, table), Asked(start, end, always), functions)


def of_log(settings: Settings, spec: ModelSpec, start: datetime, end: datetime, now: datetime) -> Prepared:
    """The predictions that are logged, as the releases of then made them; rulings alone are replayed.

    Raises
    ------
    SourceError
        If the span is empty, or no release served in it whose reference is there.
    """
    _require_order(start, end)
    begin = min(start - spec.window - spec.label_maturity, _counted_from(spec, start))
    columns = ["event_time", RELEASE_ID, *spec.feature_names, *score_names(spec.target.classes)]
    logged = read_window(settings.predictions_dir / spec.name, begin, end, now, columns)
    if not logged.num_rows:
        raise SourceError(f"no prediction of {spec.name} is logged in [{begin}, {end}); --from and --to must hold some")
    told = logged[OUTCOME].drop_null().to_numpy()
    spec = of_known_classes(spec, [name for name in logged.column_names if logged[name].null_count < len(logged)], told)
    outcome = _target(spec, logged[OUTCOME])
    named = {spec.event_time: logged["event_time"]} | {name: logged[name] for name in spec.feature_names}
    said = {name: logged[name] for name in (*score_names(spec.target.classes), RELEASE_ID)}
    table = pa.table({**named, spec.target.name: outcome, **said})
    rows = PastRows(spec, table.sort_by(spec.event_time))
    deployments = tuple(_deployed(settings, spec, start, end))
    note = "logged predictions: what served is not retrained, and rulings alone are replayed"
    return Prepared(rows, Asked(start, end, "never"), {}, logged=True, deployments=deployments, notes=(note,))


def _deployed(settings: Settings, spec: ModelSpec, start: datetime, end: datetime) -> list[Deployment]:
    ledger = Ledger(settings.ledger)
    found = []
    for release in ledger.records(Release, spec.name):
        reference = Reference(settings.home / "references" / release.candidate_id)
        if release.since >= end:
            continue
        if not reference.is_complete:
            raise SourceError(
                f"the reference of {release.id}, {reference.folder}, is not there in today's form; "
                f"`trimtab watch {spec.name}` makes that of what serves"
            )
        evaluation = _evaluation(ledger, release)
        metric = evaluation.scores.get(release.candidate_id, {}).get(spec.policy_metric)
        found.append(Deployment(release, partial(scores_of, spec), reference, metric))
    if not found or found[0].release.since > start:
        first = found[0].release.since if found else "never"
        raise SourceError(f"no release of {spec.name} served at {start}; the first was there {first}")
    return found


def _target(spec: ModelSpec, outcome: pa.ChunkedArray) -> pa.ChunkedArray:
    """Logged outcomes as a snapshot has its target."""
    if spec.target.classes:
        return pa.chunked_array([pa.array(spec.target.classes)]).take(pc.cast(outcome, pa.int64()))
    return pc.cast(outcome, pa.int64() if spec.target.kind == "binary" else pa.float64())


def _evaluation(ledger: Ledger, release: Release) -> Evaluation:
    version = ledger.find(Version, release.version_id)
    decision = ledger.find(Decision, version.decision_id) if version else None
    evaluation = ledger.find(Evaluation, decision.evaluation_id) if decision else None
    if evaluation is None:
        raise LedgerError(f"the evaluation that {release.id} follows from is not on record")
    return evaluation


def _counted_from(spec: ModelSpec, start: datetime) -> datetime:
    """From where on the rows before the first window are counted."""
    return spans_before(start, start + spec.window)[0][0]


def _require_rows_before(rows: PastRows, start: datetime | None) -> None:
    """Refuse a start that leaves no row before it, or none after it."""
    if start is not None and not rows.beginning < start <= rows.last:
        raise SourceError(
            f"--from is {start.astimezone(UTC)}, and the file's rows lie between {rows.beginning} and {rows.last}; "
            "some must come before it, to train on, and some after it, to judge"
        )


def _require_order(start: datetime, end: datetime) -> None:
    if start >= end:
        raise SourceError(
            f"--from is {start.astimezone(UTC)} and --to is {end.astimezone(UTC)}; --from must come first"
        )
