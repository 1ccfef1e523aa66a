"""What a watch leaves for people: the run's artifacts, and the report behind them (evidently_report.py)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from tasks.monitoring.evidently_report import write_report
from tasks.monitoring.evidently_workspace import add_run, keep_newest
from tasks.monitoring.measure import reference_of
from tasks.monitoring.plots import picture
from tasks.monitoring.reference import training_rows
from tasks.monitoring.window import Window, report_path
from trimtab.decay.parity import Verdict, verdicts
from trimtab.decay.performance import Performance
from trimtab.decay.profile import Profile
from trimtab.pages.front import PICTURE, write_front_page
from trimtab.records import Ruling, Signal
from trimtab.settings import Settings


@task(task_run_name="publish the ruling on {window.spec.name}", cache_policy=NO_CACHE)
def publish(
    window: Window,
    incoming: pa.Table,
    profile: Profile,
    performance: Performance,
    ruling: Ruling,
    past: Sequence[Ruling],
) -> str:
    """Write the window's report and the front page of all reports, and make the run's artifacts: table of signals,
    pictures, link to the report.

    ``profile`` is that of the incoming rows. A window without rows has no page, and nothing links to one.

    Returns
    -------
    str
        Address of the page; empty if there is none.
    """
    settings = Settings.from_env()
    address = f"{settings.reports_url}/{report_path(window)}" if _page(window, incoming, profile, ruling, past) else ""
    if address:
        create_link_artifact(key=f"{ruling.model}-drift-report", link=address, link_text="Evidently report")
    drawn = picture(window, ruling, past, performance)
    keep_picture(drawn, settings.reports_dir / report_path(window))
    write_front_page(settings)
    create_table_artifact(
        key=f"{ruling.model}-signals", description=ruling.reason, table=[_row(signal) for signal in ruling.signals]
    )
    create_markdown_artifact(
        key=f"{ruling.model}-ruling",
        description=f"{ruling.action}: {ruling.reason}",
        markdown=_markdown(window, ruling, address, drawn),
    )
    return address


def _page(window: Window, incoming: pa.Table, profile: Profile, ruling: Ruling, past: Sequence[Ruling]) -> bool:
    """Write Evidently's page, and its run into the workspace; False where there is nothing to draw."""
    if not incoming.num_rows:
        return False
    settings = Settings.from_env()
    run = write_report(
        window.spec,
        reference_of(window).plotted,
        incoming,
        _verdicts(window, incoming, profile),
        settings.reports_dir / report_path(window),
        title=f"{ruling.model} version {window.release.version}, {_span(window)}",
        ruling=f"{ruling.action}: {ruling.reason}",
        at=window.end,
    )
    if run is not None:
        add_run(settings.evidently_dir, ruling.model, ruling.id, run)
        judged = [one.id for one in sorted([*past, ruling], key=lambda one: one.end)]
        keep_newest(settings.evidently_dir, ruling.model, judged, settings.evidently_runs)
    return run is not None


def keep_picture(drawn: str, report: Path) -> None:
    """Write a picture, given as a data URI, beside the report: messages to people lead to it."""
    report.parent.mkdir(parents=True, exist_ok=True)
    report.with_name(PICTURE).write_bytes(base64.b64decode(drawn.partition(",")[2]))


def _verdicts(window: Window, incoming: pa.Table, profile: Profile) -> tuple[Verdict, ...]:
    """What Evidently says by default of all the rows; where profiles do not suffice, training values are sorted."""
    training: list[pa.Table] = []

    def exact(column: str) -> tuple[np.ndarray, np.ndarray] | None:
        if column in window.spec.answer_names:
            return None
        if not training:
            training.append(training_rows(window))
        return _values(training[0], column), _values(incoming, column)

    return verdicts(reference_of(window).profile, profile, exact)


def _values(rows: pa.Table, column: str) -> np.ndarray:
    return np.asarray(rows[column].drop_null().to_numpy())


def _span(window: Window) -> str:
    return f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}"


def _row(signal: Signal) -> dict[str, Any]:
    interval = "" if signal.low is None or signal.high is None else f"{signal.low:.4g} to {signal.high:.4g}"
    return {
        "signal": signal.name,
        "value": f"{signal.value:.4g}",
        "95 % interval": interval,
        "threshold": f"{signal.threshold:.4g}",
        "breached": "yes" if signal.breached else "",
        "rows": signal.rows,
        "detail": signal.detail,
    }


def _markdown(window: Window, ruling: Ruling, address: str, image: str) -> str:
    breached = [signal for signal in ruling.signals if signal.breached]
    lines = [
        f"# {ruling.action}: {ruling.model} version {window.release.version}",
        ruling.reason[:1].upper() + ruling.reason[1:] + ".",
        f"Window {_span(window)} UTC; outcomes of "
        f"{window.mature_start:%Y-%m-%d %H:%M} to {window.mature_end:%Y-%m-%d %H:%M}; ruling `{ruling.id}`.",
        f"![the window]({image})",
        "Breached: " + (", ".join(f"`{signal.name}` {signal.value:.4g}" for signal in breached) or "nothing") + ".",
        *([f"[Evidently report]({address})"] if address else []),
    ]
    return "\n\n".join(lines) + "\n"
