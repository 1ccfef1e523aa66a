"""What the demo says while it runs: plain lines, and a moving status line where there is a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.figures import Comparison, Week
from trimtab.lineage import Node

COLOURS = {"BLOCK": "red", "ROLLBACK": "magenta", "RETRAIN": "yellow", "ALERT": "cyan", "NONE": "dim"}
_WIDTH = 118
_TOLD = {
    "prediction": ("happened", "score", "outcome"),
    "release": ("since", "runs as"),
    "image": ("digest",),
    "evaluation": ("its log_loss", "champion's log_loss", "log_loss, less the champion's"),
    "candidate": ("trained", "artifact"),
    "snapshot": ("events", "digest"),
    "ruling": ("window",),
}
"""Which facts of each kind of record are told; `trimtab lineage` tells all."""


class Screen:
    """Says things to people; works without a terminal."""

    def __init__(self) -> None:
        terminal = Console(highlight=False)
        self._console = terminal if terminal.is_terminal else Console(highlight=False, width=_WIDTH, soft_wrap=True)

    def title(self, text: str) -> None:
        """Begin a part."""
        self._console.print(f"\n[bold]{escape(text)}[/bold]")

    def say(self, text: str, style: str = "") -> None:
        """A line."""
        self._console.print(escape(text), style=style or None)

    @contextmanager
    def status(self, text: str) -> Iterator[Status]:
        """A moving line while something goes on; the text itself as a line where there is no terminal."""
        if not self._console.is_terminal:
            yield Status()
            return
        with self._console.status(escape(text)) as moving:
            yield Status(lambda now: moving.update(escape(now)))

    def week(self, week: Week) -> None:
        """A week as soon as it is judged."""
        colour = COLOURS.get(week.action, "")
        self._console.print(
            f"  {week.end:%Y-%m-%d}  {week.flights:5,} flights  "
            f"AUC {_number(week.judged)}  version {'→'.join(week.versions):<5} "
            f"[{colour}]{week.action:8}[/{colour}] " + escape(week.reason if week.action != "NONE" else ""),
            soft_wrap=True,
        )

    def timeline(self, weeks: Sequence[Week]) -> None:
        """All weeks as a table."""
        table = Table(title="The year, a week a line", title_justify="left", title_style="bold", header_style="bold")
        for heading, side in (
            *(
                ("week to", "left"),
                ("flights", "right"),
                ("log-loss", "right"),
                ("AUC", "right"),
                ("judged", "right"),
                ("limit", "right"),
            ),
            *(("ruling", "left"), ("what followed", "left"), ("version", "left")),
        ):
            table.add_column(heading, justify=side, no_wrap=heading != "what followed")  # type: ignore[arg-type]
        for week in weeks:
            colour = COLOURS.get(week.action, "")
            table.add_row(
                *(f"{week.end:%Y-%m-%d}", f"{week.flights:,}", _number(week.log_loss), _number(week.roc_auc)),
                *(
                    _number(week.judged),
                    _number(week.limit),
                    f"[{colour}]{week.action}[/{colour}]",
                    escape(week.outcome),
                ),
                "→".join(week.versions),
            )
        self._console.print()
        self._console.print(table)

    def figures(self, comparison: Comparison) -> None:
        """The figures that matter."""
        table = Table(
            title=f"The figure that matters: {len(comparison.late):,} flights with a known outcome, the same for all",
            title_justify="left",
            title_style="bold",
            header_style="bold",
        )
        for heading in ("", "log-loss", "AUC", "retrainings", "released"):
            table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
        for policy in comparison.policies:
            numbers = (f"{policy.log_loss:.4f}", f"{policy.roc_auc:.4f}", str(policy.retrains), str(policy.releases))
            table.add_row(policy.name, *numbers, style="bold" if policy.name == "trimtab" else None)
        self._console.print()
        self._console.print(table)

    def stages(self, stages: Mapping[str, float], total_s: float) -> None:
        """Where the time went."""
        table = Table(title="Where the time went", title_justify="left", title_style="bold", header_style="bold")
        table.add_column("stage", no_wrap=True)
        table.add_column("seconds", justify="right")
        table.add_column("share", justify="right")
        for name, seconds in [*stages.items(), ("other", max(0.0, total_s - sum(stages.values())))]:
            table.add_row(name, f"{seconds:.1f}", f"{seconds / total_s:.0%}")
        table.add_row("in all", f"{total_s:.1f}", "", style="bold")
        self._console.print()
        self._console.print(table)

    def chain(self, node: Node) -> None:
        """What led to a prediction, in short."""
        for line in chain_lines(node):
            self._console.print(escape(line), soft_wrap=True)


class Status:
    """The moving line; does nothing where there is none."""

    def __init__(self, update: object = None) -> None:
        self._update = update

    def __call__(self, text: str) -> None:
        if callable(self._update):
            self._update(text)


def chain_lines(node: Node, depth: int = 0) -> Iterator[str]:
    """The chain in short: a line a record, indented under what it led to, with the facts that tell most."""
    pad = "  " * (depth + 1)
    yield f"{pad}{'└ ' if depth else ''}{node.because + ' ' if node.because else ''}{node.title}"
    for name, value in node.facts:
        if name in _TOLD.get(node.kind, ()) or name.startswith("gate gain"):
            yield f"{pad}    {name}: {value}"
    for child in node.children:
        yield from chain_lines(child, depth + 1)


def _number(value: float) -> str:
    return "    –" if value != value else f"{value:.3f}"
