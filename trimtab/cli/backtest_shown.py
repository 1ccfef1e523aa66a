"""How a backtest reads on the terminal: a line a window, then what came of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.backtest.results import ALWAYS, NEVER, POLICY, Backtest, BacktestWindow
from trimtab.cli.terminal import console
from trimtab.decay.signals.names import ROWS
from trimtab.records import is_worse

if TYPE_CHECKING:
    from rich.table import Table

COLOURS = {"BLOCK": "magenta", "ROLLBACK": "yellow", "RETRAIN": "red", "ALERT": "yellow", "NONE": "dim"}
_WIDTH_OF_A_FILE = 140
_OTHER_COLUMNS, _LEAST_OF_WHY = 52, 28
"""Characters of a line that the columns before the reason take at most, and what the reason has at least."""
_NAMES = {NEVER: "never retrained", ALWAYS: "always retrained", POLICY: "the policy"}


def show(found: Backtest, json_path: Path, plot_path: Path) -> None:
    """Print the windows, the ways, what was kept, and where the files are."""
    screen = console()
    if not screen.is_terminal:
        screen.width = _WIDTH_OF_A_FILE
    screen.print(_windows(found, max(_LEAST_OF_WHY, screen.width - _OTHER_COLUMNS)))
    screen.print()
    screen.print(_ways(found))
    screen.print()
    for line in (*sentences(found), *(f"Note: {note}." for note in found.notes)):
        screen.print(line, markup=False, soft_wrap=True)
    screen.print(f"Written: {json_path} and {plot_path}", markup=False, soft_wrap=True)


def sentences(found: Backtest) -> Iterator[str]:
    """What came of it, in words."""
    ruled = ", ".join(f"{count} × {action}" for action, count in sorted(found.actions.items()))
    yield f"{len(found.windows)} windows were ruled on: {ruled}."
    if few := found.unjudged:
        least = found.policy["minimum_outcomes"]
        yield f"{len(few)} of {len(found.windows)} windows could not be judged: fewer than {least} mature outcomes."
    if opened := found.breaker_opened:
        yield (
            f"From {opened.ruling.start:%Y-%m-%d} on the breaker is open, as retraining was in vain "
            f"{_times(found.policy['breaker'])} running; nobody closes it in a replay, so that none follows "
            "(policy.breaker)."
        )
    policy, always = found.way(POLICY), found.way(ALWAYS)
    if policy is None or always is None:
        return
    kept = found.kept.get(found.metric)
    if kept is None:
        yield f"Always retraining gains nothing over never in {found.metric}: there is no gain to keep."
        return
    effort = f"and retrains {_times(policy.retrainings)} instead of {_times(always.retrainings)}"
    if kept < 0:
        yield f"The policy does worse than never retraining in {found.metric}, {effort}: try other thresholds."
    else:
        yield f"The policy keeps {_share(kept)} of what always retraining gains in {found.metric}, {effort}."


def _windows(found: Backtest, of_why: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    by_day = all(window.ruling.start.time() == time.min for window in found.windows)
    form = "%Y-%m-%d" if by_day else "%Y-%m-%d %H:%M"
    title = f"{found.name} from {found.start:{form}} to {found.end:{form}}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("window", "rows", "version", found.metric):
        table.add_column(heading, justify="left" if heading == "window" else "right", no_wrap=True)
    table.add_column("ruling", no_wrap=True)
    table.add_column("why")
    for window in found.windows:
        ruling, value = window.ruling, window.metrics.get(POLICY)
        table.add_row(
            f"{ruling.start:{form}}",
            f"{window.rows:,}",
            window.version,
            "" if value is None else f"{value:.4f}",
            Text(str(ruling.action), style=COLOURS[str(ruling.action)]),
            Text(_shortened(_why(found, window), of_why)),
        )
        if window.outcome:
            table.add_row("", "", "", "", "", Text(f"→ {window.outcome}", style="bold"))
    return table


def _ways(found: Backtest) -> Table:
    from rich.table import Table

    ways = [way for name in _NAMES if (way := found.way(name))]
    table = Table(title="over all windows", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for way in ways:
        table.add_column(_NAMES[way.name], justify="right")
    if found.kept:
        table.add_column("gain kept", justify="right")
    if len(ways) > 1:
        table.add_row("retrainings", *(f"{way.retrainings:,}" for way in ways))
        table.add_row("released", *(f"{way.releases:,}" for way in ways))
    for metric in dict.fromkeys([found.metric, *(name for way in ways for name in way.metrics)]):
        values = [way.metrics.get(metric) for way in ways]
        kept = found.kept.get(metric)
        shown = ["" if value is None else f"{value:.4f}" for value in values]
        table.add_row(metric, *shown, *(["" if kept is None else _share(kept)] if found.kept else []))
    return table


def _share(kept: float) -> str:
    """In whole percent; a loss too small for one is 0 %, not -0 %."""
    return f"{round(kept, 2) + 0.0:.0%}"


def _why(found: Backtest, window: BacktestWindow) -> str:
    """The reason in a few words; JSON has it whole, with every signal."""
    reason, signals = window.ruling.reason, window.ruling.signals
    judged = next((one for one in signals if one.name == f"performance.{found.metric}"), None)
    few = any(one.name == ROWS and one.breached for one in signals)
    if str(window.ruling.action) == "NONE" and judged is not None and not judged.breached and not few:
        said = f"{judged.value:.4g} on mature outcomes; the limit is {judged.threshold:.4g}"
        return f"{said}, by chance perhaps" if is_worse(found.metric, judged.value, judged.threshold) else said
    short = reason.removeprefix("nothing to act on: ").removeprefix("the incoming data is broken: ")
    return re.sub(r" \(-?[\d.e-]+ to -?[\d.e-]+\)", "", short)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 2].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")
