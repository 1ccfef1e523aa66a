"""``GET /docs``: the OpenAPI description as one page for people, which needs nothing from any network."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

_STYLE = """
:root{--ink:#1d2733;--soft:#5b6875;--line:#dfe5ea}*{box-sizing:border-box}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--ink);background:#f5f7f9;margin:0}
main{max-width:1000px;margin:0 auto;padding:32px 20px}h1{font-size:24px;margin:0 0 4px}
h2{font-size:18px;margin:28px 0 8px}
.soft{color:var(--soft)}details{background:#fff;border:1px solid var(--line);border-radius:8px;margin:8px 0}
summary{padding:8px 14px;cursor:pointer;display:flex;gap:12px;flex-wrap:wrap;align-items:baseline}
details>div{padding:0 16px 14px}
code,pre{font:13px ui-monospace,Menlo,Consolas,monospace}b{min-width:52px}
pre{background:#f0f3f6;border-radius:6px;padding:10px;overflow-x:auto;margin:6px 0;
white-space:pre-wrap;overflow-wrap:anywhere}
table{border-collapse:collapse;font-size:13px}td{padding:2px 14px 2px 0;vertical-align:top}
"""
_SHOWN = 4


def render_docs(document: Mapping[str, Any], address: str) -> str:
    """The page.

    Parameters
    ----------
    document
        As :func:`trimtab.serving.openapi.document` makes it.
    address
        Where the gateway answers, for the commands that can be copied.
    """
    info = document["info"]
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                groups.setdefault(operation["tags"][0], []).append(_operation(method, path, operation, address))
    sections = "".join(f"<h2>{_text(tag)}</h2>{''.join(parts)}" for tag, parts in groups.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f'<h1>{_text(info["title"])} <span class="soft">{_text(info["version"])}</span></h1>'
        f'<p class="soft">{_text(info["description"])} For programs: <a href="/openapi.json">/openapi.json</a>.</p>'
        f"{sections}</main></body></html>"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any], address: str) -> str:
    security = operation.get("security")
    needs = ""
    if security:
        (name, scopes), *_ = security[0].items()
        scope = "admin" if name == "admin" else next(iter(scopes), "")
        needs = f"<p>Needs a token{f' with the scope {_text(scope)}' if scope else ''}.</p>"
    statuses = "".join(
        f"<tr><td>{_text(status)}</td><td>{_text(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    commands = "".join(
        f"<pre>{_text(command)}</pre>" for command in _commands(method, path, operation, address, bool(security))
    )
    return (
        f"<details><summary><b>{method.upper()}</b><code>{_text(path)}</code>"
        f'<span class="soft">{_text(operation["summary"])}</span></summary><div>{needs}{commands}'
        f"<table>{statuses}</table></div></details>"
    )


def _commands(method: str, path: str, operation: Mapping[str, Any], address: str, secured: bool) -> Iterator[str]:
    """A command line for each kind of body that there is an example of; one without a body for the rest."""
    start = ["curl", *([] if method == "get" else ["-X", method.upper()]), f"{address}{path}"]
    if secured:
        start += ["-H", "authorization: Bearer $TOKEN"]
    examples = list(_examples(operation))
    if not examples:
        yield _line(start)
    for content_type, example in examples[:_SHOWN]:
        yield _line([*start, "-H", f"content-type: {content_type}", "--data-binary", example])


def _examples(operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for content_type, media in operation.get("requestBody", {}).get("content", {}).items():
        schema = media.get("schema", {})
        if "example" in media:
            yield content_type, media["example"]
        for form in [schema, *schema.get("anyOf", [])]:
            for example in form.get("examples", []):
                yield content_type, json.dumps(example)


def _line(words: list[str]) -> str:
    # In double quotes, for the shell is to put the token in.
    return " ".join('"authorization: Bearer $TOKEN"' if "$TOKEN" in word else shlex.quote(word) for word in words)


def _text(value: str) -> str:
    return html.escape(str(value))
