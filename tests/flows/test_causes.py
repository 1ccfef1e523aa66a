"""A run's cause is believed only as far as the ledger bears it out, and stands at a moment that can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.causes import moment, refused, retrain_cause, rollback_cause
from flows.retrain import refuse_if_overtaken
from tests.chain import home_with_predictions
from trimtab.errors import RolloutError, SpecError, UnknownModelError
from trimtab.ledger import Ledger
from trimtab.records import Action, Candidate, Cause, Release, Ruling
from trimtab.settings import Settings

AS_OF = datetime(2024, 3, 8, tzinfo=UTC)


@pytest.fixture
def ruling(settings_env: Settings) -> Ruling:
    """A RETRAIN ruling on the loan model that is on record."""
    home_with_predictions(settings_env.home)
    found = Ledger(settings_env.ledger).find(Ruling, "ruling-1")
    assert found is not None
    assert found.action is Action.RETRAIN
    return found


def test_an_event_whose_ruling_is_on_record_is_its_cause(ruling: Ruling) -> None:
    payload = {"ruling_id": ruling.id, "model": "loan", "as_of": "1999-01-01T00:00:00Z", "reason": "forged"}
    cause = retrain_cause("loan", None, "", payload)
    assert (cause.trigger, cause.ruling_id) == ("decay", ruling.id)
    assert cause.reason != "forged", "what the event says besides the id is not believed"


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"x": 1}, "'' is not on record; it must name a RETRAIN ruling on loan"),
        ({"ruling_id": "ruling-9"}, "'ruling-9' is not on record"),
        ({"ruling_id": None}, "not on record"),
    ],
)
def test_an_event_that_no_ruling_bears_out_retrains_nothing(ruling: Ruling, payload: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        retrain_cause("loan", None, "", payload)


def test_a_ruling_that_asks_for_something_else_starts_nothing(ruling: Ruling, settings_env: Settings) -> None:
    alert = ruling.model_copy(update={"id": "ruling-alert", "action": Action.ALERT})
    Ledger(settings_env.ledger).append(alert)
    with pytest.raises(SpecError, match="is a ruling ALERT on loan; it must name a RETRAIN ruling on loan"):
        retrain_cause("loan", None, "", {"ruling_id": alert.id})
    with pytest.raises(SpecError, match="is a ruling RETRAIN on loan; it must name a ROLLBACK ruling on loan"):
        rollback_cause("loan", None, "", {"ruling_id": ruling.id})
    with pytest.raises(SpecError, match="is a ruling RETRAIN on loan; it must name a ROLLBACK ruling on other"):
        rollback_cause("other", None, "", {"ruling_id": ruling.id})


def test_a_cause_of_a_key_is_the_same_cause_again(ruling: Ruling, settings_env: Settings) -> None:
    first = retrain_cause("loan", None, "", {"key": "april"})
    Ledger(settings_env.ledger).append(first)
    assert retrain_cause("loan", None, "another reason", {"key": "april"}) == first


def test_an_unknown_model_has_no_cause(settings_env: Settings) -> None:
    with pytest.raises(UnknownModelError, match="no model 'lone'"):
        retrain_cause("lone", AS_OF, "", {})


@pytest.mark.parametrize(
    ("as_of", "says"),
    [
        (datetime(2024, 3, 8), "must have a timezone"),  # noqa: DTZ001
        (datetime(9999, 12, 31, tzinfo=UTC), "must lie between 1970 and now"),
        (datetime(1, 1, 1, tzinfo=UTC), "must lie between 1970 and now"),
    ],
)
def test_a_moment_at_which_no_run_can_stand_is_refused(as_of: datetime, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        moment(as_of)


def test_a_moment_is_told_in_utc_and_is_now_by_default() -> None:
    assert moment(AS_OF.astimezone()) == AS_OF
    assert abs(moment(None) - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_run_brings_nothing_back_that_was_taken_out_of_service_since(ruling: Ruling, settings_env: Settings) -> None:
    """A retraining that was killed after its release and is run again once that was rolled back ends as Skipped."""
    ledger = Ledger(settings_env.ledger)
    cause, released = ledger.find(Cause, "cause-2"), ledger.latest(Release, "loan")
    assert cause is not None
    assert released is not None
    assert released.cause_id == cause.id
    assert refused(cause) is None
    ledger.append(cause.model_copy(update={"id": "cause-3", "trigger": "rollback", "ruling_id": None}))
    back = released.model_copy(
        update={"id": "release-3", "version": "1", "cause_id": "cause-3", "previous_id": released.id}
    )
    ledger.append(back)
    state = refused(cause)
    assert state is not None
    assert (state.name, state.is_completed()) == ("Skipped", True)
    assert state.message == "nothing was done: what cause-2 has released was followed by version 1 (release-3)"


def test_a_winner_is_not_released_over_a_champion_that_it_was_never_compared_with(
    ruling: Ruling, settings_env: Settings
) -> None:
    """A rollback has come between evaluation and roll-out: the run is red, and may be run again."""
    ledger = Ledger(settings_env.ledger)
    why = Cause(id="cause-4", model="loan", trigger="manual", reason="new rows", as_of=AS_OF)
    champion, older = ledger.find(Candidate, "candidate-2"), ledger.find(Candidate, "candidate-1")
    refuse_if_overtaken(champion, why)
    with pytest.raises(RolloutError, match=r"was candidate-1 when .* and is candidate-2 now"):
        refuse_if_overtaken(older, why)
