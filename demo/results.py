"""Reading back what the system itself has on record, and holding it against the baselines."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from demo.baselines import never_retrained, retrained_monthly
from demo.course import MODEL, START, WEEK, YEAR_END, Year
from demo.errors import DemoError
from demo.figures import MONTHLY, NEVER, TRIMTAB, Comparison, Week, compare, measure
from demo.flights import Flights
from trimtab.ledger import Ledger
from trimtab.lineage import Node, trace_logged
from trimtab.predictions import read_window
from trimtab.predictions.schema import id_text, microseconds
from trimtab.records import Cause, Release, Retraining
from trimtab.settings import Settings


def compare_policies(settings: Settings, year: Year, first: Release) -> Comparison:
    """Trimtab's scores and outcomes as they are logged, and both baselines on the same flights.

    Raises
    ------
    DemoError
        If a flight is not logged exactly once, or an outcome is not the one that was told.
    """
    ledger, flights = Ledger(settings.ledger), year.flights
    score, outcome = logged(settings, year)
    never = never_retrained(settings, flights, first.artifact_digest)
    monthly, months = retrained_monthly(flights, never, START, min(year.end, YEAR_END))
    retrainings = ledger.records(Retraining, MODEL)
    releases = sum(one.release_id is not None for one in retrainings)
    return compare(
        flights.event_time,
        outcome,
        {NEVER: never, MONTHLY: monthly, TRIMTAB: score},
        # The first release of each is the same model, and counts for none.
        retrains={NEVER: 0, MONTHLY: months, TRIMTAB: len(retrainings) - 1},
        releases={NEVER: 0, MONTHLY: months, TRIMTAB: releases - 1},
    )


def logged(settings: Settings, year: Year) -> tuple[np.ndarray, np.ndarray]:
    """Score and outcome of each flight from the prediction log; outcomes are NaN where none is known yet."""
    rows = read_window(settings.predictions_dir / MODEL, START, year.end, year.end, ["request_id", "score"])
    return in_order_of(year.flights, rows)


def in_order_of(flights: Flights, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Score and outcome of logged rows in the order of the flights.

    Raises
    ------
    DemoError
        If a flight is not there exactly once.
    """
    place = pc.index_in(rows["request_id"], value_set=flights.table["flight_id"].combine_chunks())
    places = pc.fill_null(place, -1).to_numpy()
    seen = np.bincount(places[places >= 0], minlength=len(flights.event_time))
    if len(places) != len(seen) or not np.all(seen == 1):
        raise DemoError(
            f"{len(seen):,} flights were replayed and {len(places):,} predictions are logged: "
            f"{int(np.sum(seen == 0))} flights are missing, {int(np.sum(seen > 1))} are there more than once"
        )
    score, outcome = np.empty(len(seen)), np.empty(len(seen))
    score[places] = rows["score"].to_numpy()
    outcome[places] = pc.cast(rows["outcome"], pa.float64()).to_numpy()
    return score, outcome


def with_metrics(weeks: list[Week], comparison: Comparison) -> list[Week]:
    """The weeks with log-loss and AUC of all their flights whose outcome is known by now."""
    own = comparison.named(TRIMTAB).scores
    measured = []
    for week in weeks:
        rows = rows_of(comparison, week)
        late, scores = comparison.late[rows], own[rows]
        log_loss, roc_auc = measure("log_loss", late, scores), measure("roc_auc", late, scores)
        measured.append(dataclasses.replace(week, log_loss=log_loss, roc_auc=roc_auc))
    return measured


def rows_of(comparison: Comparison, week: Week) -> slice:
    """The week's flights among those that are compared."""
    first, last = np.searchsorted(comparison.event_time, [microseconds(week.end - WEEK), microseconds(week.end)])
    return slice(int(first), int(last))


def choose_prediction(settings: Settings, year: Year) -> Node:
    """The chain behind a prediction that tells most: made by a release that decay brought, and borne out."""
    ledger = Ledger(settings.ledger)
    causes = {cause.id: cause for cause in ledger.records(Cause, MODEL)}
    releases = ledger.records(Release, MODEL)
    born_of_decay = [release for release in releases if causes[release.cause_id].trigger == "decay"]
    release = (born_of_decay or releases)[-1]
    columns = ["prediction_id", "score"]
    rows = read_window(settings.predictions_dir / MODEL, START, year.end, year.end, columns, release.id)
    if not rows.num_rows:
        rows = read_window(settings.predictions_dir / MODEL, START, year.end, year.end, columns)
    late = rows.filter(pc.fill_null(pc.equal(rows["outcome"], 1.0), False))
    rows = late if late.num_rows else rows
    best = int(np.argmax(rows["score"].to_numpy()))
    return trace_logged(ledger, settings.predictions_dir, id_text(rows["prediction_id"][best].as_py()))


def release_times(settings: Settings) -> list[Release]:
    """Every release after the first, oldest first."""
    return Ledger(settings.ledger).records(Release, MODEL)[1:]
