"""When a scorer that does not answer is started again."""

from __future__ import annotations

import itertools
from pathlib import Path

from trimtab.services.absences import Absences, readiness_of_routes
from trimtab.settings import Settings


def test_a_scorer_is_restored_when_it_was_missed_twice_in_a_row() -> None:
    """Once may be a roll-out under way; an answer in between starts the count anew."""
    absences = Absences()
    seen = [absences.due({"loan": ready}, now_s) for now_s, ready in enumerate([False, True, False, False])]
    assert seen == [[], [], [], ["loan"]]


def test_what_the_gateway_does_not_say_is_no_absence() -> None:
    """A gateway that is down itself, or has no such route, has nothing restored."""
    absences = Absences()
    assert [absences.due({"loan": None}, now_s) for now_s in range(5)] == [[]] * 5


def test_a_scorer_that_stays_away_is_restored_less_and_less_often() -> None:
    """The pause doubles from 5 s to at most 300 s, so that a broken model does not keep the machine busy."""
    absences = Absences()
    restored = [now_s for now_s in range(2_000) if absences.due({"loan": False}, now_s)]
    pauses = [later - earlier for earlier, later in itertools.pairwise(restored)]
    assert restored[0] == 1
    assert pauses[:7] == [5, 10, 20, 40, 80, 160, 300]
    assert set(pauses[7:]) == {300}


def test_a_model_that_answered_is_restored_at_once_the_next_time() -> None:
    """What was long away and came back has no pause of its past to wait for."""
    absences = Absences()
    for now_s in range(100):
        absences.due({"loan": False}, now_s)
    absences.due({"loan": True}, 100)
    assert [absences.due({"loan": False}, now_s) for now_s in (101, 102)] == [[], ["loan"]]


def test_models_are_counted_each_for_itself() -> None:
    """One model's absence says nothing of another's."""
    absences = Absences()
    absences.due({"loan": False, "parcel": True}, 0)
    assert absences.due({"loan": False, "parcel": False}, 1) == ["loan"]


def test_without_routes_that_can_be_read_nothing_is_missed(tmp_path: Path) -> None:
    """The gateway says what is wrong with its routes; the supervisor does not fall over them."""
    settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path)})
    assert readiness_of_routes(settings) == {}
    (tmp_path / "routes.json").write_text("{")
    assert readiness_of_routes(settings) == {}
