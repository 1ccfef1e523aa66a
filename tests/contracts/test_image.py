"""Model images against a real Docker engine: the same inputs, the same digest; only what changed is written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks import image as image_task
from tasks.image import build_image
from tasks.rollout.containers import connect
from tests.loan_artifact import make_artifact, records_of
from trimtab.errors import ImageError, ServiceUnavailableError
from trimtab.ledger import Ledger
from trimtab.records import Image
from trimtab.settings import Settings

MODELS = Path(__file__).parents[1] / "models"


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    try:
        found = connect()
    except ServiceUnavailableError as error:
        pytest.skip(f"no images here: {error}")
    with closing(found):
        yield found


@pytest.fixture(scope="module")
def first_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first")


def enter(monkeypatch: pytest.MonkeyPatch, home: Path, runtime: str = "docker", **more: str) -> Settings:
    """Make a home the current one, with its artifact."""
    variables = {"TRIMTAB_HOME": str(home), "TRIMTAB_MODELS_DIR": str(MODELS), "TRIMTAB_RUNTIME": runtime, **more}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings.from_env()


def artifact(settings: Settings, seed: int = 0) -> str:
    """The digest of the artifact of that seed, made if it is not there."""
    marker = settings.home / f"seed-{seed}"
    if not marker.is_file():
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(make_artifact(settings.artifacts_dir, seed))
    return marker.read_text()


def build(settings: Settings, number: int = 1, seed: int = 0) -> Image:
    _, version, candidate, _ = records_of(artifact(settings, seed), number)
    return build_image.fn("loan", version, candidate)


def test_two_builds_from_nothing_give_the_same_digest(
    engine: Any, first_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built in two homes that share nothing, with the image removed between, the digests are equal."""
    first = build(enter(monkeypatch, first_home))
    engine.images.remove(first.reference, force=True)
    second = build(enter(monkeypatch, tmp_path / "second"))
    assert first == second
    assert engine.images.get(second.reference).id == second.digest


def test_a_build_in_which_only_the_model_changed_writes_one_layer_at_once(
    engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dependencies' layer is kept: a new artifact is a new image at once, and shares all layers but one."""
    settings = enter(monkeypatch, first_home)
    before = build(settings)
    artifact(settings, seed=1)
    started = time.monotonic()
    after = build(settings, number=2, seed=1)
    # 0.2 s on an idle machine; the cold build takes 6 to 10.
    assert time.monotonic() - started < 2.5
    assert after.digest != before.digest
    layers = [engine.images.get(image.reference).attrs["RootFS"]["Layers"] for image in (before, after)]
    assert layers[0][:-1] == layers[1][:-1]


def test_an_image_says_what_it_holds_and_asks_for_no_privileges(
    engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels lead to model, version, run, snapshot and ledger; the user is not root; there is a health check."""
    settings = enter(monkeypatch, first_home)
    image = build(settings)
    _, version, candidate, _ = records_of(image.artifact_digest, 1)
    config = engine.images.get(image.reference).attrs["Config"]
    labels = config["Labels"]
    assert (labels["trimtab.model"], labels["trimtab.version"]) == ("loan", "1")
    assert labels["trimtab.run_id"] == candidate.run_id
    assert labels["trimtab.snapshot_id"] == candidate.snapshot_id
    assert labels["trimtab.version_id"] == version.id
    assert labels["trimtab.artifact_digest"] == image.artifact_digest
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Entrypoint"] == ["python3", "-m", "trimtab.scoring"]


def test_an_engine_that_wants_all_layers_gets_the_bases_too(
    engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an archive without the known layers is refused, one with all of them gives the same image."""
    settings = enter(monkeypatch, first_home)
    image = build(settings)
    engine.images.remove(image.reference, force=True)
    send, refusals = image_task._send, []

    def refuse_once(*arguments: Any) -> Any:
        if not refusals:
            refusals.append("refused")
            raise ImageError("layers are missing")
        return send(*arguments)

    monkeypatch.setattr(image_task, "_send", refuse_once)
    assert build(settings) == image
    assert refusals
    assert engine.images.get(image.reference).id == image.digest


def test_the_image_on_record_is_used_again_and_rebuilt_if_it_is_gone(
    engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that runs twice returns what the ledger names; a removed image comes back under the same digest."""
    settings = enter(monkeypatch, first_home)
    image = build(settings)
    ledger = Ledger(settings.ledger)
    for record in records_of(image.artifact_digest, 1)[0]:
        ledger.append(record)
    ledger.append(image)
    assert build(settings) == image
    engine.images.remove(image.reference, force=True)
    assert build(settings) == image
    assert engine.images.get(image.reference).id == image.digest


def test_without_a_base_image_the_error_says_what_to_do(
    engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the image, infra/base-image.sh and TRIMTAB_BASE_IMAGE."""
    settings = enter(monkeypatch, first_home, TRIMTAB_BASE_IMAGE="localhost:1/no-such-base:3.11")
    with pytest.raises(ImageError, match=r"no-such-base:3\.11.*infra/base-image\.sh.*TRIMTAB_BASE_IMAGE"):
        build(settings)


def test_without_an_engine_docker_is_an_error_and_auto_is_a_process(
    first_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where a Docker engine was asked for, its absence is an error; where it was not, a process takes its place."""
    settings = enter(monkeypatch, first_home, DOCKER_HOST=f"unix://{tmp_path}/no-docker.sock")
    with pytest.raises(ImageError, match="Docker engine does not answer"):
        build(settings)
    image = build(enter(monkeypatch, first_home, runtime="auto"))
    assert image.runtime == "process"
    assert (settings.releases_dir / "environments" / image.reference.partition("/")[0] / "bin" / "python").exists()


def test_an_engine_that_fails_in_mid_load_leaves_no_image(
    engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker failing while it loads is an error, nothing is tagged, and the next build succeeds."""
    settings = enter(monkeypatch, first_home)
    image = build(settings)
    engine.images.remove(image.reference, force=True)

    def cut_off(described: Any, known: int, base_layers: Any, target: Path) -> None:
        image_task_write(described, known, base_layers, target)
        whole = target.read_bytes()
        target.write_bytes(whole[: len(whole) // 2])

    image_task_write = image_task.write_archive
    with monkeypatch.context() as patch:
        patch.setattr(image_task, "write_archive", cut_off)
        with pytest.raises(ImageError, match=r"did not load|something other"):
            build(settings)
    assert image_task._find(engine, image.reference) is None
    assert build(settings) == image


def test_an_altered_artifact_is_not_built(first_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An artifact whose bytes are not those on record is refused with both digests, whatever the runtime."""
    settings = enter(monkeypatch, tmp_path / "home", runtime="process")
    digest = artifact(settings)
    (settings.artifacts_dir / digest / "golden.json").write_text("{}")
    with pytest.raises(ImageError, match=f"on record is {digest}"):
        build(settings)


def test_an_environment_whose_build_was_killed_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed build left behind is never used."""
    settings = enter(monkeypatch, tmp_path / "home", runtime="process")
    digest = artifact(settings)
    from trimtab.release.environment import environment_name

    lock = (settings.artifacts_dir / digest / "requirements.txt").read_text()
    half = settings.releases_dir / "environments" / f"{environment_name(lock)}.partial" / "bin"
    half.mkdir(parents=True)
    (half / "python").write_text("half")
    assert build(settings).runtime == "process"
    assert not half.exists()
