"""The report that people open: Evidently's own drift preset, fed with our scores, and the run's artifacts."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from tasks.monitoring.measure import reference_of
from tasks.monitoring.plots import picture
from tasks.monitoring.window import Window, report_path
from trimtab.decay.performance import Performance
from trimtab.decay.profile import SCORE
from trimtab.decay.signals.names import DRIFT
from trimtab.records import Ruling, Signal
from trimtab.settings import Settings
from trimtab.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

REPORT_ROWS = 500
"""Rows a side that the report plots; its scores and verdicts are those of all the rows."""

METHOD = "trimtab_psi"
_drifts: ContextVar[Mapping[str, Signal]] = ContextVar("drifts")


@task(task_run_name="publish the ruling on {window.spec.name}", cache_policy=NO_CACHE)
def publish(
    window: Window, incoming: pa.Table, performance: Performance, ruling: Ruling, past: Sequence[Ruling]
) -> str:
    """Write the window's report and make the run's artifacts: table of signals, pictures, link to the report.

    Returns
    -------
    str
        Address of the report.
    """
    settings = Settings.from_env()
    address = f"{settings.reports_url}/{report_path(window)}"
    if incoming.num_rows:
        drifts = {one.name.removeprefix(DRIFT): one for one in ruling.signals if one.name.startswith(DRIFT)}
        path = settings.reports_dir / report_path(window)
        write_report(window.spec, reference_of(window).plotted, incoming, drifts, path)
        create_link_artifact(key=f"{ruling.model}-drift-report", link=address, link_text="Evidently report")
    create_table_artifact(
        key=f"{ruling.model}-signals", description=ruling.reason, table=[_row(signal) for signal in ruling.signals]
    )
    create_markdown_artifact(
        key=f"{ruling.model}-ruling",
        description=f"{ruling.action}: {ruling.reason}",
        markdown=_markdown(window, ruling, address, picture(window, ruling, past, performance)),
    )
    return address


def write_report(
    spec: ModelSpec, reference: pa.Table, incoming: pa.Table, drifts: Mapping[str, Signal], path: Path
) -> None:
    """Render Evidently's DataDriftPreset with our scores and verdicts on a sample of at most `REPORT_ROWS` a side.

    Columns without any value on either side are left out: Evidently refuses them.
    """
    from evidently import DataDefinition, Dataset, Report

    numeric = {feature.name for feature in spec.features if feature.type in ("number", "integer")} | {SCORE}
    names = [name for name in (*spec.feature_names, SCORE) if name in drifts]
    sides = [_frame(_sampled(rows), names, numeric) for rows in (incoming, reference)]
    drawn = [name for name in names if all(side[name].notna().any() for side in sides)]
    if not drawn:
        return
    definition = DataDefinition(
        numerical_columns=[name for name in drawn if name in numeric],
        categorical_columns=[name for name in drawn if name not in numeric],
    )
    current, base = (Dataset.from_pandas(side[drawn], data_definition=definition) for side in sides)
    preset_type = _preset()
    token = _drifts.set(drifts)
    try:
        preset = preset_type(method=METHOD, threshold=spec.policy.drift_effect, drift_share=spec.policy.drifted_share)
        result = Report([preset]).run(current, base)
        path.parent.mkdir(parents=True, exist_ok=True)
        result.save_html(str(path))
    finally:
        _drifts.reset(token)


@functools.cache
def _preset() -> Any:
    """Evidently's preset, with our score made one of its methods through its public registration."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType
    from evidently.presets import DataDriftPreset

    def ours(reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType, threshold: float) -> Any:
        signal = _drifts.get()[str(current.name)]
        return signal.value, signal.breached

    name = "PSI (all rows; drifted if large and significant)"
    kinds = [ColumnType.Numerical, ColumnType.Categorical]
    register_stattest(StatTest(name=METHOD, display_name=name, allowed_feature_types=kinds), default_impl=ours)

    class Preset(DataDriftPreset):  # type: ignore[misc]
        # The page draws the preset's own table. Each column's own metric draws the same once more, for no page: without
        # them the page is the same, and costs three fifths.
        def generate_metrics(self, context: Any) -> Any:
            return super().generate_metrics(context)[:1]

    return Preset


def _sampled(rows: pa.Table) -> pa.Table:
    if rows.num_rows <= REPORT_ROWS:
        return rows
    return rows.take(np.sort(np.random.default_rng(0).choice(rows.num_rows, REPORT_ROWS, replace=False)))


def _frame(rows: pa.Table, names: Sequence[str], numeric: set[str]) -> pd.DataFrame:
    types = {name: pa.float64() if name in numeric else pa.string() for name in names}
    return pa.table({name: pc.cast(rows[name], types[name]) for name in names}).to_pandas()


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
        f"Window {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC; outcomes of "
        f"{window.mature_start:%Y-%m-%d %H:%M} to {window.mature_end:%Y-%m-%d %H:%M}; ruling `{ruling.id}`.",
        f"![the window]({image})",
        "Breached: " + (", ".join(f"`{signal.name}` {signal.value:.4g}" for signal in breached) or "nothing") + ".",
        f"[Evidently report]({address})",
    ]
    return "\n\n".join(lines) + "\n"
