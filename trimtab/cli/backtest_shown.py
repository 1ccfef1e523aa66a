"""How a backtest reads on the terminal: a line a window, then what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trimtab.backtest.results import ALWAYS, NEVER, POLICY, Backtest, BacktestWindow, Way
from trimtab.cli.terminal import console

COLOURS = {"BLOCK": "magenta", "ROLLBACK": "yellow", "RETRAIN": "red", "ALERT": "yellow", "NONE": "dim"}
_NAMES = {POLICY: "the policy", NEVER: "never retrained", ALWAYS: "always retrained"}
_REASON_LENGTH = 96


def show(found: Backtest, json_path: Path, plot_path: Path) -> None:
    """Print the windows, the ways, what was kept, and where the files are."""
    from rich.table import Table
    from rich.text import Text

    screen = console()
    title = f"{found.name} from {found.start:%Y-%m-%d} to {found.end:%Y-%m-%d}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("window", "rows", "version", found.metric):
        table.add_column(heading, justify="left" if heading == "window" else "right", no_wrap=True)
    table.add_column("ruling", no_wrap=True)
    table.add_column("why, and what followed")
    for window in found.windows:
        ruling, value = window.ruling, window.metrics.get(POLICY)
        table.add_row(
            f"{ruling.start:%Y-%m-%d}",
            f"{window.rows:,}",
            window.version,
            "" if value is None else f"{value:.4f}",
            Text(str(ruling.action), style=COLOURS[str(ruling.action)]),
            Text(_why(window)),
        )
    screen.print(table)
    screen.print()
    screen.print(_ways(found))
    screen.print()
    for line in (*sentences(found), *(f"note: {note}" for note in found.notes)):
        screen.print(line, markup=False)
    screen.print(f"written: {json_path}, {plot_path}", markup=False, soft_wrap=True)


def sentences(found: Backtest) -> Iterator[str]:
    """What came of it, in words."""
    ruled = ", ".join(f"{action} {count}" for action, count in sorted(found.actions.items()))
    yield f"{len(found.windows)} windows were ruled on: {ruled}."
    policy, always = found.way(POLICY), found.way(ALWAYS)
    if policy is None or always is None:
        return
    kept = found.kept.get(found.metric)
    effort = f"with {policy.retrainings} retrainings instead of {always.retrainings}"
    if kept is None:
        yield f"Always retraining gains nothing over never in {found.metric}: there is nothing to keep."
    else:
        yield f"The policy keeps {kept:.0%} of what always retraining gains in {found.metric}, {effort}."
    for metric, share in found.kept.items():
        if metric != found.metric and share is not None:
            yield f"In {metric} it keeps {share:.0%}."


def _ways(found: Backtest) -> object:
    from rich.table import Table

    table = Table(title="over all windows", title_justify="left", box=None, pad_edge=False)
    metrics = list(dict.fromkeys([found.metric, *(name for way in found.ways for name in way.metrics)]))
    table.add_column("way")
    for heading in ("retrainings", "released", "rows with outcome", *metrics):
        table.add_column(heading, justify="right", no_wrap=True)
    for way in sorted(found.ways, key=lambda way: [NEVER, ALWAYS, POLICY].index(way.name)):
        counts = (f"{way.retrainings}", f"{way.releases}", f"{way.rows:,}")
        table.add_row(_NAMES[way.name], *counts, *(_number(way, metric) for metric in metrics))
    return table


def _number(way: Way, metric: str) -> str:
    value = way.metrics.get(metric)
    return "" if value is None else f"{value:.4f}"


def _why(window: BacktestWindow) -> str:
    reason = window.ruling.reason
    if window.ruling.action == "NONE":
        reason = reason.removeprefix("nothing to act on: ").split("; ")[0]
    if len(reason) > _REASON_LENGTH:
        reason = reason[: _REASON_LENGTH - 1].rsplit(" ", 1)[0].rstrip(",;:") + " …"
    return reason + (f" → {window.outcome}" if window.outcome else "")
