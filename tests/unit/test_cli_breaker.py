"""A person sees how the breaker stands and closes it; who, why and when go on record. Runs may ask whether they may."""

from __future__ import annotations

from datetime import timedelta

import pytest
from typer.testing import CliRunner

from tests.chain import LATE, home_with_predictions
from trimtab.cli import app
from trimtab.decay.on_record import read_history, refusal
from trimtab.decay.policy import breaker, retrain_cause_id
from trimtab.errors import TrimtabError
from trimtab.ledger import Ledger
from trimtab.models import load_model
from trimtab.records import Action, BreakerClosed, Cause, Decision, Release, Retraining, Ruling
from trimtab.settings import Settings
from trimtab.spec import ModelSpec

DAY = timedelta(days=1)


@pytest.fixture
def ledger(settings_env: Settings) -> Ledger:
    """A ledger in which two releases of the loan model are on record, the second since `LATE`."""
    home_with_predictions(settings_env.home)
    return Ledger(settings_env.ledger)


@pytest.fixture
def spec(settings_env: Settings) -> ModelSpec:
    return load_model(settings_env.models_dir, "loan").spec


def asked(ledger: Ledger, name: str, day: float, action: Action = Action.RETRAIN) -> Ruling:
    """A ruling on what serves, so many days after the tenth of its service."""
    release = ledger.latest(Release, "loan")
    known = ledger.find(Ruling, "ruling-1")
    assert known is not None
    assert release is not None
    at = LATE + (10 + day) * DAY
    changed = {"id": f"ruling-asked-{name}", "release_id": release.id, "as_of": at, "end": at, "action": action}
    ruling = known.model_copy(update=changed)
    ledger.append(ruling)
    return ruling


def ended_in_vain(ledger: Ledger, ruling: Ruling) -> Retraining:
    decision = ledger.latest(Decision, "loan")
    assert decision is not None
    cause = Cause(
        **{"id": retrain_cause_id(ruling.id), "model": "loan", "trigger": "decay", "reason": ruling.reason},
        **{"as_of": ruling.as_of, "ruling_id": ruling.id},
    )
    ended = Retraining(
        **{"id": f"retraining-{ruling.id}", "model": "loan", "cause_id": cause.id, "decision_id": decision.id},
        **{"release_id": None, "as_of": ruling.as_of, "trigger": "decay"},
    )
    ledger.append(cause)
    ledger.append(ended)
    return ended


def run(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["breaker", *arguments])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.output


def test_a_person_closes_an_open_breaker_and_that_is_on_record(ledger: Ledger) -> None:
    assert "is closed (0 of 3 retrainings in vain)" in run("show", "loan")
    with pytest.raises(TrimtabError, match=r"the breaker of loan is not open: 0 retrainings .* 3 open it"):
        run("close", "loan", "--reason", "why not")
    last = [ended_in_vain(ledger, asked(ledger, str(day), 5 * day)) for day in range(3)][-1]
    shown = run("show", "loan")
    assert "is open: no decay starts a retraining (3 of 3 retrainings in vain)" in shown
    assert shown.count("kept the champion") == 3
    with pytest.raises(TrimtabError, match="needs a reason"):
        run("close", "loan", "--reason", " ")
    run("close", "loan", "--reason", "the source is right again", "--by", "Ada", "--as-of", "2024-04-01")
    (closing,) = ledger.records(BreakerClosed, "loan")
    assert (closing.retraining_id, closing.closed_by, closing.reason) == (last.id, "Ada", "the source is right again")
    shown = run("show", "loan")
    assert "is closed (0 of 3 retrainings in vain)" in shown
    assert "closed by Ada at" in shown
    assert ledger.verify() > 0
    with pytest.raises(TrimtabError, match="is not open"):
        run("close", "loan", "--reason", "again")


def test_a_breaker_that_was_closed_from_too_late_on_can_be_closed_from_an_earlier_moment(
    ledger: Ledger, spec: ModelSpec
) -> None:
    """In a replay of history a closing as of now counts for no ruling, and would keep the breaker open for good."""
    for day in range(3):
        ended_in_vain(ledger, asked(ledger, str(day), 5 * day))
    with pytest.raises(TrimtabError, match=r"as_of is 2999-01-01.*not yet here"):
        run("close", "loan", "--reason", "for ever", "--as-of", "2999-01-01")
    at = LATE + 40 * DAY
    stands = lambda: breaker(spec.policy.breaker, read_history(ledger, "loan").until(at)).is_open  # noqa: E731
    run("close", "loan", "--reason", "the feed was repaired", "--by", "Ada")
    assert stands()
    run("close", "loan", "--reason", "the feed was repaired", "--by", "Ada", "--as-of", at.isoformat())
    assert not stands()
    assert f"for rulings from {at:%Y-%m-%d %H:%M:%S} on: the feed was repaired" in run("show", "loan")
    with pytest.raises(TrimtabError, match="is not open"):
        run("close", "loan", "--reason", "once more", "--as-of", at.isoformat())


def test_of_rulings_close_to_each_other_the_first_on_record_may_act(ledger: Ledger, spec: ModelSpec) -> None:
    """Whatever the order in which their runs come; also when the first has ended."""
    rulings = [asked(ledger, str(number), number / 24) for number in range(5)]
    assert [refusal(spec, ledger, ruling) is None for ruling in rulings] == [True, False, False, False, False]
    assert "is still in flight" in str(refusal(spec, ledger, rulings[4]))
    ended_in_vain(ledger, rulings[0])
    assert [refusal(spec, ledger, ruling) is None for ruling in rulings] == [True, False, False, False, False]
    assert refusal(spec, ledger, asked(ledger, "later", 9)) is None


def test_a_ruling_on_what_no_longer_serves_starts_nothing(ledger: Ledger, spec: ModelSpec) -> None:
    """Neither a retraining nor a rollback, which would take the wrong release away."""
    old = ledger.find(Ruling, "ruling-1")
    assert old is not None
    for action in (Action.RETRAIN, Action.ROLLBACK):
        other = old.model_copy(update={"id": f"ruling-old-{action}", "action": action})
        ledger.append(other)
        assert "which no longer serves: version 2" in str(refusal(spec, ledger, other))
    assert refusal(spec, ledger, asked(ledger, "new", 9, Action.ROLLBACK)) is None


def test_the_history_before_a_record_is_what_was_recorded_before_it(ledger: Ledger) -> None:
    """By the order of the ledger, not of event times: that is the same for whoever asks, whenever."""
    late, early = asked(ledger, "late", 9), asked(ledger, "early", 5)
    assert late in read_history(ledger, "loan", before=early.id).rulings
    assert early not in read_history(ledger, "loan", before=late.id).rulings
