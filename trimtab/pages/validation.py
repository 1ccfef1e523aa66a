"""The page of a validation: one HTML file that needs nothing from any network."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from trimtab.records import FailedExpectation, Validation

_STYLE = """
:root{--ink:#1d2733;--soft:#5b6875;--line:#dfe5ea;--bad:#b3261e;--bad-bg:#fdecea;--good:#1b6e3c;--good-bg:#e6f4ea}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--ink);background:#f5f7f9;margin:0}
main{max-width:1000px;margin:0 auto;padding:32px 20px}
h1{font-size:24px;margin:0 0 4px}.soft{color:var(--soft)}
.verdict{display:inline-block;padding:2px 12px;border-radius:12px;font-weight:600;font-size:14px;vertical-align:middle}
.good{color:var(--good);background:var(--good-bg)}.bad{color:var(--bad);background:var(--bad-bg)}
section{background:#fff;border:1px solid var(--line);border-radius:10px;padding:18px 20px;margin:18px 0}
h2{font-size:17px;margin:0 0 8px}code{font:13px ui-monospace,Menlo,Consolas,monospace}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0}dt{color:var(--soft)}dd{margin:0}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;margin-top:12px;font-size:13px}
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid var(--line);white-space:nowrap}th{color:var(--soft)}
td.hit{background:var(--bad-bg);color:var(--bad);font-weight:600}
"""


def write_page(validation: Validation, path: Path, left_out: Sequence[str] = ()) -> None:
    """Write the page of a validation; ``left_out`` are expectations that were not asked of these rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(render_page(validation, left_out), encoding="utf-8")
    temporary.replace(path)


def render_page(validation: Validation, left_out: Sequence[str] = ()) -> str:
    """The page of a validation, as HTML."""
    held = validation.expectations - len(validation.failed)
    verdict = '<span class="verdict good">passed</span>' if validation.success else _failed_verdict(validation)
    facts = {
        "suite": f"{validation.suite} ({validation.suite_digest})",
        "rows": f"{validation.rows:,}",
        "expectations": f"{held} of {validation.expectations} hold",
        "data": validation.subject_id,
        "record": validation.id,
    }
    if left_out:
        facts["left out"] = f"{', '.join(left_out)}: these columns are not known when rows come in"
    listed = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{_text(validation.model)}: validation</title>"
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f"<h1>{_text(validation.model)}: validation {verdict}</h1>"
        f'<p class="soft">{_text(_summary(validation))}</p><section><dl>{listed}</dl></section>'
        f"{''.join(_failure(failed) for failed in validation.failed)}</main></body></html>"
    )


def _failed_verdict(validation: Validation) -> str:
    return f'<span class="verdict bad">{len(validation.failed)} failed</span>'


def _summary(validation: Validation) -> str:
    if validation.success:
        return "Every expectation holds."
    return "These expectations do not hold. Nothing may be trained on such rows."


def _failure(failed: FailedExpectation) -> str:
    where = f" on <code>{_text(failed.column)}</code>" if failed.column else ""
    count = ""
    if failed.unexpected_count is not None:
        percent = "" if failed.unexpected_percent is None else f" ({failed.unexpected_percent:.3g} %)"
        count = f"<dt>unexpected</dt><dd>{failed.unexpected_count:,} rows{percent}</dd>"
    return (
        f"<section><h2>{_text(failed.expectation.removeprefix('expect_').replace('_', ' '))}{where}</h2><dl>"
        f"<dt>expected</dt><dd><code>{_text(failed.expected)}</code></dd>"
        f"<dt>observed</dt><dd><code>{_text(failed.observed)}</code></dd>{count}</dl>{_samples(failed)}</section>"
    )


def _samples(failed: FailedExpectation) -> str:
    if not failed.sample_rows:
        return ""
    names = list(failed.sample_rows[0])
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=hit' if name == failed.column else ''}>{_text('null' if value is None else value)}</td>"
            for name, value in row.items()
        )
        + "</tr>"
        for row in failed.sample_rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(value: object) -> str:
    return html.escape(str(value))
