"""From a prediction to all that led to it: tree.py walks the ledger, render.py shows what it found. Nothing writes."""

from trimtab.lineage.render import to_html, to_markdown, to_mermaid, to_text
from trimtab.lineage.tree import Node, trace, trace_logged

__all__ = ["Node", "to_html", "to_markdown", "to_mermaid", "to_text", "trace", "trace_logged"]
