"""From one prediction id to all that led to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chain import home_with_predictions
from trimtab.answers import outcome_text
from trimtab.errors import UnknownPredictionError
from trimtab.ledger import Ledger
from trimtab.lineage import Node, to_html, to_markdown, to_mermaid, to_text, trace, trace_logged
from trimtab.records import Segment


@pytest.fixture
def chain(tmp_path: Path) -> Node:
    settings, ids = home_with_predictions(tmp_path)
    return trace_logged(Ledger(settings.ledger), settings.predictions_dir, ids[0])


def test_the_chain_holds_every_link_back_to_the_first_release(chain: Node) -> None:
    """Release, image, version, decision, evaluation, candidate, snapshots, validation, cause, ruling, and before."""
    assert {node.id for node in chain.walk()} == {
        chain.id,
        *("release-2", "image-2", "version-2", "decision-2", "evaluation-2", "candidate-2", "cause-2"),
        *("snapshot-evaluation-2", "snapshot-training-2", "validation-2", "ruling-1", "release-1", "cause-1"),
    }
    assert [node.id for node in chain.children] == ["release-2", "release-1"]


def test_the_numbers_that_decided_are_in_it(chain: Node) -> None:
    """Gates with value and threshold, intervals against the champion, the signal that was breached, the outcome."""
    text = to_text(chain)
    for said in (
        "gate gain: passed: 0.49 against 0; better by more than chance",
        "log_loss, less the champion's: -0.5000 (95 % interval -0.5100 to -0.4900, 500 rows)",
        "log_loss (breached): 0.91 against 0.5 on 480 rows",
        "inputs: income=31.5, age=40, region=missing, employed=True",
        "outcome: 1, known at 2024-03-08 00:00:00 UTC",
        "digest: digest-training-2",
        "flow run run-of-retrain-2",
        "not sealed yet",
    ):
        assert said in text


def test_markdown_and_graph_name_each_record_once_as_a_box(chain: Node) -> None:
    """The graph's arrows stand between boxes that exist; a record that is met twice is one box."""
    graph = to_mermaid(chain).splitlines()
    boxes = [line.split("[")[0].strip() for line in graph if "[" in line]
    ends = {end for line in graph if "-->" in line for end in (line.split()[0], line.split()[-1])}
    assert ends == set(boxes)
    assert len(boxes) == len(set(boxes)) == len({node.id for node in chain.walk()})
    assert all(node.id in to_markdown(chain) for node in chain.walk())


def test_the_page_is_whole_and_asks_nothing_of_the_network(chain: Node) -> None:
    """It opens offline, and what a caller sent cannot become markup."""
    page = to_html(chain, "<script>alert(1)</script>")
    assert "<script" not in page
    assert "http" not in page.replace("http://127.0.0.1:1", "")
    assert all(node.id in page for node in chain.walk())


def test_a_sealed_prediction_names_the_segment_that_proves_it(tmp_path: Path) -> None:
    """The segment whose span holds the id stands beside it, with its digest."""
    settings, ids = home_with_predictions(tmp_path)
    ledger = Ledger(settings.ledger)
    span = {"rows": 3, "first_id": ids[0], "last_id": ids[-1], "size_bytes": 1}
    ledger.append(Segment(id="segment-1", model="loan", digest="segment-digest", uri="file:///s", **span))
    assert "sealed in: segment-1, digest segment-digest" in to_text(
        trace_logged(ledger, settings.predictions_dir, ids[1])
    )


def test_a_release_that_is_not_on_record_is_shown_as_such(tmp_path: Path) -> None:
    """A release can answer for a moment and then fail its last check."""
    settings, _ = home_with_predictions(tmp_path)
    row = {"prediction_id": "x", "release_id": "release-9", "event_time": None, "logged_at": None, "score": 0.5}
    chain = trace(Ledger(settings.ledger), "loan", row)
    assert "not on record" in chain.children[0].title


def test_what_went_in_and_came_out_is_not_rounded(tmp_path: Path) -> None:
    """A claim of 1,234,567.89 was 1.23457e+06; and it is re-scored from what stands there."""
    settings, _ = home_with_predictions(tmp_path)
    row = {"prediction_id": "x", "release_id": "release-9", "event_time": None, "logged_at": None}
    chain = trace(
        Ledger(settings.ledger), "loan", row | {"score": 1125.5014323200412, "amount": 1234567.89, "age": 40.0}
    )
    text = to_text(chain)
    assert "score: 1125.5014323200412" in text
    assert "inputs: amount=1234567.89, age=40\n" in text
    assert outcome_text(1234567.89) == "1234567.89"
    assert outcome_text(1.0) == "1"


@pytest.mark.parametrize("wrong", ["abc", "", "01929f0e-7b1a-7c3e-9d55-0d4f1c1e2a3b"])
def test_an_unknown_or_malformed_id_is_refused(tmp_path: Path, wrong: str) -> None:
    """The error quotes the id."""
    settings, _ = home_with_predictions(tmp_path)
    with pytest.raises(UnknownPredictionError, match=repr(wrong)):
        trace_logged(Ledger(settings.ledger), settings.predictions_dir, wrong)
