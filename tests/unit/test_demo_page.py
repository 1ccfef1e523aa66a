"""The demo's page and picture."""

from __future__ import annotations

import dataclasses
import re
from datetime import timedelta
from pathlib import Path

import numpy as np

from demo.course import START, WEEK
from demo.figures import MONTHLY, NEVER, TRIMTAB, Week, compare
from demo.page import write_page
from demo.plot import draw, write
from demo.screen import Screen, chain_lines
from trimtab.lineage import Node
from trimtab.predictions.schema import microseconds
from trimtab.settings import Settings

CHAIN = Node(
    "p-1", "prediction", "prediction p-1", (("score", "0.9"), ("inputs", "a=1")),
    children=(Node("r-1", "release", "release of version 2 <script>", (("since", "March"),), "made by"),),
)  # fmt: skip
CALM = Week(1, START + WEEK, 300, 0.5, 0.7, 0.69, 0.65, "NONE", "nothing to act on", "", ("1",))
WEEKS = [
    CALM,
    dataclasses.replace(
        CALM, number=2, end=START + 2 * WEEK, action="RETRAIN", reason="lost: <b>", outcome="retrained: version 2"
    ),
    dataclasses.replace(CALM, number=3, end=START + 3 * WEEK, action="BLOCK", versions=("1", "2")),
]


def test_the_page_opens_offline_and_says_what_happened(tmp_path: Path) -> None:
    """Page and picture are written; the page fetches nothing, runs nothing, and holds every week and policy."""
    settings = Settings(home=tmp_path)
    random = np.random.default_rng(0)
    event_time = microseconds(START) + np.sort(random.integers(0, 3 * WEEK // timedelta(microseconds=1), 900))
    late = random.integers(0, 2, 900).astype(float)
    counts = {NEVER: 0, MONTHLY: 2, TRIMTAB: 1}
    comparison = compare(event_time, late, {name: random.uniform(0.1, 0.9, 900) for name in counts}, counts, counts)
    figure = draw(comparison, WEEKS, [])
    write(figure, tmp_path / "year.png")
    page = write_page(settings, figure, comparison, WEEKS, CHAIN, {"replay": 2.0, "watch": 1.0}, "A headline")
    text = page.read_text()
    assert (tmp_path / "year.png").read_bytes().startswith(b"\x89PNG")
    assert not re.findall(r"<script|<link|src=|url\(http", text)
    assert all(name in text for name in (*counts, "A headline", "retrained: version 2", "BLOCK", "1 → 2"))
    assert (page.parent / "lineage.html").is_file()


def test_a_chain_is_told_in_short() -> None:
    """Each record is a line under what it led to, with the facts that tell most and no others."""
    assert list(chain_lines(CHAIN)) == [
        "  prediction p-1",
        "      score: 0.9",
        "    └ made by release of version 2 <script>",
        "        since: March",
    ]


def test_what_people_read_is_never_taken_for_markup(capsys: object) -> None:
    """Square brackets in reasons and ids are printed as they are."""
    Screen().week(dataclasses.replace(WEEKS[1], reason="lost: [0.1, 0.2] [bold]"))
    assert "lost: [0.1, 0.2] [bold]" in capsys.readouterr().out  # type: ignore[attr-defined]
