"""The loop closes by itself: decay is ruled, retrained, released, and the next window is quiet."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.loop.stack import Stack, until
from trimtab.predictions.log import PredictionLog
from trimtab.records import Action, Cause, Release, Ruling


def day(month: int, number: int) -> datetime:
    return datetime(2024, month, number, tzinfo=UTC)


def watch(stack: Stack, as_of: datetime) -> Ruling:
    stack.succeed("watch", as_of=as_of.isoformat())
    ruling = stack.ledger.latest(Ruling, stack.name)
    assert ruling is not None
    assert ruling.as_of == as_of
    return ruling


def test_decay_is_ruled_retrained_and_released_with_no_hand_on_it(stack: Stack) -> None:
    stack.succeed("retrain", as_of=day(2, 20).isoformat(), reason="first release")
    first = stack.ledger.latest(Release, stack.name)
    assert first is not None
    assert stack.champion_alias() == "1"

    stack.settle(stack.traffic(day(2, 20), day(2, 22)))
    assert watch(stack, day(2, 22) + timedelta(hours=12)).action is Action.NONE

    stack.settle(stack.traffic(day(3, 5), day(3, 8)))
    with _Traffic(stack, day(3, 8)) as traffic:
        decay = watch(stack, day(3, 8))
        assert decay.action is Action.RETRAIN
        assert any(signal.breached for signal in decay.signals)
        retrainings = until(stack.retrainings, lambda found: len(found) == 2, "the retrain that the automation starts")
        run = until(
            lambda: stack.runs_of("retrain"),
            lambda runs: all(r["state_type"] == "COMPLETED" for r in runs),
            "runs",
        )[0]

    # The automation made the run, with the ruling as its cause.
    automated = [run for run in stack.runs_of("retrain") if (run["created_by"] or {}).get("type") == "AUTOMATION"]
    assert len(automated) == 1, run
    cause = stack.ledger.find(Cause, retrainings[1].cause_id)
    assert cause is not None
    assert (cause.trigger, cause.ruling_id) == ("decay", decay.id)

    second = stack.ledger.latest(Release, stack.name)
    assert second is not None
    assert second.id == retrainings[1].release_id
    assert second.previous_id == first.id
    assert stack.champion_alias() == "2"
    assert stack.gateway.metadata(stack.name)["artifact_digest"] == second.artifact_digest

    # Requests went on throughout: none failed, each is logged once, under the version that answered it.
    assert traffic.failures == []
    log = PredictionLog(stack.settings.predictions_dir / stack.name)
    logged = log.read(day(3, 8), day(3, 9), columns=["prediction_id", "version"]).to_pylist()
    assert sorted(bytes(row["prediction_id"]).hex() for row in logged) == sorted(traffic.answered)
    assert {row["version"] for row in logged} == {"1", "2"}
    assert {bytes(row["prediction_id"]).hex(): row["version"] for row in logged} == traffic.answered

    # The new version is right where the old one was wrong: the next window is quiet.
    stack.settle(stack.traffic(day(3, 9), day(3, 11)))
    assert watch(stack, day(3, 11) + timedelta(hours=12)).action is Action.NONE
    # Watching the same window again neither rules nor fires again.
    entries = stack.ledger.verify()
    watch(stack, day(3, 11) + timedelta(hours=12))
    assert stack.ledger.verify() == entries
    assert len(stack.retrainings()) == 2
    _the_whole_chain_is_on_record(stack, second.id)


def _the_whole_chain_is_on_record(stack: Stack, release_id: str) -> None:
    kinds = {entry.record.kind for entry in stack.ledger.ancestors(release_id)}
    assert kinds >= {
        *("release", "image", "version", "decision", "evaluation", "candidate", "snapshot", "validation"),
        *("cause", "ruling"),
    }
    for entry in stack.ledger.ancestors(release_id):
        if entry.record.kind == "snapshot":
            assert Path(entry.record.uri.removeprefix("file://")).is_file()  # type: ignore[attr-defined]


class _Traffic:
    """Posts one loan after another from a thread, until the block ends."""

    def __init__(self, stack: Stack, at: datetime) -> None:
        self._stack, self._at = stack, at
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._post)
        self.answered: dict[str, str] = {}
        self.failures: list[Exception] = []

    def __enter__(self) -> _Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _post(self) -> None:
        loans = self._stack.model.function("data:load")(
            self._at, self._at + timedelta(hours=1), self._at + timedelta(days=1)
        )
        row = 0
        while not self._stop.wait(0.02):
            try:
                answer = self._stack.predict(loans.iloc[[row % len(loans)]])
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test is about
                self.failures.append(error)
                continue
            self.answered[answer["prediction_id"][0].replace("-", "")] = answer["model_version"]
            row += 1
