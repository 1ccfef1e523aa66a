"""A storm of decay events starts one retraining: the others' runs end at once, and say why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from tests.loop.stack import FINAL, Stack, until
from trimtab.records import Action, Cause, Release, Ruling, Signal

AT = datetime(2024, 3, 8, tzinfo=UTC)


def test_a_hundred_decay_events_in_an_hour_start_one_retraining(stack: Stack) -> None:
    """Each event has a ruling of its own on record, and they come in any order, some of them twice."""
    stack.succeed("retrain", as_of=datetime(2024, 2, 20, tzinfo=UTC).isoformat(), reason="first release")
    release = stack.ledger.latest(Release, stack.name)
    assert release is not None
    rulings = [_ruling(release, number) for number in range(100)]
    for ruling in rulings:
        stack.ledger.append(ruling)
    events = [_event(ruling) for ruling in (*reversed(rulings), *rulings[::10])]
    stack.http.post(f"{stack.settings.prefect_api_url}/events", json=events).raise_for_status()
    # The automation takes events close together as one: these come past it, as the reconciler's would.
    for ruling in (rulings[40], rulings[0], rulings[0]):
        stack.start("retrain", model=stack.name, cause={"ruling_id": ruling.id})

    runs = until(
        lambda: stack.runs_of("retrain"),
        lambda found: len(found) > 4 and all(run["state_type"] in FINAL for run in found),
        "the runs",
        within_s=480,
    )
    first, *others = sorted(runs, key=lambda run: run["created"])
    assert {run["state_type"] for run in runs} == {"COMPLETED"}
    assert any((run["created_by"] or {}).get("type") == "AUTOMATION" for run in others)
    _, retraining = stack.retrainings()
    cause = stack.ledger.find(Cause, retraining.cause_id)
    assert cause is not None
    assert cause.ruling_id == rulings[0].id
    at_work = [run for run in others if run["state_name"] == "Completed"]
    assert {run["parameters"]["cause"]["ruling_id"] for run in at_work} == {rulings[0].id}
    skipped = [run for run in others if run["state_name"] == "Skipped"]
    assert len(skipped) == len(others) - len(at_work) >= 2
    assert all(run["state"]["message"].startswith("nothing was done: ") for run in skipped)
    assert len(stack.ledger.entries(Cause, stack.name)) == 2
    assert first["state_name"] == "Completed"


def _ruling(release: Release, number: int) -> Ruling:
    end = AT + timedelta(seconds=30 * number)
    return Ruling(
        **{"id": f"ruling-{number:03}", "model": release.model, "release_id": release.id, "validation_id": None},
        **{"start": end - timedelta(days=2), "end": end, "as_of": end, "action": Action.RETRAIN},
        reason="performance is lost",
        signals=(Signal(name="performance.log_loss", value=0.9, threshold=0.6, breached=True, rows=480),),
        policy_digest="policy",
    )


def _event(ruling: Ruling) -> dict[str, object]:
    return {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "trimtab.ruling.retrain",
        "resource": {"prefect.resource.id": f"trimtab.model.{ruling.model}", "prefect.resource.name": ruling.model},
        "payload": {"ruling_id": ruling.id, "model": ruling.model, "reason": ruling.reason},
    }
