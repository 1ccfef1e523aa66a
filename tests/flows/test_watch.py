"""Watching a real log under a real Prefect server: one ruling a window, on record, announced once, with its report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from flows.close_breaker import close_breaker
from flows.watch import watch
from tasks.monitoring import announce, measure, open_window, payload, profile_of, read_incoming, reconcile
from tasks.monitoring.announce import GRACE
from tests.flows.watched import OTHERS_WARNINGS, RELEASED, World, environment, make_world
from tests.loan_artifact import make_artifact
from trimtab.decay.on_record import read_breaker
from trimtab.errors import PrunedPredictionError, TrimtabError, UnknownModelError
from trimtab.predictions.holds import place_hold
from trimtab.records import Action, Cause, Decision, Pruned, Retraining, Ruling, Segment, Validation, content_id
from trimtab.training.blocks import block_span

DAY = timedelta(days=1)
TURNED = datetime(2024, 3, 1, tzinfo=UTC)

pytestmark = [pytest.mark.usefixtures("prefect"), *OTHERS_WARNINGS]


def test_before_the_first_release_there_is_nothing_to_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is green, returns nothing and leaves nothing."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    world = make_world(tmp_path, released=False)
    assert watch("loan", as_of=RELEASED) is None
    assert world.ledger.entries() == []
    world.release_artifact(make_artifact(world.settings.artifacts_dir), RELEASED)
    assert watch("loan", as_of=RELEASED - DAY) is None


def test_a_calm_window_is_ruled_none_with_a_report_and_artifacts(world: World) -> None:
    """The ruling stands in the ledger with its signals; report, table and picture are there for people."""
    world.traffic(RELEASED, RELEASED + 3 * DAY)
    as_of = RELEASED + 2.5 * DAY
    ruling = watch("loan", as_of=as_of)
    assert ruling is not None
    assert ruling.action is Action.NONE, ruling.reason
    assert world.ledger.latest(Ruling, "loan") == ruling
    names = {signal.name for signal in ruling.signals}
    assert {"rows", "drift.income", "drift.score", "performance.log_loss", "selection_ratio.region"} <= names
    assert (ruling.start, ruling.end, ruling.as_of) == (as_of - 2 * DAY, as_of, as_of)
    assert world.ledger.find(Validation, ruling.validation_id or "") is not None
    page = (world.settings.reports_dir / ruling.report).read_text()
    assert "<title>loan version 1, 2024-02-20 12:00 to 2024-02-22 12:00</title>" in page
    assert "Wasserstein distance (normed)" in page
    front = (world.settings.reports_dir / "index.html").read_text()
    assert f'<a href="{ruling.report}">Evidently report</a>' in front
    assert '<span class="action NONE">NONE</span>' in front
    assert sum(segment.rows for segment in world.ledger.records(Segment)) == 3 * 240
    markdown = artifacts("loan-ruling")[0]["data"]
    assert "data:image/png;base64," in markdown
    assert f"{world.settings.reports_url}/{ruling.report}" in markdown
    assert '"performance.log_loss"' in artifacts("loan-signals")[0]["data"]
    assert events(ruling) == []


def test_a_lost_concept_is_ruled_retrain_and_announced_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ruling is on record before its event; watching the window again returns it and announces nothing."""
    monkeypatch.setenv("TRIMTAB_EVIDENTLY_RUNS", "1")
    world.traffic(TURNED, TURNED + 3 * DAY)
    as_of = TURNED + 2.5 * DAY
    ruling = watch("loan", as_of=as_of)
    assert ruling is not None
    assert ruling.action is Action.RETRAIN, ruling.reason
    assert until(lambda: events(ruling))[0]["payload"] == payload(ruling)
    before = world.ledger.verify()
    assert watch("loan", as_of=as_of) == ruling
    assert world.ledger.verify() == before
    again = watch("loan", as_of=as_of + timedelta(hours=1))
    assert again is not None
    assert again.action is Action.ALERT
    assert "still in flight" in again.reason
    assert until(lambda: events(again))[0]["event"] == "trimtab.ruling.alert"
    assert len(events(ruling)) == 1
    assert len(list(world.settings.evidently_dir.glob("*/snapshots/*"))) == 1


def test_what_is_older_than_the_retention_is_deleted_unless_it_is_held(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch records what it deletes; what a hold covers stays, and the window is judged as before."""
    spec = shutil.copytree(world.settings.models_dir, tmp_path / "models") / "loan" / "spec.py"
    spec.write_text(
        spec.read_text().replace("window=timedelta(days=2),", "window=timedelta(days=2), retention_days=5,")
    )
    monkeypatch.setenv("TRIMTAB_MODELS_DIR", str(tmp_path / "models"))
    firsts = []
    for day in range(2):
        firsts.append(world.traffic(RELEASED + day * DAY, RELEASED + (day + 1) * DAY)[0])
        world.log.seal()
    world.traffic(RELEASED + 6 * DAY, RELEASED + 9 * DAY)
    place_hold(world.ledger, world.log, "loan", "case 1", "Ada", RELEASED, end=RELEASED + timedelta(hours=12))
    ruling = watch("loan", as_of=RELEASED + 8.5 * DAY)
    assert ruling is not None
    assert ruling.action is Action.NONE, ruling.reason
    (pruned,) = world.ledger.records(Pruned, "loan")
    assert (pruned.rows, len(world.ledger.records(Segment))) == (240, 3)
    assert world.log.get(firsts[0])["prediction_id"] == firsts[0]
    with pytest.raises(PrunedPredictionError, match="under the retention of 5 days"):
        world.log.get(firsts[1])


def test_outcomes_that_are_not_mature_or_not_known_are_not_judged(world: World) -> None:
    """Without outcomes there is no performance; the window says so and alerts that they are missing."""
    world.traffic(TURNED, TURNED + 3 * DAY, outcomes=False)
    ruling = watch("loan", as_of=TURNED + 2.5 * DAY)
    assert ruling is not None
    assert ruling.action is Action.ALERT
    assert "100% of 480 mature predictions have no outcome" in ruling.reason
    assert not any(signal.name.startswith("performance.") for signal in ruling.signals)


def test_broken_rows_are_ruled_block_and_never_retrain(world: World) -> None:
    """A column without any value fails the suite: BLOCK, whatever the performance, and the report has the others."""
    world.traffic(TURNED, TURNED + 3 * DAY, changes={"income": lambda _: None})
    ruling = watch("loan", as_of=TURNED + 2.5 * DAY)
    assert ruling is not None
    assert ruling.action is Action.BLOCK
    assert "the incoming data is broken" in ruling.reason
    assert "income" in ruling.reason
    assert (world.settings.reports_dir / ruling.report).is_file()
    assert until(lambda: events(ruling))[0]["event"] == "trimtab.ruling.block"


def test_a_release_that_does_worse_than_its_predecessor_is_ruled_rollback(world: World) -> None:
    """The predecessor's own artifact is scored on the rows that the release answered; a rolled-back one is let be."""
    digest = make_artifact(world.settings.artifacts_dir, seed=1)
    world.release_artifact(digest, RELEASED + 2 * DAY)
    world.traffic(RELEASED + 2 * DAY, RELEASED + 5 * DAY, answer=lambda scores: 1 - scores)
    ruling = watch("loan", as_of=RELEASED + 4.5 * DAY)
    assert ruling is not None
    assert ruling.action is Action.ROLLBACK, ruling.reason
    assert until(lambda: events(ruling))[0]["event"] == "trimtab.ruling.rollback"
    later = open_window.fn("loan", RELEASED + 40 * DAY)
    assert later is not None
    measured = measure.fn(later, read_incoming.fn(later), profile_of(later), None)
    assert measured.performance.against_predecessor is None, "its probation is over"
    world.release_artifact(make_artifact(world.settings.artifacts_dir, seed=2), RELEASED + 5 * DAY, trigger="rollback")
    window = open_window.fn("loan", RELEASED + 6 * DAY)
    assert window is not None
    assert window.predecessor is None


def test_a_release_whose_predecessor_is_gone_is_watched_all_the_same(world: World) -> None:
    """Without its artifact nothing can be rolled back to: the window is judged on the rest, as after a probation."""
    first = world.release
    world.release_artifact(make_artifact(world.settings.artifacts_dir, seed=1), RELEASED + 2 * DAY)
    world.traffic(RELEASED + 2 * DAY, RELEASED + 5 * DAY, answer=lambda scores: 1 - scores)
    shutil.rmtree(world.settings.artifacts_dir / first.artifact_digest)
    ruling = watch("loan", as_of=RELEASED + 4.5 * DAY)
    assert ruling is not None
    assert ruling.action is Action.RETRAIN, ruling.reason
    assert not any(signal.name.startswith("against_predecessor") for signal in ruling.signals)


def test_rows_that_are_blocked_roll_nothing_back(world: World) -> None:
    """What would be worse than its predecessor is not held against it on rows whose outcomes are broken."""
    world.release_artifact(make_artifact(world.settings.artifacts_dir, seed=1), RELEASED + 2 * DAY)
    world.traffic(RELEASED + 2 * DAY, RELEASED + 5 * DAY, answer=lambda scores: 1 - scores)
    window = open_window.fn("loan", RELEASED + 4.5 * DAY)
    assert window is not None
    held_against = [measure.fn(window, read_incoming.fn(window), profile_of(window), None).performance]
    span = (RELEASED + 2 * DAY, RELEASED + 5 * DAY)
    block_span(world.ledger, "loan", *span, "the feed wrote 0", "Ada", RELEASED + 5 * DAY)
    held_against.append(measure.fn(window, read_incoming.fn(window), profile_of(window), None).performance)
    assert [one.against_predecessor is None for one in held_against] == [False, True]


def test_a_window_of_few_rows_is_not_judged(world: World) -> None:
    """Too few rows to say anything: NONE, and the reason says how few."""
    world.traffic(RELEASED, RELEASED + DAY / 2)
    ruling = watch("loan", as_of=RELEASED + 2 * DAY)
    assert ruling is not None
    assert (ruling.action, ruling.reason) == (Action.NONE, "too few rows to judge: 120 of the 200 that are needed")
    empty = watch("loan", as_of=RELEASED + 10 * DAY)
    assert empty is not None
    assert empty.reason == "too few rows to judge: 0 of the 200 that are needed"
    page = world.settings.reports_dir / empty.report
    assert not page.exists()
    assert page.with_name("window.png").is_file()
    (said,) = [one["data"] for one in artifacts("loan-ruling") if empty.id in one["data"]]
    assert "Evidently report" not in said
    assert not [one for one in artifacts("loan-drift-report") if empty.report in one["data"]]


def test_what_cannot_be_watched_is_a_red_run(world: World) -> None:
    """An unknown model and a time without a timezone are refused with the value and what would be right."""
    with pytest.raises(UnknownModelError, match="no model 'lone'"):
        watch("lone")
    with pytest.raises(TrimtabError, match="must have a timezone"):
        watch("loan", as_of=datetime(2024, 3, 1))  # noqa: DTZ001


def test_a_retraining_that_no_automation_started_is_started_once(world: World) -> None:
    """After a grace the reconciler makes the one run that the ruling asked for, and no second."""
    world.traffic(TURNED, TURNED + 3 * DAY)
    ruling = watch("loan", as_of=TURNED + 2.5 * DAY)
    window = open_window.fn("loan", TURNED + 2.6 * DAY)
    assert ruling is not None
    assert window is not None
    later = datetime.now(UTC) + 2 * GRACE
    assert reconcile.fn(window, later) is None, "there is no such deployment yet"
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("retrain")
        deployment_id = client.create_deployment(flow_id, "loan", entrypoint="flows.retrain.retrain")
        assert reconcile.fn(window, datetime.now(UTC)) is None, "the automation still has time"
        run_id = _reconciled(window, later)
        run = client.read_flow_run(run_id)
        assert run.deployment_id == deployment_id
        assert run.parameters == {"model": "loan", "cause": payload(ruling)}
        assert reconcile.fn(window, later) is None
        client.delete_flow_run(run.id)
    world.ledger.append(_retraining(world, ruling))
    assert reconcile.fn(window, later) is None, "it has ended"


def test_of_rulings_close_to_each_other_the_one_that_may_act_is_reconciled(world: World) -> None:
    """The newest would be refused by the policy, for it came while the first was in flight: that one is started."""
    rulings = [_ruling(world, number, Action.RETRAIN) for number in range(3)]
    window = open_window.fn("loan", TURNED + DAY)
    assert window is not None
    later = datetime.now(UTC) + 2 * GRACE
    with get_client(sync_client=True) as client:
        client.create_deployment(client.create_flow_from_name("retrain"), "loan", entrypoint="flows.retrain.retrain")
        run = client.read_flow_run(_reconciled(window, later))
        assert run.parameters["cause"] == payload(rulings[0])
        assert reconcile.fn(window, later) is None
        client.delete_flow_run(run.id)


def test_the_next_watch_of_a_schedule_makes_up_for_a_lost_event_however_late_it_starts(world: World) -> None:
    """A run starts some seconds after its time: rulings of one a window are then more than a window apart."""
    ruling = _ruling(world, 0, Action.RETRAIN)
    window = open_window.fn("loan", ruling.as_of + world.model.spec.window + timedelta(seconds=4))
    much_later = open_window.fn("loan", ruling.as_of + world.model.spec.window + 2 * DAY)
    assert window is not None
    assert much_later is not None
    later = datetime.now(UTC) + 2 * GRACE
    with get_client(sync_client=True) as client:
        client.create_deployment(client.create_flow_from_name("retrain"), "loan", entrypoint="flows.retrain.retrain")
        assert reconcile.fn(much_later, later) is None, "that is old news"
        run = client.read_flow_run(_reconciled(window, later))
        assert run.parameters["cause"] == payload(ruling)
        client.delete_flow_run(run.id)


def test_a_rollback_that_no_automation_started_is_started_once_while_what_was_judged_serves(world: World) -> None:
    """With the ruling's reason; once another release serves nothing is left to bring back."""
    ruling = _ruling(world, 0, Action.ROLLBACK)
    window = open_window.fn("loan", TURNED + DAY)
    assert window is not None
    later = datetime.now(UTC) + 2 * GRACE
    with get_client(sync_client=True) as client:
        client.create_deployment(client.create_flow_from_name("rollback"), "loan", entrypoint="flows.rollback.rollback")
        run = client.read_flow_run(_reconciled(window, later))
        assert run.parameters == {"model": "loan", "reason": ruling.reason, "cause": payload(ruling)}
        assert reconcile.fn(window, later) is None
        client.delete_flow_run(run.id)
    world.release_artifact(make_artifact(world.settings.artifacts_dir, seed=2), TURNED)
    window = open_window.fn("loan", TURNED + DAY)
    assert window is not None
    assert reconcile.fn(window, later) is None


def test_none_is_not_announced(world: World) -> None:
    """A ruling that asks for nothing makes no event."""
    world.traffic(RELEASED, RELEASED + DAY / 2)
    ruling = watch("loan", as_of=RELEASED + 2 * DAY)
    assert ruling is not None
    assert announce.fn(ruling) is False


def _ruling(world: World, number: int, action: Action) -> Ruling:
    """A ruling on record of what serves, by hand."""
    end = TURNED + timedelta(minutes=number)
    ruling = Ruling(
        **{"id": f"ruling-{action}-{number}", "model": "loan", "release_id": world.release.id, "validation_id": None},
        **{"start": end - 2 * DAY, "end": end, "as_of": end, "action": action, "policy_digest": "policy"},
        reason="it is lost",
        signals=(),
    )
    world.ledger.append(ruling)
    return ruling


def _reconciled(window: Any, now: datetime) -> str:
    from prefect import flow

    @flow
    def once() -> str | None:
        return reconcile(window, now)

    run_id = once()
    assert run_id is not None
    return run_id


def _retraining(world: World, ruling: Ruling) -> Retraining:
    from trimtab.records import Cause, Decision

    cause = Cause(
        id=content_id("cause", ruling.id),
        model="loan",
        trigger="decay",
        reason=ruling.reason,
        as_of=ruling.as_of,
        ruling_id=ruling.id,
    )
    world.ledger.append(cause)
    decision = world.ledger.latest(Decision, "loan")
    assert decision is not None
    return Retraining(
        id=content_id("retraining", cause.id),
        model="loan",
        cause_id=cause.id,
        decision_id=decision.id,
        release_id=None,
        as_of=ruling.as_of,
        trigger="decay",
    )


def artifacts(key: str) -> list[dict[str, Any]]:
    """Prefect's artifacts of that key, newest first."""
    with get_client(sync_client=True) as client:
        body = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
        return client._client.post("/artifacts/filter", json=body).json()


def events(ruling: Ruling) -> list[dict[str, Any]]:
    """The events that the server has of a ruling; of this very one, for other tests' windows have the same id."""
    with get_client(sync_client=True) as client:
        body = {"filter": {"event": {"prefix": ["trimtab.ruling."]}}, "limit": 50}
        found = client._client.post("/events/filter", json=body).json()["events"]
    return [event for event in found if event["payload"] == payload(ruling)]


def until(look: Callable[[], Any], deadline_s: float = 180) -> Any:
    """What ``look`` finds, as soon as it finds something."""
    end = time.monotonic() + deadline_s
    while not (found := look()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.1)
    return found


def test_a_person_closes_the_breaker_in_a_run_and_that_is_on_record(world: World) -> None:
    """Who and why, under the run's id; without either, nothing is closed."""
    decision = world.ledger.latest(Decision, "loan")
    assert decision is not None
    for number in range(3):
        at = RELEASED + number * DAY
        cause = Cause(id=f"cause-vain-{number}", model="loan", trigger="manual", reason="try again", as_of=at)
        ended = Retraining(
            **{"id": f"retraining-vain-{number}", "model": "loan", "cause_id": cause.id, "trigger": "manual"},
            **{"decision_id": decision.id, "release_id": None, "as_of": at},
        )
        world.ledger.append(cause)
        world.ledger.append(ended)
    with pytest.raises(TrimtabError, match="needs who closes it"):
        close_breaker("loan", "the feed was repaired", " ")
    assert read_breaker(world.model.spec, world.ledger).is_open
    closing = close_breaker("loan", "the feed was repaired", "Ada", as_of=RELEASED + 3 * DAY)
    assert not read_breaker(world.model.spec, world.ledger).is_open
    kept = world.ledger.get(closing.id)
    assert kept.record == closing
    assert (closing.retraining_id, closing.closed_by) == (ended.id, "Ada")
    assert kept.flow_run_id
