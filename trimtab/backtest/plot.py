"""The picture of a backtest: each way's metric by window with the rulings, and what it gains over never retraining."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from trimtab.backtest.results import ALWAYS, NEVER, POLICY, Backtest
from trimtab.errors import TrimtabError
from trimtab.pages.colours import ACTION_COLOURS
from trimtab.records import Action, higher_is_better

STYLES: dict[str, dict[str, Any]] = {
    NEVER: {"color": "#9aa5b1", "linewidth": 1.6, "label": "never retrained"},
    ALWAYS: {"color": "#e0a030", "linewidth": 1.6, "label": "always retrained"},
    POLICY: {"color": "#0b6e6e", "linewidth": 2.2, "label": "the policy"},
}
_INK, _GRID = "#1f2933", "#e4e7eb"


def check_plot_path(path: Path) -> None:
    """Raise TrimtabError unless the path's suffix names a form that can be drawn; to be asked before a long run."""
    from matplotlib.backend_bases import FigureCanvasBase

    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.removeprefix(".").lower() not in known:
        raise TrimtabError(f"{path} ends in {path.suffix!r}; a picture must end in one of .{', .'.join(known)}")


def write_plot(found: Backtest, path: Path) -> None:
    """Draw into a file; its suffix, such as ``.png``, names the form."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    compared = found.way(NEVER) is not None
    figure = Figure(figsize=(11, 6.4 if compared else 3.8), facecolor="white", layout="constrained")
    panels = figure.subplots(2 if compared else 1, 1, sharex=True, squeeze=False)[:, 0]
    _by_window(panels[0], found)
    if compared:
        _gains(panels[1], found)
    for axes in panels:
        _plain(axes)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    panels[-1].xaxis.set_major_locator(locator)
    panels[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    panels[-1].set_xlim(found.start, found.end)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _by_window(axes: Any, found: Backtest) -> None:
    for way in [name for name in STYLES if found.way(name)]:
        points = [(_middle(one), one.metrics.get(way)) for one in found.windows]
        known = [(at, value) for at, value in points if value is not None]
        axes.plot([at for at, _ in known], [value for _, value in known], zorder=3, **STYLES[way])
    low, _ = axes.get_ylim()
    for action, colour in ACTION_COLOURS.items():
        ruled = [one for one in found.windows if one.ruling.action == action]
        if ruled and action is not Action.NONE:
            values = [low if (value := one.metrics.get(POLICY)) is None else value for one in ruled]
            axes.scatter([_middle(one) for one in ruled], values, s=46, color=colour, label=str(action), zorder=4)
    released = {"color": "#0b6e6e", "linewidth": 1, "linestyle": (0, (2, 2)), "alpha": 0.7, "zorder": 1}
    for at, one in enumerate(one for one in found.windows if "serves" in one.outcome):
        # What begins with an underscore stands in no legend.
        label = "_" if at else "another version serves"
        axes.axvline(one.ruling.end, label=label, **released)
    better = "higher" if higher_is_better(found.metric) else "lower"
    axes.set_title(f"{found.name}: {found.metric} of each window's rows ({better} is better)", loc="left", fontsize=11)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.08), ncols=7, frameon=False, fontsize=9)


def _gains(axes: Any, found: Backtest) -> None:
    sign = 1 if higher_is_better(found.metric) else -1
    for way in [name for name in (ALWAYS, POLICY) if found.way(name)]:
        gained, at, total, rows = [], [], 0.0, 0
        for one in found.windows:
            own, never = one.metrics.get(way), one.metrics.get(NEVER)
            if own is not None and never is not None:
                total, rows = total + sign * (own - never) * one.rows, rows + one.rows
                at.append(one.ruling.end)
                gained.append(total / rows)
        axes.plot(at, gained, zorder=3, **STYLES[way])
    axes.axhline(0, color="#9aa5b1", linewidth=1)
    title = f"{found.metric} gained over never retraining, mean of the windows so far, weighed by their rows"
    axes.set_title(title, loc="left", fontsize=11, color=_INK)


def _middle(one: Any) -> datetime:
    moment: datetime = one.ruling.start + (one.ruling.end - one.ruling.start) / 2
    return moment


def _plain(axes: Any) -> None:
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=_GRID, linewidth=1)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors="#52606d", length=0, labelsize=9)
