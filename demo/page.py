"""The demo's page: opens offline, no script."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from demo.figures import TRIMTAB, Comparison, Week
from demo.screen import chain_lines
from trimtab.lineage import Node, to_html
from trimtab.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_page(
    settings: Settings,
    figure: Figure,
    comparison: Comparison,
    weeks: Sequence[Week],
    chain: Node,
    stages: Mapping[str, float],
    headline: str,
) -> Path:
    """Write ``<home>/reports/demo/index.html`` and the whole lineage beside it; returns the page's path."""
    folder = settings.reports_dir / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lineage.html").write_text(to_html(chain, f"What led to prediction {chain.id}"))
    parts = (
        f"<header><p class=kicker>trimtab · {_span(weeks)}</p><h1>{html.escape(headline)}</h1></header>",
        _cards(comparison),
        f"<figure>{_svg(figure)}<figcaption>Dotted lines: a new version came into service. Both baselines are scored "
        "on the very flights that went through the gateway; monthly retraining asks no gate.</figcaption></figure>",
        "<h2>Three ways to keep the model</h2>" + _policies(comparison),
        "<h2>Week by week</h2>" + _timeline(settings, weeks),
        "<h2>What led to one prediction</h2>"
        f"<pre>{html.escape(chr(10).join(chain_lines(chain)))}</pre><p><a href=lineage.html>All of it</a></p>",
        "<h2>Where the time went</h2>" + _stages(stages),
    )
    page = folder / "index.html"
    page.write_text(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>trimtab: a year of flights</title>{_STYLE}</head><body><main>{''.join(parts)}</main></body></html>\n"
    )
    return page


def _cards(comparison: Comparison) -> str:
    own = comparison.named(TRIMTAB)
    share = comparison.kept_share("log_loss")
    cards = (
        (f"{len(comparison.late):,}", "flights with a known outcome"),
        (f"{own.log_loss:.4f}", "log-loss of the served model"),
        (f"{own.roc_auc:.4f}", "AUC of the served model"),
        (str(own.retrains), "retrainings, each with a reason on record"),
        ("–" if share != share else f"{share:.0%}", "of what monthly retraining gains in log-loss"),
    )
    return "<section class=cards>" + "".join(f"<div><b>{value}</b>{text}</div>" for value, text in cards) + "</section>"


def _policies(comparison: Comparison) -> str:
    rows = "".join(
        f"<tr{' class=own' if policy.name == TRIMTAB else ''}><td>{policy.name}<td>{policy.log_loss:.4f}"
        f"<td>{policy.roc_auc:.4f}<td>{policy.retrains}<td>{policy.releases}"
        for policy in comparison.policies
    )
    return f"<table class=numbers><tr><th><th>log-loss<th>AUC<th>retrainings<th>released{rows}</table>"


def _timeline(settings: Settings, weeks: Sequence[Week]) -> str:
    rows = "".join(
        f"<tr class={week.action}><td>{week.end:%d %b %Y}<td>{week.flights:,}<td>{_number(week.log_loss)}"
        f"<td>{_number(week.roc_auc)}<td>{_number(week.judged)}<td>{_number(week.limit)}"
        f"<td><i>{_linked(settings, week)}</i>"
        f"<td>{' → '.join(map(html.escape, week.versions))}<td title='{html.escape(week.reason, quote=True)}'>"
        f"{html.escape(week.outcome)}"
        for week in weeks
    )
    return (
        "<div class=wide><table class=timeline><tr><th>week to<th>flights<th>log-loss<th>AUC<th>judged<th>limit"
        f"<th>ruling<th>version<th>what followed{rows}</table></div><p class=note>AUC and log-loss are of all the "
        "week's flights. The ruling judged the AUC of the flights that were mature when it was made: its whole "
        "interval must not lie below the limit.</p>"
    )


def _linked(settings: Settings, week: Week) -> str:
    if not week.report or not (settings.reports_dir / week.report).is_file():
        return week.action
    return f"<a href='../{html.escape(week.report)}'>{week.action}</a>"


def _stages(stages: Mapping[str, float]) -> str:
    total = sum(stages.values())
    rows = "".join(
        f"<tr><td>{html.escape(name)}<td>{seconds:.1f} s<td class=bar><span style='width:{seconds / total:.1%}'></span>"
        for name, seconds in stages.items()
    )
    return f"<table class=numbers>{rows}<tr class=own><td>in all<td>{total:.1f} s<td></table>"


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%"', text[text.index("<svg") :], count=1)


def _span(weeks: Sequence[Week]) -> str:
    first: datetime = weeks[0].end
    return f"{len(weeks)} weeks to {weeks[-1].end:%d %B %Y}, from {first:%B %Y} on"


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.3f}"


_STYLE = """<style>
:root { --ink: #1f2933; --soft: #52606d; --line: #e4e7eb; --own: #0b6e6e }
body { margin: 0; background: #f5f7f8; color: var(--ink); font: 15px/1.55 system-ui, sans-serif }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem }
h1 { font-size: 1.9rem; line-height: 1.25; margin: .2rem 0 1.4rem; max-width: 48rem; letter-spacing: -.01em }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .7rem } a { color: var(--own) }
.kicker { color: var(--own); font-weight: 600; margin: 0; text-transform: uppercase; font-size: .8rem;
  letter-spacing: .06em }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .8rem; margin-bottom: 1rem }
.cards div { background: #fff; border: 1px solid var(--line); border-radius: .6rem; padding: .9rem 1rem;
  color: var(--soft); font-size: .88rem; line-height: 1.35 }
.cards b { display: block; font-size: 1.6rem; color: var(--ink); font-weight: 650; font-variant-numeric: tabular-nums }
figure { margin: 0; background: #fff; border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1rem .6rem }
figcaption, .note { color: var(--soft); font-size: .85rem }
svg { display: block; height: auto }
table { border-collapse: collapse; background: #fff; font-variant-numeric: tabular-nums }
.numbers { border: 1px solid var(--line) } .wide { overflow-x: auto; border: 1px solid var(--line) }
.timeline { width: 100% } th { text-align: left; color: var(--soft); font-weight: 600; font-size: .82rem;
  white-space: nowrap }
th, td { padding: .34rem .8rem; border-bottom: 1px solid var(--line); vertical-align: top }
.timeline td:not(:last-child) { white-space: nowrap }
.own td { font-weight: 650; color: var(--own) }
.timeline i { font-style: normal; font-size: .75rem; font-weight: 600; border-radius: 1rem; padding: .1rem .55rem;
  background: #eef1f3; color: var(--soft) } .timeline i a { color: inherit; text-decoration: none }
.RETRAIN { background: #fff8e6 } .timeline .RETRAIN i { background: #f0c05a; color: #4a3300 }
.BLOCK { background: #fdeeee } .timeline .BLOCK i { background: #d64545; color: #fff }
.ROLLBACK { background: #f7effb } .timeline .ROLLBACK i { background: #8e44ad; color: #fff }
.timeline .ALERT i { background: #cfe8f3; color: #0b4f6c }
.bar { width: 16rem } .bar span { display: block; height: .7rem; background: var(--own); border-radius: .2rem;
  min-width: 2px; margin-top: .35rem }
pre { background: #fff; border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; overflow-x: auto;
  font-size: .82rem; line-height: 1.5 }
</style>"""
