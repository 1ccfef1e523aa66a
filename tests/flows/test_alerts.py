"""People are told of a change of state: real Prefect server, blocks and automations; mail and webhooks are received."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import http.server
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiosmtpd.controller import Controller
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed

from deployments.apply import apply
from deployments.deliveries import deliveries, send_test
from flows.watch import watch
from tasks.monitoring.tell import message, tell_changes
from tests.flows.watched import OTHERS_WARNINGS, RELEASED, ROOT, World, make_world
from trimtab.checks import check_alerts
from trimtab.decay.policy.state import changes
from trimtab.errors import SpecError
from trimtab.models import load_model
from trimtab.records import Action, Ruling, Signal, StateChange
from trimtab.services import Supervisor
from trimtab.services.definitions import prefect_server
from trimtab.settings import Settings

DAY = timedelta(days=1)
TURNED = datetime(2024, 3, 1, tzinfo=UTC)
ALERTS = """
    alerts=(
        Alert(block="slack-webhook/mail-risk"),
        Alert(block="custom-webhook/on-call", on=("BLOCK", "RETRAIN")),
    ),
    schedule="""

pytestmark = OTHERS_WARNINGS


class Mails:
    """An SMTP server that keeps what it is given."""

    def __init__(self) -> None:
        self.received: list[email.message.EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.received.append(email.message_from_bytes(envelope.content, policy=email.policy.default))  # type: ignore[arg-type]
        return "250 taken"

    def of(self, subject: str) -> list[str]:
        return [mail.get_content() for mail in self.received if mail["Subject"] == subject]


class Hook(http.server.BaseHTTPRequestHandler):
    """An HTTP server that keeps the JSON it is posted."""

    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append({"path": self.path, **json.loads(body)})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def mails() -> Iterator[tuple[Mails, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    kept = Mails()
    controller = Controller(kept, hostname="127.0.0.1", port=port, ready_timeout=120)
    controller.start()
    yield kept, port
    controller.stop()


@pytest.fixture(scope="module")
def hook() -> Iterator[http.server.ThreadingHTTPServer]:
    handler = type("Kept", (Hook,), {"received": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A Prefect server of its own, on a free port."""
    home = tmp_path_factory.mktemp("server")
    settings = Settings.from_env({"TRIMTAB_HOME": str(home), "TRIMTAB_PREFECT_URL": "http://127.0.0.1:0"})
    with (
        Supervisor(settings, services=lambda settings, _: [prefect_server(settings)]) as supervisor,
        temporary_settings({PREFECT_API_URL: supervisor.settings.prefect_api_url}),
    ):
        yield supervisor.settings


@pytest.fixture
def world(
    server: Settings, mails: tuple[Mails, int], hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    """The loan model with two alerts, whose blocks were made as docs/alerts.md says."""
    models = tmp_path / "models"
    shutil.copytree(ROOT / "tests" / "models", models, ignore=shutil.ignore_patterns("__pycache__"))
    spec = models / "loan" / "spec.py"
    text = spec.read_text().replace("SPEC = ", "from trimtab.spec import Alert\n\nSPEC = ")
    spec.write_text(text.replace("\n    schedule=", ALERTS, 1))
    for name in [name for name in os.environ if name.startswith("TRIMTAB_")]:
        monkeypatch.delenv(name)
    world = make_world(tmp_path)
    settings = dataclasses.replace(world.settings, models_dir=models, prefect_url=server.prefect_url)
    for name, value in settings.as_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PREFECT_API_URL", server.prefect_api_url)
    _make_blocks_as_documented(mails[1], hook.server_address[1])
    world.settings, world.model = settings, load_model(models, "loan")
    return world


def _make_blocks_as_documented(smtp_port: int, http_port: int) -> None:
    """Run the code of docs/alerts.md, with the addresses of the servers here in place of its examples."""
    (code,) = re.findall(r"```python\n(from trimtab.*?)```", (ROOT / "docs" / "alerts.md").read_text(), re.DOTALL)
    for example, here in (
        ("mailtos://trimtab:secret@mail.example.org:587/?", f"mailto://127.0.0.1:{smtp_port}/?mode=insecure&"),
        ("https://hooks.example.org/", f"http://127.0.0.1:{http_port}/"),
        ('")\n', '", overwrite=True)\n'),
    ):
        assert example in code
        code = code.replace(example, here)
    exec(compile(code, "docs/alerts.md", "exec"), {})


def until(look: Callable[[], Any], within_s: float = 180) -> Any:
    end = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.1)
    return found


def events(settings: Settings, name: str, **wanted: Any) -> list[dict[str, Any]]:
    """The newest events of that name, and of whatever else is wanted."""
    body = {"filter": {"event": {"name": [name]}, **wanted}, "limit": 50}
    answer = httpx.post(f"{settings.prefect_api_url}/events/filter", json=body, timeout=120)
    return list(answer.raise_for_status().json()["events"])


def sent_for(settings: Settings, *event_ids: str) -> set[str]:
    """The automations that say that they sent a message for one of these events."""
    of = {"id": [f"prefect.event.{each}" for each in event_ids], "role": ["triggering-event"]}
    sent = events(settings, "prefect.automation.action.executed", related=of)
    return {event["resource"]["prefect.resource.id"] for event in sent}


def until_automations_are_known(settings: Settings) -> None:
    """The server takes up new automations on its own time: when both have sent a message for events of our own it has.

    It takes events in their order: all that came before have had their effect.
    """
    probe: dict[str, Any] = {
        **{"event": "trimtab.state.changed", "occurred": datetime.now(UTC).isoformat()},
        "resource": {"prefect.resource.id": "trimtab.model.loan", "trimtab.change": "RETRAIN>BLOCK"},
        "payload": {"subject": "probe", "body": "probe"},
    }
    ids: list[str] = []
    deadline = time.monotonic() + 180
    while not ids or len(sent_for(settings, *ids[-20:])) < 2:
        assert time.monotonic() < deadline, "the server does not take up the automations"
        ids.append(str(uuid4()))
        body = [{**probe, "id": ids[-1]}]
        httpx.post(f"{settings.prefect_api_url}/events", json=body, timeout=120).raise_for_status()
        time.sleep(1)


def broken_data(world: World, name: str) -> Ruling:
    """A BLOCK ruling on what serves, on record."""
    ruling = Ruling(
        **{"id": name, "model": "loan", "release_id": world.release.id, "validation_id": None},
        **{"start": TURNED, "end": TURNED + DAY, "as_of": TURNED + DAY, "action": Action.BLOCK, "policy_digest": "p"},
        reason="the incoming data is broken",
        signals=(Signal(name="failed_expectations", value=1, threshold=0, breached=True, rows=240),),
    )
    world.ledger.append(ruling)
    return ruling


def test_a_change_of_state_is_told_once_with_sentence_numbers_and_links(
    world: World, mails: tuple[Mails, int], hook: Any
) -> None:
    """Decay, the same decay again, and its end: two messages to each, though three windows or more were judged."""
    applied = apply(world.settings)
    assert {f"trimtab: tell {block} of loan" for block in ("slack-webhook/mail-risk", "custom-webhook/on-call")} <= (
        set(applied.created)
    )
    assert apply(world.settings).created == apply(world.settings).updated == ()
    until_automations_are_known(world.settings)

    world.traffic(RELEASED, RELEASED + 3 * DAY)
    world.traffic(TURNED, TURNED + 4 * DAY)
    calm = watch("loan", as_of=RELEASED + 2.5 * DAY)
    lost = watch("loan", as_of=TURNED + 2.5 * DAY)
    assert calm is not None
    assert lost is not None
    assert (calm.action, lost.action) == (Action.NONE, Action.RETRAIN), lost.reason
    (mail,) = until(lambda: mails[0].of("trimtab: loan RETRAIN"))
    assert lost.reason[1:] in mail
    assert "- performance.log_loss: " in mail
    assert f"Report: {world.settings.reports_url}/{lost.report}" in mail
    assert "Before: NONE. Now: RETRAIN (calibration_error, performance, skill)." in mail
    run_id = world.ledger.get(lost.id).flow_run_id
    assert f"Run: {world.settings.prefect_url}/runs/flow-run/{run_id}" in mail
    picture = next(line.removeprefix("Picture: ") for line in mail.splitlines() if line.startswith("Picture: "))
    path = world.settings.reports_dir / picture.removeprefix(f"{world.settings.reports_url}/")
    assert path.read_bytes().startswith(b"\x89PNG")
    (posted,) = until(lambda: [one for one in hook.RequestHandlerClass.received if "RETRAIN*" in one["text"]])
    assert posted["path"] == "/trimtab"
    assert lost.reason[1:] in posted["text"]

    # In the next windows the loss goes on: one message says that the retraining is held back, and then none.
    held = [watch("loan", as_of=TURNED + (2.5 + hours / 24) * DAY) for hours in (6, 12, 18)]
    assert {one.action for one in held if one} == {Action.ALERT}
    assert watch("loan", as_of=TURNED + 2.5 * DAY) == lost
    until(lambda: mails[0].of("trimtab: loan ALERT"))
    changes = world.ledger.records(StateChange, "loan")
    assert [(one.action_before, one.action) for one in changes] == [("NONE", "RETRAIN"), ("RETRAIN", "ALERT")]

    # Its end is told to whoever was told of it: the second asked for BLOCK and RETRAIN, which ALERT has ended.
    world.traffic(TURNED + 10 * DAY, TURNED + 13 * DAY, came=lambda repaid: 1 - repaid)
    over = watch("loan", as_of=TURNED + 12.5 * DAY)
    assert over is not None
    assert over.action is Action.NONE, over.reason
    (mail,) = until(lambda: mails[0].of("trimtab: loan recovered"))
    assert "Now: NONE." in mail
    # A later event of our own has had its effect: the server has worked off all before it.
    until_automations_are_known(world.settings)
    assert len(mails[0].of("trimtab: loan RETRAIN")) == 1
    assert len(mails[0].of("trimtab: loan ALERT")) == 1
    texts = [one["text"].splitlines()[0] for one in hook.RequestHandlerClass.received]
    assert sorted(text for text in texts if "probe" not in text) == ["*trimtab: loan ALERT*", "*trimtab: loan RETRAIN*"]


def test_what_a_server_that_was_down_did_not_take_is_told_by_the_next_watch_once(
    world: World, mails: tuple[Mails, int]
) -> None:
    """The ruling stands, and the change is told when a server answers; killed before that is on record, not again."""
    apply(world.settings)
    until_automations_are_known(world.settings)
    ruling = broken_data(world, "ruling-1")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.raises(httpx.ConnectError):
        tell_changes.fn("loan", datetime.now(UTC))
    assert world.ledger.records(StateChange, "loan") == []
    database = world.settings.home / "ledger.db"
    before = shutil.copy(database, database.with_suffix(".before"))

    (told,) = tell_changes.fn("loan", datetime.now(UTC))
    assert (told.ruling_id, told.action, told.families) == (ruling.id, Action.BLOCK, ("failed_expectations",))
    wanted = {"filter": {"id": {"id": [told.event_id]}}}
    kept = httpx.post(f"{world.settings.prefect_api_url}/events/filter", json=wanted, timeout=30).json()["events"]
    assert len(kept) == 1, "what is on record as told outlives a server that is killed now"
    assert tell_changes.fn("loan", datetime.now(UTC)) == []
    until(lambda: mails[0].of("trimtab: loan BLOCK"))
    for name in ("-wal", "-shm"):
        database.with_name(database.name + name).unlink(missing_ok=True)
    shutil.copy(before, database)
    assert tell_changes.fn("loan", datetime.now(UTC)) == [told]
    until_automations_are_known(world.settings)
    assert len(mails[0].of("trimtab: loan BLOCK")) == 1


def test_a_run_that_fails_is_told_with_why_and_where(world: World, mails: tuple[Mails, int], hook: Any) -> None:
    """Of the model's own flows, to whoever asked for it: no retraining that decay started fails unseen."""
    apply(world.settings)
    until_automations_are_known(world.settings)
    with get_client(sync_client=True) as client:
        for name, parameters in (("dossier/dossier", {"prediction_id": "1"}), ("retrain/loan", {})):
            deployment = client.read_deployment_by_name(name)
            run = client.create_flow_run_from_deployment(
                deployment.id, parameters=parameters, name=f"run of {deployment.name}"
            )
            client.set_flow_run_state(run.id, Failed(message="rows of 2024 failed 1 expectation"), force=True)
    (mail,) = until(lambda: mails[0].of("trimtab: loan retrain failed"))
    assert "The run 'run of loan' ended as Failed: rows of 2024 failed 1 expectation" in mail
    assert f"Run: {world.settings.prefect_url}/runs/flow-run/{run.id}" in mail
    until_automations_are_known(world.settings)
    subjects = [str(one["subject"]) for one in mails[0].received]
    assert [subject for subject in subjects if "failed" in subject] == ["trimtab: loan retrain failed"]
    assert not any("retrain failed" in one["text"] for one in hook.RequestHandlerClass.received)


def test_a_block_that_is_not_there_is_named_before_anything_is_written(world: World) -> None:
    """Apply refuses the plan as a whole and says what to make, and a block of another kind sends no messages."""
    spec = world.settings.models_dir / "loan" / "spec.py"
    Secret(value="no voice").save("risk", overwrite=True)
    text = spec.read_text().replace("slack-webhook/mail-risk", "slack-webhook/nobody")
    spec.write_text(text.replace("custom-webhook/on-call", "secret/risk"))
    with pytest.raises(SpecError, match="docs/alerts") as refused:
        apply(world.settings)
    assert "slack-webhook/nobody (trimtab: tell slack-webhook/nobody of loan) is not there" in str(refused.value)
    assert "secret/risk (trimtab: tell secret/risk of loan) is no notification block" in str(refused.value)


def test_what_was_not_delivered_is_seen_and_a_test_message_shows_it_beforehand(
    world: World, mails: tuple[Mails, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a webhook that is not there Prefect itself says nothing at all; the mail beside it is delivered."""
    apply(world.settings)
    until_automations_are_known(world.settings)
    CustomWebhookNotificationBlock(name="on-call", url="http://127.0.0.1:9/").save("on-call", overwrite=True)
    began = datetime.now(UTC)

    def mail_is_said_to_be_sent() -> bool:
        tests = events(world.settings, "trimtab.state.changed", occurred={"since": began.isoformat()})
        ids = [event["id"] for event in tests if event["payload"]["subject"] == "trimtab: loan test"]
        return bool(ids and sent_for(world.settings, *ids))

    # The mail takes as long as this machine needs; only then what nothing was said of for long is lost.
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr("deployments.deliveries.UNDER_WAY_FOR", DAY)
        asked = pool.submit(send_test, world.settings, world.model.spec)
        try:
            until(mail_is_said_to_be_sent)
        finally:
            monkeypatch.setattr("deployments.deliveries.UNDER_WAY_FOR", timedelta(seconds=15))
    mail, webhook = asked.result()
    assert (mail.alert, webhook.alert) == (
        "trimtab: tell slack-webhook/mail-risk of loan",
        "trimtab: tell custom-webhook/on-call of loan",
    )
    assert [one.lost for one in mail.deliveries] == [""]
    assert "A test: messages about loan reach you." in mails[0].of("trimtab: loan test")[0]
    assert "Prefect does not say why" in str(webhook.deliveries[0].lost)
    before = check_alerts(world.settings)
    assert all(each.ok for each in before)
    assert before[1].detail == "nothing to tell in 6 days", "a test is none that was asked for"

    began = datetime.now(UTC)
    broken_data(world, "ruling-2")
    tell_changes.fn("loan", datetime.now(UTC))
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("watch/loan")
        run = client.create_flow_run_from_deployment(deployment.id)
        client.set_flow_run_state(run.id, Failed(message="no disk"), force=True)
    told = lambda: [  # noqa: E731
        [one.lost and "lost" for one in each.deliveries if one.asked_at > began]
        for each in deliveries(world.settings, [world.model.spec])
    ]
    until(lambda: told() == [[""], ["lost"], [""]])
    good, lost, failed_run = check_alerts(world.settings)
    assert good.ok
    assert failed_run.ok
    assert not lost.ok
    assert lost.detail.startswith("1 of 1 messages in 6 days were not delivered, the last of ")

    with get_client(sync_client=True) as client:
        paused = [each for each in client.read_automations() if each.name in (mail.alert, webhook.alert)]
        for each in paused:
            client.pause_automation(each.id)
    assert [one.hindrance for one in send_test(world.settings, world.model.spec)] == [
        "its automation is paused in Prefect",
        "its automation is paused in Prefect",
    ]
    with get_client(sync_client=True) as client:
        for each in paused:
            client.resume_automation(each.id)


def test_a_message_of_many_breached_signals_is_short_enough_for_a_chat(world: World) -> None:
    """Of a model of a thousand features that all drift the first numbers are told, and how many more there are."""
    drifted = [Signal(name=f"drift.f{number}", value=1, threshold=0.2, breached=True, rows=1) for number in range(1000)]
    ruling = broken_data(world, "ruling-3").model_copy(update={"signals": tuple(drifted)})
    (change,) = changes([ruling])
    body = message(change, "1", world.settings, "")["body"]
    assert body.count("- drift.f") == 20
    assert "- and 980 more: see the report and the run" in body
    assert len(body) < 4000
