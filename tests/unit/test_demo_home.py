"""The demo's home: cleared only where it is the demo's own and nobody lives in it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from demo.__main__ import ALL_WEEKS, QUICK_WEEKS, arguments
from demo.errors import DemoError
from demo.home import MARKER, clean_home


def test_a_second_demo_starts_clean(tmp_path: Path) -> None:
    """What an earlier demo left in its home is gone; the marker is there for the next."""
    home = tmp_path / "home"
    clean_home(home)
    (home / "ledger.db").write_text("old")
    clean_home(home)
    assert [path.name for path in home.iterdir()] == [MARKER]


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    """A folder that holds anything and has no marker is refused, and nothing in it is touched."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DemoError, match="no home of an earlier demo"):
        clean_home(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """A home that is a file is refused."""
    (tmp_path / "home").write_text("")
    with pytest.raises(DemoError, match="name another folder"):
        clean_home(tmp_path / "home")


def test_a_home_in_use_is_refused(tmp_path: Path) -> None:
    """While a demo runs in the home, a second says so and removes nothing."""
    home = tmp_path / "home"
    clean_home(home)
    with (home / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DemoError, match="already running"):
            clean_home(home)
    assert (home / "up.lock").is_file()


def test_weeks_follow_from_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """The whole year by default, fewer with --quick, as many as are named; others are refused."""
    assert arguments([]).weeks == ALL_WEEKS
    assert arguments(["--quick"]).weeks == QUICK_WEEKS
    assert arguments(["--weeks", "3"]).weeks == 3
    with pytest.raises(SystemExit):
        arguments(["--weeks", "99"])
    assert f"from 1 to {ALL_WEEKS}" in capsys.readouterr().err
