"""The order of the acts: up, deployed, first release, the year week by week, and what came of it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import uvloop

from demo.chase import FLOWS, Chased, chase
from demo.errors import DemoError
from demo.figures import Week
from demo.flights import Flights, moment, read_flights
from demo.replay import Calendar, Step
from demo.screen import Screen, Status
from demo.stopwatch import Stopwatch
from demo.traffic import Traffic
from trimtab.decay.policy import retrain_cause_id
from trimtab.ledger import Ledger
from trimtab.models import Model
from trimtab.predictions.schema import microseconds
from trimtab.records import Action, Release, Retraining, Ruling
from trimtab.settings import Settings

MODEL = "flight-delay"
START = datetime(2013, 3, 1, tzinfo=UTC)
YEAR_END = datetime(2014, 1, 1, tzinfo=UTC)
"""The last flights leave New York on 31 December, five hours later by this clock."""

WEEK = timedelta(days=7)
SLOW_RATE = 25.0
"""Requests a second while a retraining runs: so a minute of retraining is a day and a half of flights, not months."""

REPLAY, SLOWED, WATCH = "replay, as fast as it goes", "replay, slowed while a retraining runs", "watch flows"


@dataclass
class Year:
    """What the replay left: the lines of the timeline, the runs that rulings started, and the flights."""

    flights: Flights
    end: datetime
    weeks: list[Week] = field(default_factory=list)
    chased: list[Chased] = field(default_factory=list)
    prediction_ids: list[str] = field(default_factory=list)
    requests_per_s: float = 0.0


def first_release(settings: Settings, screen: Screen) -> Release:
    """Train on January and February and release version 1, through the worker.

    Raises
    ------
    DemoError
        If the run fails.
    """
    from deployments.runs import Run, follow_run, start_run

    parameters = {"model": MODEL, "as_of": START.isoformat(), "reason": "the first release"}
    run = start_run(settings, f"retrain/{MODEL}", parameters)
    screen.say(f"retrain/{MODEL} as of {START:%Y-%m-%d}: {run.url}")
    with screen.status("training on January and February, and releasing version 1") as status:

        def changed(now: Run) -> None:
            status(f"retrain is {now.state.lower()}")

        run = follow_run(settings, run, changed)
    release = Ledger(settings.ledger).latest(Release, MODEL)
    if not run.succeeded or release is None:
        raise DemoError(f"the first retrain ended as {run.state}: {run.message}\nsee {run.url}")
    return release


def replay(settings: Settings, model: Model, weeks: int, screen: Screen, stopwatch: Stopwatch) -> Year:
    """Send every flight of these weeks through the gateway, tell what became of each, and watch after every week.

    Raises
    ------
    DemoError
        If a request is refused, or a run fails.
    """
    year = Year(read_flights(model, START, START + weeks * WEEK), START + weeks * WEEK)
    calendar = Calendar(year.flights.event_time, year.flights.known_at)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        traffic = Traffic(settings.gateway_url, year.flights)
        runner.run(traffic.__aenter__())
        try:
            pending: Ruling | None = None
            for number in range(1, weeks + 1):
                start, end = START + (number - 1) * WEEK, START + number * WEEK
                with screen.status(f"{start:%Y-%m-%d}") as status:
                    steps = calendar.steps(start, end)
                    before = dict(traffic.versions)
                    chased = runner.run(_week(settings, traffic, steps, pending, stopwatch, status))
                if pending is not None and chased is not None:
                    year.chased.append(chased)
                    year.weeks[-1] = _with_outcome(settings, year.weeks[-1], chased, screen)
                with stopwatch.stage(WATCH):
                    ruling = _watch(end)
                served = tuple(v for v in traffic.versions if traffic.versions[v] > before.get(v, 0))
                year.weeks.append(_line(number, ruling, served, calendar, start, end))
                screen.week(year.weeks[-1])
                pending = ruling if ruling.action in FLOWS else None
            if pending is not None:
                with stopwatch.stage(SLOWED):
                    year.chased.append(runner.run(chase(settings, pending)))
                year.weeks[-1] = _with_outcome(settings, year.weeks[-1], year.chased[-1], screen)
        finally:
            runner.run(traffic.__aexit__())
    year.prediction_ids = traffic.prediction_ids
    slowed = sum(chased.ended_s for chased in year.chased) * SLOW_RATE
    year.requests_per_s = (traffic.asked - slowed) / max(stopwatch.stages[REPLAY], 1e-9)
    return year


async def _week(
    settings: Settings,
    traffic: Traffic,
    steps: Iterable[Step],
    pending: Ruling | None,
    stopwatch: Stopwatch,
    status: Status,
) -> Chased | None:
    """Send a week; while the run that ``pending`` asked for goes on, slowly."""
    began, asked = time.monotonic(), traffic.asked
    run = None
    if pending is not None:
        run = asyncio.create_task(chase(settings, pending))
        traffic.pace.slow(SLOW_RATE)
        run.add_done_callback(lambda _: traffic.pace.full())
    try:
        for step in steps:
            await traffic.step(step)
            if run is not None and run.done():
                run.result()
            rate = (traffic.asked - asked) / (time.monotonic() - began)
            what = f", {FLOWS[pending.action]} is running" if pending and run and not run.done() else ""
            status(f"{moment(traffic.clock):%Y-%m-%d}  {rate:,.0f} requests/s{what}")
        chased = await run if run is not None else None
    finally:
        if run is not None:
            run.cancel()
    slowed = min(chased.ended_s, time.monotonic() - began) if chased else 0.0
    stopwatch.add(SLOWED, slowed)
    stopwatch.add(REPLAY, time.monotonic() - began - slowed)
    return chased


def _watch(as_of: datetime) -> Ruling:
    """Run the flow ``watch`` in this process, which is warm: a run in the Prefect UI like any other."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.watch import watch

    # Heartbeats tell that a run was killed; here they would only cost half a second a run, for their thread to end.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        ruling = watch(MODEL, as_of=as_of)
    if ruling is None:
        raise DemoError(f"watch found no release of {MODEL} as of {as_of:%Y-%m-%d}")
    return ruling


def _line(
    number: int, ruling: Ruling, served: tuple[str, ...], calendar: Calendar, start: datetime, end: datetime
) -> Week:
    signal = next((one for one in ruling.signals if one.name.startswith("performance.")), None)
    return Week(
        number=number,
        end=end,
        flights=len(calendar.flights(microseconds(start), microseconds(end))),
        log_loss=float("nan"),
        roc_auc=float("nan"),
        judged=signal.value if signal else float("nan"),
        limit=signal.threshold if signal else float("nan"),
        action=str(ruling.action),
        reason=ruling.reason,
        outcome="" if ruling.action is Action.NONE else ruling.reason.split(" (")[0],
        versions=served,
        report=ruling.report,
    )


def _with_outcome(settings: Settings, week: Week, chased: Chased, screen: Screen) -> Week:
    """The week's line with what its ruling's run led to."""
    ledger = Ledger(settings.ledger)
    release = ledger.latest(Release, MODEL)
    known = {one.cause_id: one for one in ledger.records(Retraining, MODEL)}
    ended = known.get(retrain_cause_id(chased.ruling.id))
    if chased.ruling.action is Action.RETRAIN and ended is not None and ended.release_id is None:
        outcome = "retrained: the gate kept the champion"
    elif release is None:
        raise DemoError(f"run {chased.name} ended well, and no release of {MODEL} is on record")
    else:
        outcome = (
            f"{'retrained' if chased.ruling.action is Action.RETRAIN else 'rolled back'}: version {release.version}"
        )
    screen.say(
        f"    {outcome}; run {chased.name}, made by {chased.created_by} {chased.appeared_s:.1f} s after the ruling, "
        f"ended after {chased.ended_s:.0f} s",
        "green",
    )
    return dataclasses.replace(week, outcome=outcome)
