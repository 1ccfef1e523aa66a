"""The page of a validation: one HTML file that needs nothing from any network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trimtab.pages.document import document, text, write_document
from trimtab.records import FailedExpectation, Validation

_STYLE = """
td.hit{background:var(--bad-bg);color:var(--bad);font-weight:600}
"""


def write_page(validation: Validation, path: Path, left_out: Sequence[str] = ()) -> None:
    """Write the page of a validation; ``left_out`` are expectations that were not asked of these rows."""
    write_document(path, render_page(validation, left_out))


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
    listed = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts.items())
    return document(
        f"{validation.model}: validation",
        f"<h1>{text(validation.model)}: validation {verdict}</h1>"
        f'<p class="soft">{text(_summary(validation))}</p><section><dl>{listed}</dl></section>'
        f"{''.join(_failure(failed) for failed in validation.failed)}",
        _STYLE,
    )


def _failed_verdict(validation: Validation) -> str:
    return f'<span class="verdict bad">{len(validation.failed)} failed</span>'


def _summary(validation: Validation) -> str:
    if validation.success:
        return "Every expectation holds."
    return "These expectations do not hold. Nothing may be trained on such rows."


def _failure(failed: FailedExpectation) -> str:
    where = f" on <code>{text(failed.column)}</code>" if failed.column else ""
    count = ""
    if failed.unexpected_count is not None:
        percent = "" if failed.unexpected_percent is None else f" ({failed.unexpected_percent:.3g} %)"
        count = f"<dt>unexpected</dt><dd>{failed.unexpected_count:,} rows{percent}</dd>"
    return (
        f"<section><h2>{text(failed.expectation.removeprefix('expect_').replace('_', ' '))}{where}</h2><dl>"
        f"<dt>expected</dt><dd><code>{text(failed.expected)}</code></dd>"
        f"<dt>observed</dt><dd><code>{text(failed.observed)}</code></dd>{count}</dl>{_samples(failed)}</section>"
    )


def _samples(failed: FailedExpectation) -> str:
    if not failed.sample_rows:
        return ""
    names = list(failed.sample_rows[0])
    head = "".join(f"<th>{text(name)}</th>" for name in names)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=hit' if name == failed.column else ''}>{text('null' if value is None else value)}</td>"
            for name, value in row.items()
        )
        + "</tr>"
        for row in failed.sample_rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
