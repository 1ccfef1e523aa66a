"""Pictures of a window, as data URIs that open offline."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.monitoring.window import Window
from trimtab.decay.performance import Performance
from trimtab.decay.signals.names import DRIFT, ESTIMATED, PERFORMANCE
from trimtab.pages.colours import ACTION_COLOURS
from trimtab.records import Action, Ruling, Signal

TOP_FEATURES = 12
PAST_WINDOWS = 60
PLACES = ((0.045, 0.11, 0.42, 0.78), (0.585, 0.11, 0.16, 0.78), (0.79, 0.11, 0.2, 0.78))
"""Left, bottom, width and height of the three plots, as shares of the picture."""

_MOST_TICKS = 7
ESTIMATE_COLOUR = "#8a6bbf"


def picture(window: Window, ruling: Ruling, past: Sequence[Ruling], performance: Performance) -> str:
    """Performance over past windows, realised (with the rulings) and estimated, drift by feature, and calibration.

    Returns
    -------
    str
        A PNG as a data URI.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Places are given: a layout that is computed takes as long as all the rest.
    figure = Figure(figsize=(12, 3.6), dpi=80)
    over_time, by_feature, calibrated = (figure.add_axes(place) for place in PLACES)
    draw_over_time(over_time, window, [*past, ruling])
    _by_feature(by_feature, ruling)
    _calibrated(calibrated, performance, classified=window.spec.target.kind != "regression")
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def draw_over_time(axes: Any, window: Window, rulings: Sequence[Ruling]) -> None:
    """The policy metric by window: realised, in the colour of the ruling, and estimated; each with its interval."""
    metric, newest = window.spec.policy_metric, sorted(rulings, key=lambda one: one.end)[-PAST_WINDOWS:]
    found, expected = _named(newest, PERFORMANCE + metric), _named(newest, ESTIMATED + metric)
    axes.set_title(metric, fontsize=9, loc="left")
    axes.tick_params(labelsize=7)
    if not found and not expected:
        _nothing(axes, "no mature outcomes yet")
        return
    _limits(axes, {one.end: signal for one, signal in [*expected, *found]})
    if expected:
        ends = [one.end for one, _ in expected]
        ranges = zip(*((signal.low, signal.high) for _, signal in expected), strict=True)
        axes.vlines(ends, *ranges, color=ESTIMATE_COLOUR, linewidth=4, alpha=0.3)
        values = [signal.value for _, signal in expected]
        axes.plot(
            ends, values, color=ESTIMATE_COLOUR, linewidth=1, linestyle=":", marker="D", ms=2.5, label="estimated"
        )
    if found:
        ends = [one.end for one, _ in found]
        axes.plot(ends, [signal.value for _, signal in found], color="#30577f", linewidth=1)
        axes.vlines(ends, *zip(*((one.low, one.high) for _, one in found), strict=True), color="#30577f", linewidth=0.8)
    for action, colour in ACTION_COLOURS.items():
        of_action = [(one.end, signal.value) for one, signal in found if one.action is action]
        if of_action:
            axes.scatter(*zip(*of_action, strict=True), s=22, color=colour, label=str(action), zorder=3)
    # Above the axes: inside, it would hide windows.
    where = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 6, "borderaxespad": 0.2}
    axes.legend(fontsize=7, frameon=False, columnspacing=0.8, handletextpad=0.2, handlelength=1.2, **where)
    ends = sorted({one.end for one, _ in [*expected, *found]})
    shown = ticks_of(ends)
    axes.set_xticks(shown, [f"{end:%b %d}" for end in shown])


def ticks_of(ends: Sequence[datetime]) -> list[datetime]:
    """Those of the rising ends that have room for a date each: windows need not follow each other evenly."""
    apart = (ends[-1] - ends[0]) / _MOST_TICKS
    shown = [ends[-1]]
    for end in reversed(ends):
        if shown[-1] - end >= apart and end != shown[-1]:
            shown.append(end)
    return shown[::-1]


def _named(rulings: Sequence[Ruling], name: str) -> list[tuple[Ruling, Signal]]:
    """The signals of that name that have an interval, with their rulings."""
    signals = ((one, signal) for one in rulings for signal in one.signals if signal.name == name)
    return [(one, signal) for one, signal in signals if signal.low is not None and signal.high is not None]


def _limits(axes: Any, signals: Mapping[datetime, Signal]) -> None:
    """The limit (dashed) and the value at evaluation (dotted), by window; of a single window from side to side."""
    limits = {end: signal.threshold for end, signal in signals.items()}
    # Older rulings do not say it.
    calm = {end: signal.calm for end, signal in signals.items() if signal.calm is not None}
    for shown, style in ((limits, "--"), (calm, ":")):
        if not shown:
            continue
        ends = sorted(shown)
        values = [shown[end] for end in ends]
        draw = functools.partial(axes.plot, ends, values) if len(ends) > 1 else functools.partial(axes.axhline, *values)
        draw(color="#888888", linewidth=1, linestyle=style)


def _by_feature(axes: Any, ruling: Ruling) -> None:
    drifts = [signal for signal in ruling.signals if signal.name.startswith(DRIFT)][:TOP_FEATURES][::-1]
    axes.set_title("drift (PSI), red: significant and large", fontsize=9)
    axes.tick_params(labelsize=7)
    if not drifts:
        _nothing(axes, "no rows to compare")
        return
    colours = [ACTION_COLOURS[Action.RETRAIN] if signal.breached else "#9fb4c7" for signal in drifts]
    axes.barh(
        [signal.name.removeprefix(DRIFT) for signal in drifts], [signal.value for signal in drifts], color=colours
    )
    axes.axvline(drifts[0].threshold, color="#888888", linewidth=1, linestyle="--")


def _nothing(axes: Any, because: str) -> None:
    """In place of a plot: why there is none, on axes that measure nothing."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, because, ha="center", va="center", color="#666666", transform=axes.transAxes)


def _calibrated(axes: Any, performance: Performance, classified: bool) -> None:
    axes.set_title("calibration: outcome by score", fontsize=9)
    axes.tick_params(labelsize=7)
    bins = performance.calibration
    if not bins:
        lacking = "too few outcomes" if performance.outcomes else "no mature outcomes"
        _nothing(axes, lacking if classified else "a regression has none")
        return
    # As far as there is something to see: where what is foretold is rare, all lies in a corner.
    end = min(1.0, 1.1 * max(max(one.score, one.high) for one in bins))
    axes.plot([0, end], [0, end], color="#888888", linewidth=1, linestyle="--")
    scores, outcomes = [one.score for one in bins], [one.outcome for one in bins]
    spread = [[one.outcome - one.low for one in bins], [one.high - one.outcome for one in bins]]
    axes.errorbar(scores, outcomes, yerr=spread, color="#30577f", linewidth=0.8, marker="o", markersize=3)
