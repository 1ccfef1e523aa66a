"""What all pages share: their look, and how a page is written. None needs a script, or anything from any network."""

from __future__ import annotations

import html
import os
from pathlib import Path

_STYLE = """
:root{--ink:#1d2733;--soft:#5b6875;--line:#dfe5ea;--bad:#b3261e;--bad-bg:#fdecea;--good:#1b6e3c;--good-bg:#e6f4ea;
--link:#0b5a8a}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--ink);background:#f5f7f9;margin:0}
main{max-width:1000px;margin:0 auto;padding:32px 20px}
h1{font-size:24px;margin:0 0 4px}.soft{color:var(--soft)}a{color:var(--link)}
.verdict{display:inline-block;padding:2px 12px;border-radius:12px;font-weight:600;font-size:14px;vertical-align:middle}
.good{color:var(--good);background:var(--good-bg)}.bad{color:var(--bad);background:var(--bad-bg)}
section{background:#fff;border:1px solid var(--line);border-radius:10px;padding:18px 20px;margin:18px 0}
h2{font-size:17px;margin:0 0 8px}code{font:13px ui-monospace,Menlo,Consolas,monospace}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0}dt{color:var(--soft)}dd{margin:0}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;margin-top:12px;font-size:13px}
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid var(--line);white-space:nowrap}th{color:var(--soft)}
"""


def document(title: str, body: str, style: str = "") -> str:
    """A whole page: ``title`` is text, ``body`` and ``style`` (on top of the common one) are markup."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}{style}</style></head>'
        f"<body><main>{body}</main></body></html>\n"
    )


def text(value: object) -> str:
    """Any value as text within a page or an attribute of it."""
    return html.escape(str(value))


def write_document(path: Path, page: str) -> None:
    """Write a page at once or not at all; several processes may write the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(page, encoding="utf-8")
    draft.replace(path)
