"""Pictures of a window, as data URIs that open offline."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from tasks.monitoring.window import Window
from trimtab.decay.performance import Performance
from trimtab.decay.signals.names import DRIFT, PERFORMANCE
from trimtab.records import Action, Ruling, higher_is_better

TOP_FEATURES = 12
PAST_WINDOWS = 60
PLACES = ((0.045, 0.11, 0.42, 0.78), (0.585, 0.11, 0.16, 0.78), (0.79, 0.11, 0.2, 0.78))
"""Left, bottom, width and height of the three plots, as shares of the picture."""

COLOURS = {
    Action.BLOCK: "#7b2d8b",
    Action.ROLLBACK: "#b5651d",
    Action.RETRAIN: "#c0392b",
    Action.ALERT: "#e0a100",
    Action.NONE: "#3b7d4f",
}


def picture(window: Window, ruling: Ruling, past: Sequence[Ruling], performance: Performance) -> str:
    """Performance over past windows with the rulings, drift by feature, and calibration; a PNG as a data URI."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Places are given: a layout that is computed takes as long as all the rest.
    figure = Figure(figsize=(12, 3.6), dpi=80)
    over_time, by_feature, calibrated = (figure.add_axes(place) for place in PLACES)
    _over_time(over_time, window, [*past, ruling])
    _by_feature(by_feature, ruling)
    _calibrated(calibrated, performance)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _over_time(axes: Any, window: Window, rulings: Sequence[Ruling]) -> None:
    name = PERFORMANCE + window.spec.policy_metric
    found = [
        (one, signal)
        for one in sorted(rulings, key=lambda one: one.end)[-PAST_WINDOWS:]
        for signal in one.signals
        if signal.name == name and signal.low is not None and signal.high is not None
    ]
    axes.set_title(f"{window.spec.policy_metric} on mature outcomes, by window", fontsize=9)
    axes.tick_params(labelsize=7)
    if not found:
        axes.text(0.5, 0.5, "no mature outcomes yet", ha="center", va="center", transform=axes.transAxes)
        return
    ends = [one.end for one, _ in found]
    axes.plot(ends, [signal.threshold for _, signal in found], color="#888888", linewidth=1, linestyle="--")
    drop = window.spec.policy.performance_drop
    gain = drop if higher_is_better(window.spec.policy_metric) else -drop
    axes.plot(ends, [signal.threshold + gain for _, signal in found], color="#888888", linewidth=1, linestyle=":")
    axes.plot(ends, [signal.value for _, signal in found], color="#30577f", linewidth=1)
    axes.vlines(ends, *zip(*((one.low, one.high) for _, one in found), strict=True), color="#30577f", linewidth=0.8)
    for action, colour in COLOURS.items():
        of_action = [(one.end, signal.value) for one, signal in found if one.action is action]
        if of_action:
            axes.scatter(*zip(*of_action, strict=True), s=22, color=colour, label=str(action), zorder=3)
    # Above the axes: inside, it would hide windows.
    axes.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), ncols=5, frameon=False, borderaxespad=0.2)
    shown = ends[:: max(1, len(ends) // 6)]
    axes.set_xticks(shown, [f"{end:%b %d}" for end in shown])


def _by_feature(axes: Any, ruling: Ruling) -> None:
    drifts = [signal for signal in ruling.signals if signal.name.startswith(DRIFT)][:TOP_FEATURES][::-1]
    axes.set_title("drift (PSI), red: significant and large", fontsize=9)
    axes.tick_params(labelsize=7)
    if not drifts:
        axes.text(0.5, 0.5, "nothing was compared", ha="center", va="center", transform=axes.transAxes)
        return
    colours = [COLOURS[Action.RETRAIN] if signal.breached else "#9fb4c7" for signal in drifts]
    axes.barh(
        [signal.name.removeprefix(DRIFT) for signal in drifts], [signal.value for signal in drifts], color=colours
    )
    axes.axvline(drifts[0].threshold, color="#888888", linewidth=1, linestyle="--")


def _calibrated(axes: Any, performance: Performance) -> None:
    axes.set_title("calibration: outcome by score", fontsize=9)
    axes.tick_params(labelsize=7)
    bins = performance.calibration
    if not bins:
        axes.text(0.5, 0.5, "no outcomes", ha="center", va="center", transform=axes.transAxes)
        return
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--")
    scores, outcomes = [one.score for one in bins], [one.outcome for one in bins]
    spread = [[one.outcome - one.low for one in bins], [one.high - one.outcome for one in bins]]
    axes.errorbar(scores, outcomes, yerr=spread, color="#30577f", linewidth=0.8, marker="o", markersize=3)
