"""Ways to show a lineage: for a terminal, for Prefect's artifacts, and as a page that opens offline."""

from __future__ import annotations

import html
from collections.abc import Iterator

from trimtab.lineage.tree import Node


def to_text(node: Node) -> str:
    """The tree as plain text, for a terminal without colours or a file."""
    return "\n".join(_lines(node, "", ""))


def to_markdown(node: Node) -> str:
    """A heading, the graph, and a table of facts for each link."""
    parts = [f"# Dossier of {node.title}", "```mermaid\n" + to_mermaid(node) + "\n```"]
    for each in node.walk():
        parts.append(f"## {each.because + ': ' if each.because else ''}{each.title}")
        rows = [("id", each.id), *each.facts]
        table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows)
        parts.append(f"| | |\n|---|---|\n{table}")
    return "\n\n".join(parts) + "\n"


def to_mermaid(node: Node) -> str:
    """The chain as a mermaid graph, top down; a record that stands in it twice is one box."""
    names: dict[str, str] = {}
    for each in node.walk():
        names.setdefault(each.id, f"n{len(names)}")
    titles = {each.id: _label(each) for each in node.walk()}
    boxes = [f'  {name}["{titles[record_id]}"]' for record_id, name in names.items()]
    arrows = [
        f"  {names[each.id]} -->{f'|{child.because}|' if child.because else ''} {names[child.id]}"
        for each in node.walk()
        for child in each.children
    ]
    return "\n".join(["graph TD", *boxes, *dict.fromkeys(arrows)])


def to_html(node: Node, title: str) -> str:
    """The tree as a page of its own: no script, no outside address."""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>{_STYLE}"
        f"<h1>{html.escape(title)}</h1>{_html(node)}</html>\n"
    )


_STYLE = """<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1b2733 }
h1 { font-size: 1.3rem } h1, td { overflow-wrap: anywhere }
details { border-left: 3px solid #c9d6df; margin: .4rem 0 .4rem .3rem; padding-left: .9rem }
summary { cursor: pointer; font-weight: 600 } summary small { font-weight: 400; color: #5b6b78 }
table { border-collapse: collapse; margin: .3rem 0 } td { padding: .1rem .8rem .1rem 0; vertical-align: top }
td:first-child { color: #5b6b78; white-space: nowrap }
</style>"""


def _lines(node: Node, first: str, rest: str) -> Iterator[str]:
    yield f"{first}{node.because + ' ' if node.because else ''}{node.title}  [{node.id}]"
    bar = "│  " if node.children else "   "
    for name, value in node.facts:
        yield f"{rest}{bar}{name}: {value}"
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        yield from _lines(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _label(node: Node) -> str:
    title = node.title if len(node.title) <= 60 else node.title[:57] + "..."
    return html.escape(title, quote=True).replace("`", "'")


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")


def _html(node: Node) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}<td>{html.escape(value)}" for name, value in (("id", node.id), *node.facts)
    )
    because = f"<small>{html.escape(node.because)}</small> " if node.because else ""
    below = "".join(_html(child) for child in node.children)
    return f"<details open><summary>{because}{html.escape(node.title)}</summary><table>{rows}</table>{below}</details>"
