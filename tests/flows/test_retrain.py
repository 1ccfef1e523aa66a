"""The retrain flow on a real Prefect, MLflow and gateway: released, kept, refused, and killed anywhere."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from tests.flows.retrains import Retrains
from tests.models.parcel.data import load as load_parcels
from trimtab.backtest.results import Backtest
from trimtab.cli import app
from trimtab.errors import TrimtabError
from trimtab.records import (
    Action,
    Candidate,
    Decision,
    Evaluation,
    Release,
    Retraining,
    Ruling,
    Signal,
    Snapshot,
    Validation,
)
from trimtab.release.processes import ProcessRuntime
from trimtab.services import Service, Supervisor, stack_services
from trimtab.services.definitions import environment
from trimtab.serving.client import GatewayClient
from trimtab.settings import Settings

TESTS = Path(__file__).parents[1]
BEFORE, LATER, TURNED = (datetime(2024, month, day, tzinfo=UTC) for month, day in ((2, 20), (2, 22), (3, 12)))
STEPS = [
    *("record cause", "take training snapshot of loan", "record snapshot"),
    *("take evaluation snapshot of loan", "record snapshot (2)"),
    *("validate training snapshot of loan", "record validation"),
    *("validate evaluation snapshot of loan", "record validation (2)"),
    *("train boosting for loan", "record candidate", "evaluate loan", "record evaluation"),
    *("record decision", "show decision on loan", "note decision on loan", "make the reference of loan"),
    *("register boosting of loan", "record version", "build image of loan 2", "record image"),
    *("plan release of loan 2", "start loan 2", "check golden rows of loan 2"),
    *("switch loan to 2", "verify that loan 2 serves", "record release"),
    *("promote loan 2", "drain what loan 2 replaced", "record retraining"),
]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
TURNED_BACK = TURNED + 2 * DAY
COMPETING = """
from datetime import UTC, datetime

from trimtab.spec import TrainingWindow

SPEC = SPEC.model_copy(
    update={
        "training": Training(
            windows=(
                TrainingWindow(name="all", span="all"),
                TrainingWindow(name="recent", span=timedelta(days=5)),
                TrainingWindow(name="change", span="since_change"),
            ),
            window=timedelta(days=5),
            earliest=datetime(2024, 3, 2, tzinfo=UTC),
            evaluation_window=timedelta(days=1),
            minimum_rows=200,
        )
    }
)
"""
LOAN = {"income": [40.0, None], "age": [30, 61], "region": ["north", "mars"], "employed": [True, None]}


@pytest.fixture(scope="module")
def retrains(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retrains]:
    """A stack without a worker, in an empty home; the tests of this module follow each other on it."""

    def all_but_the_worker(settings: Settings, worker: str) -> list[Service]:
        return [service for service in stack_services(settings, worker) if service.name not in ("worker", "reports")]

    wanted = {
        "TRIMTAB_HOME": str(tmp_path_factory.mktemp("stack") / "home"),
        "TRIMTAB_MODELS_DIR": str(TESTS / "models"),
        "TRIMTAB_SUITES_DIR": str(TESTS / "expectations"),
        "TRIMTAB_RUNTIME": "process",
        **{f"TRIMTAB_{name}_URL": "http://127.0.0.1:0" for name in ("PREFECT", "MLFLOW", "GATEWAY", "REPORTS")},
    }
    with (
        Supervisor(Settings.from_env(wanted), services=all_but_the_worker) as supervisor,
        Retrains(supervisor.settings) as started,
    ):
        yield started


def alias(settings: Settings) -> str:
    answer = httpx.get(
        f"{settings.mlflow_url}/api/2.0/mlflow/registered-models/alias",
        params={"name": "loan", "alias": "champion"},
        timeout=30,
        trust_env=False,
    )
    return str(answer.json()["model_version"]["version"])


def versions(settings: Settings) -> list[str]:
    answer = httpx.get(
        f"{settings.mlflow_url}/api/2.0/mlflow/model-versions/search",
        params={"filter": "name='loan'"},
        timeout=30,
        trust_env=False,
    )
    return sorted(version["version"] for version in answer.json().get("model_versions", []))


def running(settings: Settings) -> list[str]:
    return sorted(ProcessRuntime(settings.releases_dir).running("loan"))


def test_without_a_champion_the_first_candidate_is_released(retrains: Retrains) -> None:
    """The first run goes from rows to a release that answers, and states each step on record."""
    run = retrains.run(BEFORE, "first")
    assert run.ended == "completed", run.error
    assert run.retraining is not None
    assert run.retraining.release_id is not None
    release = retrains.ledger.latest(Release, "loan")
    assert release is not None
    assert release.id == run.retraining.release_id
    assert retrains.gateway.metadata("loan")["artifact_digest"] == release.artifact_digest
    assert len(retrains.gateway.infer("loan", LOAN)["score"]) == 2
    assert alias(retrains.settings) == release.version == "1"
    chain = [entry.record.kind for entry in reversed(retrains.ledger.ancestors(run.retraining.id))]
    assert chain == [
        *("cause", "snapshot", "snapshot", "validation", "candidate", "evaluation", "decision", "version", "image"),
        *("release", "retraining"),
    ]


def test_a_cause_is_retrained_once(retrains: Retrains) -> None:
    """Running again for a cause that has ended returns what is on record and does nothing."""
    before = retrains.ledger.head()
    run = retrains.run(BEFORE, "first")
    assert run.retraining == retrains.ledger.latest(Retraining, "loan")
    assert run.tasks == ["record cause"]
    assert retrains.ledger.head() == before


def test_a_candidate_that_is_no_better_keeps_the_champion(retrains: Retrains) -> None:
    """Two days later nothing has changed: the run is green, the decision has its numbers, and version 1 serves on."""
    run = retrains.run(LATER, "later")
    assert run.ended == "completed", run.error
    assert run.retraining is not None
    assert run.retraining.release_id is None
    decision = retrains.ledger.latest(Decision, "loan")
    assert decision is not None
    assert "the champion is kept" in decision.reason
    assert alias(retrains.settings) == "1"
    assert versions(retrains.settings) == ["1"]


def test_rows_that_fail_the_suite_stop_the_run(retrains: Retrains, tmp_path: Path) -> None:
    """The run is red with the failed expectations; the failure is on record with its page; nothing is trained."""
    suite = json.loads((TESTS / "expectations" / "loan.json").read_text())
    suite["expectations"].append(
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "age", "max_value": 40}}
    )
    (tmp_path / "loan.json").write_text(json.dumps(suite))
    candidates = len(retrains.ledger.records(Candidate, "loan"))
    run = retrains.run(LATER, "strict", env={"TRIMTAB_SUITES_DIR": str(tmp_path)})
    assert run.ended == "failed"
    assert run.error.startswith("ValidationFailedError")
    assert "expect_column_values_to_be_between on 'age': expected max_value 40; observed" in run.error
    assert len(retrains.ledger.records(Candidate, "loan")) == candidates
    validation = retrains.ledger.latest(Validation, "loan")
    assert validation is not None
    assert not validation.success
    assert (retrains.settings.reports_dir / validation.page).is_file()
    artifacts = httpx.post(
        f"{retrains.settings.prefect_url}/api/artifacts/filter", json={"limit": 200}, timeout=30, trust_env=False
    ).json()
    keys = {artifact["key"] for artifact in artifacts}
    assert {"loan-failed-expectations", "loan-unexpected-rows", "loan-gates", "loan-evaluation-plot"} <= keys


BROKEN_TRAINERS = {
    "raises": ("raise ZeroDivisionError('one over nothing')", "TrainingError.*one over nothing"),
    "nothing": ("return None", "TrainingError.*needs predict_proba"),
    "not a number": (
        "import numpy as np\n    class Nan:\n        predict_proba = lambda self, x: np.full((len(x), 2), np.nan)\n"
        "    return Nan()",
        "TrainingError.*scores are no numbers",
    ),
}


@pytest.mark.parametrize(("body", "says"), BROKEN_TRAINERS.values(), ids=BROKEN_TRAINERS)
def test_a_trainer_that_fails_is_a_red_run(retrains: Retrains, tmp_path: Path, body: str, says: str) -> None:
    """What a trainer raises or returns wrongly is named with the model and the trainer; the champion serves on."""
    shutil.copytree(TESTS / "models" / "loan", tmp_path / "loan", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "loan" / "training.py").write_text(f"def boosting(matrix, target, categorical, seed):\n    {body}\n")
    run = retrains.run(LATER, f"broken {says}", env={"TRIMTAB_MODELS_DIR": str(tmp_path)})
    assert run.ended == "failed"
    assert re.search(says, run.error)
    assert alias(retrains.settings) == "1"


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"TRIMTAB_MLFLOW_URL": "http://127.0.0.1:9"}, "ServiceUnavailableError: MLflow does not answer at http"),
        ({"TRIMTAB_MODELS_DIR": "/nowhere"}, "SpecError: models_dir is '/nowhere'"),
    ],
)
def test_what_is_not_there_is_named(retrains: Retrains, env: dict[str, str], says: str) -> None:
    """MLflow down, or no models: the run is red, with the address or folder."""
    run = retrains.run(datetime(2024, 2, 24, tzinfo=UTC), "down", env=env)
    assert run.ended == "failed"
    assert run.error.startswith(says)


@pytest.mark.timeout(900)
def test_a_run_killed_between_any_two_steps_is_finished_by_running_it_again(retrains: Retrains) -> None:
    """SIGKILL after each step in turn, the same cause each time: one release, one alias, and never an unanswered row.

    Each run begins where the one before was killed, so that every step is also repeated on what it left behind.
    """
    served: set[str] = set()
    stop, failures = threading.Event(), []

    def ask() -> None:
        with GatewayClient(retrains.settings) as gateway:
            while not stop.is_set():
                try:
                    gateway.infer("loan", LOAN)
                    served.add(gateway.metadata("loan")["route"]["version"])
                except TrimtabError as error:
                    failures.append(error)
                stop.wait(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        killed_after: list[str] = []
        while (run := retrains.run(TURNED, "turned", killed_after)).ended == "killed":
            killed_after.append(run.tasks[-1])
            release = retrains.ledger.latest(Release, "loan")
            assert release is not None
            assert alias(retrains.settings) <= release.version
    finally:
        stop.set()
        asking.join()
    assert run.ended == "completed", run.error
    assert failures == []
    assert served == {"1", "2"}
    assert killed_after == STEPS
    releases = retrains.ledger.records(Release, "loan")
    assert [release.version for release in releases] == ["1", "2"]
    assert versions(retrains.settings) == ["1", "2"]
    assert alias(retrains.settings) == "2"
    assert retrains.gateway.metadata("loan")["artifact_digest"] == releases[-1].artifact_digest
    assert [bool(one.release_id) for one in retrains.ledger.records(Retraining, "loan")] == [True, False, True]
    assert running(retrains.settings) == [releases[-1].id]
    assert retrains.ledger.verify() > 0


def test_training_windows_compete_and_the_gates_choose_the_one_since_the_change(
    retrains: Retrains, tmp_path: Path
) -> None:
    """Three candidates, judged on the same rows; the one that saw nothing of the world before serves in the end."""
    folder = shutil.copytree(TESTS / "models" / "loan", tmp_path / "loan", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "spec.py").write_text((folder / "spec.py").read_text() + COMPETING)
    turns = "hour < TURNING_POINT"
    turns_back = f"not datetime(2024, 3, 1, tzinfo=UTC) <= hour < datetime(2024, 3, {TURNED_BACK.day}, tzinfo=UTC)"
    source = (folder / "data.py").read_text()
    assert turns in source
    (folder / "data.py").write_text(source.replace(turns, turns_back))
    before = retrains.ledger.latest(Release, "loan")
    assert before is not None
    # Its outcomes are those of a label maturity, six hours, before.
    retrains.ledger.append(loss(before, TURNED_BACK + 6 * HOUR))

    judged_from = TURNED_BACK + 3 * DAY
    run = retrains.run(judged_from + DAY + 6 * HOUR, "compete", env={"TRIMTAB_MODELS_DIR": str(tmp_path)})
    assert run.ended == "completed", run.error
    evaluation, decision = retrains.ledger.latest(Evaluation, "loan"), retrains.ledger.latest(Decision, "loan")
    assert evaluation is not None
    assert decision is not None
    trained, window_of = {}, {}
    for gate in decision.gates:
        candidate = retrains.ledger.find(Candidate, gate.candidate_id)
        assert candidate is not None
        snapshot = retrains.ledger.find(Snapshot, candidate.snapshot_id)
        assert snapshot is not None
        trained[snapshot.window] = (snapshot.start, snapshot.end)
        window_of[candidate.id] = snapshot.window
    assert trained == {
        "all": (datetime(2024, 3, 2, tzinfo=UTC), judged_from),
        "recent": (judged_from - 5 * DAY, judged_from),
        "change": (TURNED_BACK, judged_from),
    }
    losses = {window: evaluation.scores[one]["log_loss"].value for one, window in window_of.items()}
    assert losses["change"] < losses["recent"] < losses["all"]
    assert all(gate.passed for gate in decision.gates if gate.candidate_id == decision.winner_id)
    assert window_of[decision.winner_id or ""] == "change", decision.reason
    released = retrains.ledger.latest(Release, "loan")
    assert released is not None
    assert run.retraining is not None
    assert (run.retraining.release_id, released.candidate_id) == (released.id, decision.winner_id)
    assert released.id != before.id


def loss(release: Release, start: datetime) -> Ruling:
    """A ruling on two days of a release, whose performance is lost."""
    lost = Signal(name="performance.log_loss", value=1.1, threshold=0.6, breached=True, rows=480)
    return Ruling(
        **{"id": "ruling-lost", "model": "loan", "release_id": release.id, "validation_id": None, "signals": (lost,)},
        **{"start": start, "end": start + 2 * DAY, "as_of": start + 2 * DAY, "action": Action.ALERT},
        **{"reason": "performance is lost", "policy_digest": "p"},
    )


def test_a_model_of_several_classes_goes_all_the_way(retrains: Retrains, tmp_path: Path) -> None:
    """Trained, served, logged with a score a class, told what came true by name, and retrained when that turns over;
    a class that is added to the spec meanwhile changes nothing of that."""
    run = retrains.run(BEFORE, "parcels", model="parcel")
    assert run.ended == "completed", run.error
    parcels = load_parcels(TURNED - timedelta(days=2, hours=6), TURNED, TURNED + timedelta(days=1))
    columns = {name: parcels[name].tolist() for name in ("distance", "weight", "carrier", "express")}
    answer = retrains.gateway.infer("parcel", columns, event_time=[time.to_pydatetime() for time in parcels.event_time])
    assert answer["parameters"]["classes"] == ["early", "on time", "late"]
    assert set(answer["label"]) == {"early", "on time", "late"}
    assert all(sum(row) == pytest.approx(1) for row in answer["score"])
    ids, times = (
        answer["prediction_id"],
        [f"{time + timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}" for time in parcels.event_time],
    )
    stated = [
        {"prediction_id": one, "value": value, "observed_at": time}
        for one, value, time in zip(ids, parcels["arrival"], times, strict=True)
    ]
    with pytest.raises(TrimtabError, match=r"'lost'; it must be one of \['early', 'on time', 'late'\]"):
        retrains.gateway.outcomes("parcel", [{**stated[0], "value": "lost"}])
    assert retrains.gateway.outcomes("parcel", stated)["accepted"] == len(stated)
    found = retrains.gateway.prediction(ids[0])
    assert found["outcome"] == parcels["arrival"][0]
    assert [found["record"][f"score.{name}"] for name in ("early", "on time", "late")] == answer["score"][0]
    folder = shutil.copytree(TESTS / "models" / "parcel", tmp_path / "models" / "parcel")
    source = (folder / "spec.py").read_text()
    assert '"late")' in source
    (folder / "spec.py").write_text(source.replace('"late")', '"late", "lost")'))
    env = {"TRIMTAB_MODELS_DIR": str(folder.parent)}
    watched = retrains.watch("parcel", TURNED, env)
    assert watched.ended == "completed", watched.error
    assert watched.ruling is not None
    assert watched.ruling.action is Action.RETRAIN, watched.ruling.reason
    signals = {signal.name: signal for signal in watched.ruling.signals}
    assert signals["performance.log_loss"].breached
    assert {"estimated.log_loss", "calibration_error", "drift.score.on time", "drift.label"} <= signals.keys()
    assert signals["drifted_share"].detail == "0 of 4 features"
    replay = ["backtest", "parcel", "--logged", "--from", "2024-03-10", "--to", "2024-03-12", "--no-suite"]
    files = ["--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.png")]
    environment_of = {**environment(retrains.settings), **env}
    done = CliRunner().invoke(app, [*replay, *files], env=environment_of, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (replayed,) = Backtest.model_validate_json((tmp_path / "b.json").read_text()).windows
    assert {signal.name: signal.value for signal in replayed.ruling.signals} == pytest.approx(
        {name: signal.value for name, signal in signals.items() if name != "failed_expectations"}
    )
    assert replayed.metrics["policy"] is not None
    shown = CliRunner().invoke(app, ["predictions", "show", ids[0]], env=environment_of, catch_exceptions=False)
    assert re.search(f"outcome +{parcels['arrival'][0]},", shown.output), shown.output
