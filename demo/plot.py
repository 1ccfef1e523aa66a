"""The picture: AUC week by week, and the log-loss saved over never retraining."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from demo.figures import MONTHLY, NEVER, TRIMTAB, Comparison, Week, measure
from demo.results import rows_of
from trimtab.records import Release

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE = {
    NEVER: {"color": "#9aa5b1", "linewidth": 1.6, "linestyle": "-"},
    MONTHLY: {"color": "#e0a030", "linewidth": 1.6, "linestyle": "-"},
    TRIMTAB: {"color": "#0b6e6e", "linewidth": 2.4, "linestyle": "-"},
}
_INK, _GRID = "#1f2933", "#e4e7eb"


def draw(comparison: Comparison, weeks: Sequence[Week], releases: Sequence[Release]) -> Figure:
    """Two panels over the time of the flights, with a line where a new version came into service."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.6), facecolor="white", layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1))
    _auc(above, comparison, weeks)
    _saved(below, comparison)
    for axes in (above, below):
        _plain(axes)
        for release in releases:
            axes.axvline(release.since, color="#0b6e6e", linewidth=1, linestyle=(0, (2, 2)), alpha=0.7, zorder=1)
    top = above.get_ylim()[1]
    for release in releases:
        above.annotate(
            f"v{release.version}", (release.since, top), xytext=(4, -11), textcoords="offset points", color="#0b6e6e"
        )
    for week in weeks:
        if week.action == "BLOCK":
            above.axvspan(week.end - (weeks[0].end - _start(weeks)), week.end, color="#d64545", alpha=0.12, linewidth=0)
            above.annotate(
                "BLOCK",
                (week.end, above.get_ylim()[0]),
                xytext=(-4, 6),
                textcoords="offset points",
                ha="right",
                color="#d64545",
                fontsize=8,
            )
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    below.set_xlim(_start(weeks), weeks[-1].end)
    return figure


def write(figure: Figure, path: Path) -> None:
    """Write the picture in the form that the path's suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _auc(axes: Axes, comparison: Comparison, weeks: Sequence[Week]) -> None:
    times = [
        week.end - (week.end - before) / 2 for before, week in zip([_start(weeks), *_ends(weeks)], weeks, strict=False)
    ]
    for policy in comparison.policies:
        values = [measure("roc_auc", comparison.late[rows], policy.scores[rows]) for rows in _rows(comparison, weeks)]
        axes.plot(times, values, label=policy.name, zorder=3, **_STYLE[policy.name])  # type: ignore[arg-type]
    axes.set_title("AUC of each week's flights (higher is better)", loc="left", fontsize=11, color=_INK)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=3, frameon=False, fontsize=10)


def _saved(axes: Axes, comparison: Comparison) -> None:
    every = max(1, len(comparison.late) // 2000)
    times = (comparison.event_time[::every] // 1000).astype("datetime64[ms]")
    for policy in comparison.policies:
        axes.plot(times, comparison.saved(policy.name)[::every], zorder=3, **_STYLE[policy.name])  # type: ignore[arg-type]
    axes.set_title("log-loss saved over never retraining, summed over flights", loc="left", fontsize=11, color=_INK)


def _rows(comparison: Comparison, weeks: Sequence[Week]) -> list[slice]:
    return [rows_of(comparison, week) for week in weeks]


def _plain(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=_GRID, linewidth=1)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#9aa5b1")
    axes.tick_params(colors="#52606d", length=0, labelsize=9)


def _start(weeks: Sequence[Week]) -> datetime:
    return weeks[0].end - (weeks[1].end - weeks[0].end if len(weeks) > 1 else np.timedelta64(7, "D").astype(object))


def _ends(weeks: Sequence[Week]) -> list[datetime]:
    return [week.end for week in weeks]
