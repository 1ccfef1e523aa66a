"""Evidently's own drift report of a window: its preset, its methods and its verdicts, from profiles of all the rows.

The scores are those of trimtab/decay/parity.py, which equal Evidently's own, and reach it through its public
registration of tests; what it plots is a sample. Above it stands what was ruled, which follows from other rules.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.decay.answers import answer_types
from trimtab.decay.parity import DRIFT_SHARE, METHODS, Verdict
from trimtab.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    from evidently.core.report import Snapshot

PLOTTED_ROWS = 500
"""Rows a side that the report plots."""

_PREFIX = "trimtab: "
_verdicts: ContextVar[Mapping[str, Verdict]] = ContextVar("verdicts")

_BANNER = """<body>
<header style="font: 15px/1.5 system-ui, sans-serif; margin: 0; padding: 14px 24px; background: #17324d; color: #fff">
<a href="../../" style="color: #cfe3f7">all reports</a> &nbsp;/&nbsp; <b>{title}</b>
<div>{ruling}</div>
<div style="color: #cfe3f7">Below: Evidently's own methods and verdicts, on all {rows:,} rows of the window; plots show
at most {plotted} a side. trimtab's ruling does not follow from them: it asks for shifts that are large, significant
after correction, and beyond what windows of the reference itself show.</div>
</header>"""


def write_report(
    spec: ModelSpec,
    reference: pa.Table,
    incoming: pa.Table,
    verdicts: Sequence[Verdict],
    path: Path,
    *,
    title: str,
    ruling: str,
    at: datetime,
) -> Snapshot | None:
    """Render Evidently's DataDriftPreset with these verdicts, on samples of at most `PLOTTED_ROWS` rows a side.

    Parameters
    ----------
    spec
        Names the features and their types.
    reference, incoming
        Rows to plot: the features and the answer. Columns without a value on either side are left out, for Evidently
        refuses them.
    verdicts
        Of every column that is drawn.
    path
        Where the page goes; its folder is made.
    title, ruling
        What the page is of, and what was ruled, in a sentence each.
    at
        When the window ended.

    Returns
    -------
    Snapshot or None
        Evidently's run behind the page, dated ``at``; None, and no page, if no column has values on both sides.
    """
    from evidently import DataDefinition, Dataset, Report

    columns = (*spec.features, *answer_types(spec))
    numeric = {one.name for one in columns if one.type in ("number", "integer")}
    by_name = {one.column: one for one in verdicts}
    names = [one.name for one in columns if one.name in by_name]
    sides = [_frame(_sampled(rows), names, numeric) for rows in (incoming, reference)]
    drawn = [name for name in names if all(side[name].notna().any() for side in sides)]
    if not drawn:
        return None
    definition = DataDefinition(
        numerical_columns=[name for name in drawn if name in numeric],
        categorical_columns=[name for name in drawn if name not in numeric],
    )
    current, base = (Dataset.from_pandas(side[drawn], data_definition=definition) for side in sides)
    methods = {name: _PREFIX + by_name[name].method for name in drawn}
    token = _verdicts.set(by_name)
    try:
        preset = _preset()(per_column_method=methods, drift_share=DRIFT_SHARE)
        # Evidently dates its own runs without a zone, and does not compare those with others.
        dated = at.astimezone(UTC).replace(tzinfo=None)
        run = Report([preset]).run(current, base, timestamp=dated, name=title, metadata={"ruling": ruling})
        page = run.get_html_str(as_iframe=False)
    finally:
        _verdicts.reset(token)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_headed(page, title, ruling, incoming.num_rows))
    return run


def _headed(page: str, title: str, ruling: str, rows: int) -> str:
    """Evidently's page with a title, a way back and what was ruled."""
    banner = _BANNER.format(title=html.escape(title), ruling=html.escape(ruling), rows=rows, plotted=PLOTTED_ROWS)
    titled = page.replace("<head>", f"<head>\n<title>{html.escape(title)}</title>", 1)
    return titled.replace("<body>", banner, 1)


@functools.cache
def _preset() -> Any:
    """Evidently's preset, with each of its methods registered once more, answered by our verdicts."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType
    from evidently.presets import DataDriftPreset

    def answer(reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType, threshold: float) -> Any:
        verdict = _verdicts.get()[str(current.name)]
        return verdict.score, verdict.drifted

    kinds = [ColumnType.Numerical, ColumnType.Categorical]
    for method, threshold in METHODS.items():
        test = StatTest(
            name=_PREFIX + method, display_name=method, allowed_feature_types=kinds, default_threshold=threshold
        )
        register_stattest(test, default_impl=functools.partial(answer))

    class Preset(DataDriftPreset):  # type: ignore[misc]
        # The page draws the preset's own table. Each column's own metric draws the same once more, for no page: without
        # them the page is the same, and costs three fifths.
        def generate_metrics(self, context: Any) -> Any:
            return super().generate_metrics(context)[:1]

    return Preset


def _sampled(rows: pa.Table) -> pa.Table:
    if rows.num_rows <= PLOTTED_ROWS:
        return rows
    return rows.take(np.sort(np.random.default_rng(0).choice(rows.num_rows, PLOTTED_ROWS, replace=False)))


def _frame(rows: pa.Table, names: Sequence[str], numeric: set[str]) -> pd.DataFrame:
    types = {name: pa.float64() if name in numeric else pa.string() for name in names}
    return pa.table({name: pc.cast(rows[name], types[name]) for name in names}).to_pandas()
