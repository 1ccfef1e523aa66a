"""The reports' front page: every model's newest rulings, and links to what is there, and to nothing else."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.chain import home_with_predictions
from trimtab.ledger import Ledger
from trimtab.pages.front import SHOWN_RULINGS, Judged, Watched, render_front, write_front_page
from trimtab.records import Action, Decision, FailedExpectation, Release, Retraining, Ruling, Snapshot, Validation
from trimtab.settings import Settings

START = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> tuple[Settings, Ledger, Release]:
    """A home with a released model and one ruling."""
    settings, _ = home_with_predictions(tmp_path)
    ledger = Ledger(settings.ledger)
    release = ledger.records(Release)[-1]
    return settings, ledger, release


def ruling(number: int, release: str, model: str, action: Action = Action.NONE, reason: str = "nothing") -> Ruling:
    start = START + timedelta(days=number)
    return Ruling(
        id=f"ruling-of-day-{number}",
        model=model,
        release_id=release,
        validation_id=None,
        start=start,
        end=start + timedelta(days=1),
        as_of=start + timedelta(days=1),
        action=action,
        reason=reason,
        signals=(),
        policy_digest="",
        report=f"{model}/day-{number}/drift.html",
    )


def failed_validation(model: str, subject: str) -> Validation:
    """Of a retraining's rows: one expectation failed."""
    failure = FailedExpectation(
        expectation="between", column="<amount>", expected="at most 9", observed="3 of 240 rows"
    )
    return Validation(
        id="validation-of-a-retraining",
        model=model,
        subject_id=subject,
        suite="loan",
        suite_digest="0",
        success=False,
        expectations=4,
        rows=240,
        failed=(failure,),
    )


def page_of(settings: Settings) -> str:
    write_front_page(settings)
    return (settings.reports_dir / "index.html").read_text()


def test_before_any_release_the_page_says_that_there_is_none(tmp_path: Path) -> None:
    """An empty home has a page all the same."""
    assert "No model was released yet" in page_of(Settings.from_env({"TRIMTAB_HOME": str(tmp_path)}))


def test_a_model_is_there_from_its_first_release_on(home: tuple[Settings, Ledger, Release]) -> None:
    """Before a window was judged, with what serves; and with why it does not, if its first retraining stopped."""
    settings, ledger, release = home
    ledger.append(release.model_copy(update={"id": "release-of-claims", "model": "claims"}))
    ledger.append(failed_validation("parcel", ledger.records(Snapshot, release.model)[-1].id))
    page = page_of(settings)
    claims, parcel = (page.split(f'<section id="{model}">')[1].split("</section>")[0] for model in ("claims", "parcel"))
    assert f"version {release.version}, since {release.since:%Y-%m-%d %H:%M} UTC" in claims
    assert "No window was judged yet" in claims
    assert "No version was released yet." in parcel
    assert "The last retraining stopped: 1 expectation" in parcel


def test_it_links_to_what_is_there_only(home: tuple[Settings, Ledger, Release]) -> None:
    """A report or a picture that was removed, or never drawn, has no link that leads nowhere."""
    settings, ledger, release = home
    for number in (1, 2):
        ledger.append(ruling(number, release.id, release.model), flow_run_id=f"run-{number}")
    there = settings.reports_dir / release.model / "day-1"
    there.mkdir(parents=True)
    for name in ("drift.html", "window.png"):
        (there / name).touch()
    page = page_of(settings)
    links = [link for link in re.findall(r'href="([^"]+)"', page) if not link.startswith("http")]
    assert {f"{release.model}/day-1/drift.html", f"{release.model}/day-1/window.png"} <= set(links)
    assert all((settings.reports_dir / link).exists() for link in links)
    assert f'href="{settings.prefect_url}/runs/flow-run/run-2"' in page


def test_the_ruling_of_the_latest_window_comes_first_and_of_the_rest_a_dozen(
    home: tuple[Settings, Ledger, Release],
) -> None:
    """Whatever the order in which windows were judged."""
    settings, ledger, release = home
    for number in (*range(1, 20), 0):
        ledger.append(ruling(number, release.id, release.model, reason=f"day {number}"))
    said = re.findall(r"Day (\d+)\.", page_of(settings))
    assert said == [str(number) for number in (*range(19, 19 - SHOWN_RULINGS + 1, -1), 0)]


def test_a_retraining_that_stopped_is_told_until_another_ends(home: tuple[Settings, Ledger, Release]) -> None:
    """With what failed and where to read on; the validation of a window's rows is no retraining's."""
    settings, ledger, release = home
    ledger.append(ruling(1, release.id, release.model, Action.RETRAIN))
    failed = failed_validation(release.model, ledger.records(Snapshot, release.model)[-1].id)
    of_rows = failed.model_copy(update={"id": "validation-of-a-window", "subject_id": release.id})
    ledger.append(of_rows)
    assert "last retraining stopped" not in page_of(settings)
    ledger.append(failed, flow_run_id="run-7")
    page = page_of(settings)
    assert "1 expectation of suite loan failed on its 240 rows (&lt;amount&gt;: at most 9, observed 3 of 240" in page
    assert f'href="{settings.prefect_url}/runs/flow-run/run-7"' in page
    decision = ledger.records(Decision, release.model)[-1]
    ledger.append(
        Retraining(
            id="retraining-later",
            model=release.model,
            cause_id=release.cause_id,
            decision_id=decision.id,
            release_id=None,
            as_of=START,
            trigger="manual",
        )
    )
    assert "last retraining stopped" not in page_of(settings)


def test_each_action_has_its_colour_and_text_is_never_markup() -> None:
    """What a model, or a value of its data, is called does not change the page."""
    hostile = "<script>alert(1)</script>"
    watched = [
        Watched(f"model-{action}", hostile, (Judged(ruling(1, "release", "loan", action, hostile), ()),))
        for action in Action
    ]
    page = render_front(watched, [(hostile, '"onmouseover="alert(1)')])
    assert hostile not in page
    assert '"onmouseover="' not in page
    for action in Action:
        assert f'<span class="action {action}">{action}</span>' in page
        assert f".{action}{{background:" in page
        assert f'<a href="#model-{action}">' in page
        assert f'<section id="model-{action}">' in page
