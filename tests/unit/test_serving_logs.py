"""Log lines are one JSON object or one line of text each, and say nothing of a request unless that is asked for."""

import io
import json
import logging
import warnings

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import RequestError
from trimtab.serving.logs import FIELDS, JsonFormatter, TextFormatter, configure, log_request
from trimtab.settings import Settings

logger = logging.getLogger("trimtab.serving.test")


@pytest.fixture
def log_lines():
    """Configures the process's log as settings say, and gives the lines that came; puts all back in the end."""
    root, requests = logging.getLogger(), logging.getLogger("trimtab.requests")
    before = (root.level, list(root.handlers), requests.level)
    stream = io.StringIO()

    def start(**env):
        configure(Settings.from_env({f"TRIMTAB_{name.upper()}": value for name, value in env.items()}), stream)
        return lambda: stream.getvalue().splitlines()

    yield start
    logging.captureWarnings(False)
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    requests.setLevel(before[2])


def failing(value):
    """An error of a library that quotes what it was given, under one of ours that does so too."""
    try:
        msgspec.convert({"income": value}, dict[str, int])
    except msgspec.ValidationError as error:
        raise RequestError(400, f"the value is {value}") from error


def test_a_json_line_names_time_level_logger_message_and_what_is_known(log_lines):
    lines = log_lines(log_format="json")
    logger.warning("the scorer is %s", "slow", extra={"model": "loan", "version": "3", "trace_id": "ab", "caller": ""})
    (line,) = map(json.loads, lines())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "trimtab.serving.test",
        "message": "the scorer is slow",
        "model": "loan",
        "version": "3",
        "trace_id": "ab",
    }


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_an_exception_says_is_shown_only_if_asked_for(log_lines, form):
    for asked in ("false", "true"):
        lines = log_lines(log_format=form, log_requests=asked)
        try:
            failing("-".join(["secret", "4712"]))
        except RequestError:
            logger.exception("a batch failed")
        text = "\n".join(lines())
        assert "trimtab.errors.RequestError" in text
        assert "msgspec.ValidationError" in text
        assert "in failing" in text
        assert ("secret-4712" in text) == (asked == "true")
    assert form == "text" or all(json.loads(line) for line in lines())


def test_what_the_operating_system_says_is_always_shown(log_lines):
    lines = log_lines(log_format="json")
    try:
        open("/nowhere/at/all")  # noqa: SIM115
    except OSError as error:
        logger.error("the log cannot be written", exc_info=error)
    assert "No such file or directory: '/nowhere/at/all'" in json.loads(lines()[0])["exception"]


def test_requests_have_a_line_each_only_if_asked_for(log_lines):
    given_fields = {
        "model": "loan",
        "version": "3",
        "status": 200,
        "duration_ms": 1.23456,
        "rows": 2,
        "caller": "branch 7",
        "request_id": "r-1",
        "prediction_id": "0198",
        "trace_id": "4bf9",
    }
    lines = log_lines()
    log_request(**given_fields)
    assert lines() == []
    lines = log_lines(log_requests="true")
    log_request(**given_fields)
    assert lines()[0].endswith(
        "INFO trimtab.requests: request model=loan version=3 request_id=r-1 trace_id=4bf9 prediction_id=0198 "
        'caller="branch 7" status=200 duration_ms=1.235 rows=2'
    )
    lines = log_lines(log_requests="true", log_format="json")
    log_request(**given_fields)
    line = json.loads(lines()[-1])
    assert {name: line[name] for name in FIELDS} == {**given_fields, "duration_ms": 1.235}


def test_a_librarys_warning_is_a_line_too(log_lines):
    lines = log_lines(log_format="json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("this is old", DeprecationWarning, stacklevel=1)
    assert "this is old" in json.loads(lines()[0])["message"]


@given(st.text(), st.text())
def test_no_text_of_a_caller_breaks_a_line_in_two(request_id, caller):
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "GET %s", (caller,), None)
    record.request_id, record.caller = request_id, caller
    text = TextFormatter(show_messages=False).format(record)
    assert len(text.splitlines()) == 1
    line = JsonFormatter(show_messages=False).format(record)
    assert len(line.splitlines()) == 1
    assert json.loads(line).get("request_id", "") == request_id[:200]
