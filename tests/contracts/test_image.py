"""Model images against a real Docker engine: the same inputs, the same digest; small, without a shell, and provable."""

from __future__ import annotations

import os
import socket
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tasks.image import build_image
from tasks.image import engine as engines
from tasks.rollout.containers import ContainerRuntime, connect
from tasks.rollout.golden import golden_difference
from tests.loan_artifact import AS_OF, make_artifact, records_of
from tests.registry import docker_registry
from trimtab.errors import ImageError, RolloutError, ServiceUnavailableError
from trimtab.ledger import Ledger
from trimtab.records import Image, Release
from trimtab.release.runtimes import ScorerOrder
from trimtab.scoring.health import why_not_ready
from trimtab.settings import Settings

MODELS = Path(__file__).parents[1] / "models"
FIRST, SECOND = (10 * os.getpid() + number for number in (1, 2))
"""Versions that no other process builds: images are removed here."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    try:
        found = connect()
    except ServiceUnavailableError as error:
        pytest.skip(f"no images here: {error}")
    with closing(found):
        yield found
        for number in (FIRST, SECOND):
            for image in found.images.list(filters={"label": f"trimtab.version={number}"}):
                found.images.remove(image.id, force=True)


@pytest.fixture(scope="module")
def first_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first")


def enter(monkeypatch: pytest.MonkeyPatch, home: Path, runtime: str = "docker", **more: str) -> Settings:
    """Make a home the current one, with its artifact."""
    variables = {"TRIMTAB_HOME": str(home), "TRIMTAB_MODELS_DIR": str(MODELS), "TRIMTAB_RUNTIME": runtime, **more}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings.from_env()


def artifact(settings: Settings, seed: int = 0, artifact_format: str = "onnx") -> str:
    """The digest of the artifact of that seed, made if it is not there."""
    marker = settings.home / f"{artifact_format}-{seed}"
    if not marker.is_file():
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(make_artifact(settings.artifacts_dir, seed, artifact_format))
    return marker.read_text()


def build(settings: Settings, number: int = FIRST, seed: int = 0, artifact_format: str = "onnx") -> Image:
    _, version, candidate, _ = records_of(artifact(settings, seed, artifact_format), number)
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


def test_a_build_in_which_only_the_model_changed_writes_that_layer_alone(
    engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other layers are kept: a new artifact is a new image that shares all layers but one, of some kilobytes."""
    settings = enter(monkeypatch, first_home)
    before = build(settings)
    kept = set((settings.releases_dir / "layers").glob("*.tar"))
    after = build(settings, number=SECOND, seed=1)
    (written,) = set((settings.releases_dir / "layers").glob("*.tar")) - kept
    assert written.stat().st_size < 100_000
    assert after.digest != before.digest
    layers = [engine.images.get(image.reference).attrs["RootFS"]["Layers"] for image in (before, after)]
    assert layers[0][:-1] == layers[1][:-1]


def test_an_image_says_what_it_holds_and_asks_for_no_privileges(
    engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels lead to model, version, run, snapshot and ledger; the user is not root; there is a health check."""
    settings = enter(monkeypatch, first_home)
    image = build(settings)
    _, version, candidate, _ = records_of(image.artifact_digest, FIRST)
    config = engine.images.get(image.reference).attrs["Config"]
    labels = config["Labels"]
    assert (labels["trimtab.model"], labels["trimtab.version"]) == ("loan", str(FIRST))
    assert labels["trimtab.run_id"] == candidate.run_id
    assert labels["trimtab.snapshot_id"] == candidate.snapshot_id
    assert labels["trimtab.version_id"] == version.id
    assert labels["trimtab.decision_id"] == version.decision_id
    assert labels["trimtab.candidate_id"] == candidate.id
    assert labels["trimtab.artifact_digest"] == image.artifact_digest
    assert labels["org.opencontainers.image.title"] == "loan"
    assert labels["org.opencontainers.image.version"] == str(FIRST)
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "python3", "-S", "-m", "trimtab.scoring.health", "8080"]
    assert config["Entrypoint"] == ["python3", "-m", "trimtab.scoring"]


def test_a_model_image_holds_nothing_to_build_or_break_in_with(
    engine: Any, first_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python and its libraries are all: no shell, package manager, compiler or setuid file; licences are there."""
    if engines.find(engine, engines.BASES[0]) is None:
        pytest.skip(f"another base holds what it holds: {engines.BASES[0]} is not there; infra/scorer-base.sh makes it")
    image = build(enter(monkeypatch, first_home))
    container = engine.containers.create(image.reference)
    try:
        with (tmp_path / "all.tar").open("wb") as target:
            target.writelines(container.export())
    finally:
        container.remove()
    with tarfile.open(tmp_path / "all.tar") as archive:
        members = archive.getmembers()
    # Some are the engine's own, and the kernel starts Python by its loader.
    own = [each for each in members if each.name.split("/")[0] not in ("dev", "etc", ".dockerenv")]
    programs = {each.name for each in own if each.isfile() and each.mode & 0o111}
    assert {name for name in programs if "/ld-linux" not in name} == {"usr/bin/python3.11"}
    names = {each.name for each in members}
    folders = {PurePosixPath(each).name for each in names}
    assert not folders & {"pip", "setuptools", "ensurepip", "distutils", "apt", "tests", "transformers"}
    assert not [each.name for each in members if each.mode & 0o6000]
    assert {"usr/share/doc/python3.11-minimal/copyright", "opt/trimtab/site/onnxruntime/LICENSE"} <= names
    assert {"var/lib/dpkg/status.d/libc6", "var/lib/dpkg/status.d/libssl3"} <= names


def test_a_container_of_the_image_is_healthy_without_root_or_a_file_to_write(
    engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image's own health check passes as its own user on a read-only root, and the log holds no word of warning."""
    settings = enter(monkeypatch, first_home)
    image = build(settings)
    runtime = ContainerRuntime(engine, settings.home)
    order = ordered(settings, image)
    try:
        url = runtime.start(order)
        (container,) = engine.containers.list(filters={"label": f"trimtab.release={order.release_id}"})
        check = container.attrs["Config"]["Healthcheck"]["Test"]
        assert container.exec_run(check[1:]).exit_code == 0
        failed = container.exec_run([*check[1:-1], "1"])
        assert failed.exit_code == 1
        assert b"no answer on port 1" in failed.output
        wrote = ["python3", "-c", "import os; print(os.getuid()); open('/opt/trimtab/x', 'w')"]
        said, complained = container.exec_run(wrote, demux=True).output
        assert said == b"10001\n"
        assert b"Read-only file system" in complained
        assert why_not_ready(int(url.rpartition(":")[2])) == ""
        assert container.logs() == b""
    finally:
        runtime.stop(order.release_id)


def test_an_image_of_scikit_learn_scores_too(engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was left out of its packages is not missed: the golden rows have training's scores."""
    settings = enter(monkeypatch, first_home)
    image = build(settings, artifact_format="skops")
    runtime, order = ContainerRuntime(engine, settings.home), ordered(settings, image)
    try:
        golden_difference(order.artifact, release_of(order, image), runtime.start(order))
    finally:
        runtime.stop(order.release_id)


def test_a_health_check_tells_what_is_wrong() -> None:
    """Nobody there, or somebody who says that he is not ready, are told apart."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert why_not_ready(port).startswith(f"no answer on port {port}")


def ordered(settings: Settings, image: Image) -> ScorerOrder:
    return ScorerOrder(
        release_id=f"release-{uuid.uuid4().hex[:16]}",
        model="loan",
        version=str(FIRST),
        reference=image.pushed or image.reference,
        artifact=settings.artifacts_dir / image.artifact_digest,
        artifact_digest=image.artifact_digest,
        memory_mb=256,
        start_timeout_s=180,
    )


def test_an_image_goes_to_a_registry_and_comes_back_by_its_digest(
    engine: Any, first_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pushed, removed here, pulled by the digest on record and run: the same image, which scores as at training."""
    with docker_registry(tmp_path) as host:
        settings = enter(monkeypatch, first_home, TRIMTAB_IMAGE_REPOSITORY=f"{host}/models")
        image = build(settings)
        assert image.pushed.startswith(f"{host}/models/loan@sha256:")
        assert build(settings) == image
        engine.images.remove(image.digest, force=True)
        assert engines.find(engine, image.pushed) is None
        runtime, order = ContainerRuntime(engine, settings.home), ordered(settings, image)
        try:
            url = runtime.start(order)
            assert engine.images.get(image.pushed).id == image.digest
            golden_difference(order.artifact, release_of(order, image), url)
        finally:
            runtime.stop(order.release_id)
            engine.images.remove(image.digest, force=True)


def release_of(order: ScorerOrder, image: Image) -> Release:
    return Release(
        **{"id": order.release_id, "model": "loan", "version": str(FIRST), "version_id": "v", "candidate_id": "c"},
        **{"image_id": image.id, "artifact_digest": image.artifact_digest, "runtime": "docker", "endpoint": ""},
        **{"cause_id": "x", "since": AS_OF, "previous_id": None},
    )


def test_a_registry_that_is_not_there_is_tried_again_and_one_that_refuses_is_not(
    engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may pass is another kind of error than what will not, and both name the image."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(ServiceUnavailableError, match=rf"did not take {host}/loan:\w+: .*connection refused"):
        build(enter(monkeypatch, first_home, TRIMTAB_IMAGE_REPOSITORY=host))

    def refuse(*_: Any, **__: Any) -> list[dict[str, str]]:
        return [{"error": "denied: requested access to the resource is denied"}]

    monkeypatch.setattr("docker.models.images.ImageCollection.push", refuse)
    with pytest.raises(ImageError, match=r"the registry refuses .*denied.*docker login"):
        build(enter(monkeypatch, first_home, TRIMTAB_IMAGE_REPOSITORY=host))


def test_an_image_that_is_gone_is_not_looked_for_in_public(engine: Any, first_home: Path) -> None:
    """An image that was never pushed and is not there any more is an error, not a download of what has its name."""
    order = ScorerOrder("release-gone", "loan", "1", "trimtab/loan:gone", first_home, "0" * 64)
    with pytest.raises(RolloutError, match="no image trimtab/loan:gone any more; roll loan 1 out anew"):
        ContainerRuntime(engine, first_home).start(order)


def test_an_engine_that_wants_all_layers_gets_the_bases_too(
    engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an archive without the known layers is refused, one with all of them gives the same image."""
    settings = enter(monkeypatch, first_home)
    image = build(settings)
    engine.images.remove(image.reference, force=True)
    send, refusals = engines._send, []

    def refuse_once(*arguments: Any) -> Any:
        if not refusals:
            refusals.append("refused")
            raise ImageError("layers are missing")
        return send(*arguments)

    monkeypatch.setattr(engines, "_send", refuse_once)
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
    for record in records_of(image.artifact_digest, FIRST)[0]:
        ledger.append(record)
    ledger.append(image)
    assert build(settings) == image
    engine.images.remove(image.reference, force=True)
    assert build(settings) == image
    assert engine.images.get(image.reference).id == image.digest


def test_without_a_base_image_the_error_says_what_to_do(
    engine: Any, first_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the image, infra/scorer-base.sh and TRIMTAB_BASE_IMAGE."""
    settings = enter(monkeypatch, first_home, TRIMTAB_BASE_IMAGE="localhost:1/no-such-base:3.11")
    with pytest.raises(ImageError, match=r"no-such-base:3\.11.*infra/scorer-base\.sh.*TRIMTAB_BASE_IMAGE"):
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
        write_archive(described, known, base_layers, target)
        whole = target.read_bytes()
        target.write_bytes(whole[: len(whole) // 2])

    write_archive = engines.write_archive
    with monkeypatch.context() as patch:
        patch.setattr(engines, "write_archive", cut_off)
        with pytest.raises(ImageError, match=r"did not load|something other"):
            build(settings)
    assert engines.find(engine, image.reference) is None
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
