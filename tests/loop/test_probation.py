"""A release on probation that does worse than its predecessor goes by itself, and what came back is let be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.loop.stack import FINAL, Stack, until
from trimtab.records import Action, Cause, Release, Retraining, Ruling


def day(month: int, number: float) -> datetime:
    return datetime(2024, month, 1, tzinfo=UTC) + timedelta(days=number - 1)


def watch(stack: Stack, as_of: datetime) -> Ruling:
    stack.succeed("watch", as_of=as_of.isoformat())
    ruling = stack.ledger.latest(Ruling, stack.name)
    assert ruling is not None
    return ruling


def test_a_release_that_does_worse_than_its_predecessor_is_rolled_back_by_itself(stack: Stack) -> None:
    """The concept turns back after the second release: mature outcomes show it, and the first version serves again."""
    stack.succeed("retrain", as_of=day(2, 20).isoformat(), reason="first release")
    stack.succeed("retrain", as_of=day(3, 8).isoformat(), reason="the concept has turned")
    first, second = stack.ledger.records(Release, stack.name)
    assert stack.champion_alias() == "2"

    loans = stack.traffic(day(3, 9), day(3, 11))
    stack.settle(loans.assign(repaid=1 - loans["repaid"]))
    worse = watch(stack, day(3, 11.5))
    assert worse.action is Action.ROLLBACK, worse.reason
    assert "version 2 does worse than its predecessor: log_loss differs by" in worse.reason
    third = until(lambda: stack.ledger.records(Release, stack.name), lambda found: len(found) == 3, "the rollback")[-1]
    runs = until(
        lambda: stack.runs_of("rollback"),
        lambda runs: bool(runs) and all(run["state_type"] in FINAL for run in runs),
        "its run",
    )
    assert [(run["state_type"], run["created_by"]["type"]) for run in runs] == [("COMPLETED", "AUTOMATION")]
    assert (third.version, third.artifact_digest, third.previous_id) == ("1", first.artifact_digest, second.id)
    assert stack.champion_alias() == "1"
    assert stack.gateway.metadata(stack.name)["artifact_digest"] == first.artifact_digest
    why = stack.ledger.find(Cause, third.cause_id)
    assert why is not None
    assert (why.ruling_id, why.reason) == (worse.id, worse.reason)

    # What came back is on no probation of its own, and nothing is retrained or rolled back for it.
    loans = stack.traffic(day(3, 12), day(3, 14))
    stack.settle(loans.assign(repaid=1 - loans["repaid"]))
    after = watch(stack, day(3, 14.5))
    assert after.release_id == third.id
    assert after.action in (Action.NONE, Action.ALERT), after.reason
    assert not any(signal.name.startswith("against_predecessor") for signal in after.signals)
    assert len(stack.runs_of("rollback")) == 1
    assert len(stack.ledger.records(Retraining, stack.name)) == 2
    assert stack.ledger.verify() > 0
