"""The pages that people open, in a real browser: they show what they should, fetch nothing and run nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from trimtab.lineage import Node, to_html
from trimtab.pages.front import Judged, Watched, render_front
from trimtab.pages.validation import write_page
from trimtab.records import Action, FailedExpectation, Ruling, Validation

HOSTILE = "<img src=x onerror=\"document.title='pwned'\">"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Headless Chromium that tells every request it makes."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium is installed (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for switch in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
        *("disable-component-update", "disable-sync", f"user-data-dir={tmp_path_factory.mktemp('chromium')}"),
    ):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chromium = webdriver.Chrome(options=options, service=Service(driver))
    yield chromium
    chromium.quit()


def open_page(browser: webdriver.Chrome, page: Path) -> str:
    """Open a page; returns its text, once it is sure that it asked for nothing else and complained of nothing."""
    # Chromium's own start page asks for much: leave it first.
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get(page.as_uri())
    events: list[dict[str, Any]] = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("data:", "chrome:"))] == [page.as_uri()]
    assert browser.get_log("browser") == []
    assert browser.title != "pwned"
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    return browser.find_element(By.TAG_NAME, "body").text


def test_the_page_of_a_failed_validation_names_what_failed_with_its_numbers_and_rows(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    failed = FailedExpectation(
        expectation="expect_column_values_to_be_between",
        column="age",
        expected="between 18 and 120",
        observed="41 of 960 rows (4.3 %)",
        unexpected_count=41,
        unexpected_percent=4.27,
        sample_rows=({"age": -3, "region": HOSTILE},),
    )
    validation = Validation(
        id="validation-1",
        model="loan",
        subject_id="snapshot-1",
        suite="loan",
        suite_digest="suite-1",
        success=False,
        expectations=6,
        rows=960,
        failed=(failed,),
    )
    write_page(validation, tmp_path / "validation.html")
    text = open_page(browser, tmp_path / "validation.html")
    for said in (
        "loan: validation",
        "5 of 6 hold",
        "age",
        "between 18 and 120",
        "41 of 960 rows (4.3 %)",
        "-3",
        HOSTILE,
    ):
        assert said in text


def test_the_front_page_shows_each_models_rulings_and_fits_a_narrow_window(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    day = datetime(2024, 3, 1, tzinfo=UTC)
    ruling = Ruling(
        **{"id": "ruling-1", "model": "loan", "release_id": "release-1", "validation_id": None, "policy_digest": ""},
        **{"start": day, "end": day + timedelta(days=1), "as_of": day + timedelta(days=1)},
        action=Action.RETRAIN,
        reason=f"log_loss is {'lost' * 40} {HOSTILE}",
        signals=(),
    )
    judged = (Judged(ruling, (("run", "http://127.0.0.1:4200"),)), Judged(ruling, ()))
    page = tmp_path / "index.html"
    page.write_text(render_front([Watched("loan", "2", judged), Watched("parcel", "1", judged[:1])], []))
    browser.set_window_size(500, 800)
    text = open_page(browser, page)
    for said in ("2 models", "loan RETRAIN", "parcel RETRAIN", "version 2", HOSTILE, "earlier rulings (1)"):
        assert said in text


def test_the_page_of_a_lineage_shows_every_record_of_the_chain(browser: webdriver.Chrome, tmp_path: Path) -> None:
    release = Node("release-1", "release", f"release of version 2 {HOSTILE}", (("since", "March"),), "made by")
    prediction = Node("p-1", "prediction", "prediction p-1", (("score", "0.9"),), children=(release,))
    page = tmp_path / "lineage.html"
    page.write_text(to_html(prediction, "What led to one prediction"))
    text = open_page(browser, page)
    for said in (
        "What led to one prediction",
        "prediction p-1",
        "0.9",
        "made by",
        "release of version 2",
        HOSTILE,
        "March",
    ):
        assert said in text
