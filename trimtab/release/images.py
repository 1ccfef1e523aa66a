"""A model image as a file: its configuration and the archive that ``docker load`` reads.

Pure but for the archive that it writes; the same inputs give the same image digest. Nothing in it tells when, where or
by whom it was made.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.records import Candidate, Version
from trimtab.release.layers import ARTIFACT, CODE, SITE, Layer
from trimtab.release.runtimes import CONTAINER_PORT

USER = "10001:10001"
_SECOND_NS = 1_000_000_000
_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class BaseImage:
    """The image that a model image lies on: a Python 3.11 and the system libraries that wheels need.

    ``image_id`` is the engine's name for it, which tells when it was imported; ``digest`` covers only what it holds.
    """

    reference: str
    image_id: str
    architecture: str
    layers: tuple[str, ...]
    environment: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of its layers, platform and variables."""
        held = json.dumps([self.architecture, self.layers, self.environment])
        return f"sha256:{hashlib.sha256(held.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class ModelImage:
    """What an engine is given: the configuration, whose SHA-256 is the image's digest, and the layers."""

    reference: str
    digest: str
    config: bytes
    base: BaseImage
    layers: tuple[Layer, ...]

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Digests of all layers, the base's first."""
        return (*self.base.layers, *(layer.diff_id for layer in self.layers))


def describe_image(
    base: BaseImage, layers: Sequence[Layer], version: Version, candidate: Candidate, snapshot_id: str
) -> ModelImage:
    """The image of a version over a base: no root, no shell needed, a health check, labels that lead to the ledger."""
    labels = {
        "trimtab.model": version.model,
        "trimtab.version": version.version,
        "trimtab.run_id": candidate.run_id,
        "trimtab.snapshot_id": snapshot_id,
        "trimtab.candidate_id": candidate.id,
        "trimtab.decision_id": version.decision_id,
        "trimtab.version_id": version.id,
        "trimtab.artifact_digest": candidate.artifact_digest,
        "trimtab.environment_digest": candidate.environment_digest,
        "trimtab.base_digest": base.digest,
        "org.opencontainers.image.title": version.model,
        "org.opencontainers.image.version": version.version,
        "org.opencontainers.image.description": f"Scorer of {version.model}, version {version.version} (Open Inference "
        "Protocol V2)",
        "org.opencontainers.image.base.name": base.reference,
    }
    container: dict[str, Any] = {
        "User": USER,
        "Env": _environment(base.environment),
        "Entrypoint": ["python3", "-m", "trimtab.scoring"],
        "Cmd": _arguments(version, candidate),
        "WorkingDir": "/",
        "ExposedPorts": {f"{CONTAINER_PORT}/tcp": {}},
        "StopSignal": "SIGTERM",
        "Labels": labels,
        "Healthcheck": {
            "Test": ["CMD", "python3", "-S", "-m", "trimtab.scoring.health", str(CONTAINER_PORT)],
            "Interval": 10 * _SECOND_NS,
            "Timeout": 5 * _SECOND_NS,
            "StartPeriod": 30 * _SECOND_NS,
            "Retries": 3,
        },
    }
    titles = [f"base {base.digest}"] * len(base.layers) + [f"trimtab: {layer.title}" for layer in layers]
    config = {
        "architecture": base.architecture,
        "os": "linux",
        "created": _EPOCH,
        "config": container,
        "rootfs": {"type": "layers", "diff_ids": [*base.layers, *(layer.diff_id for layer in layers)]},
        "history": [{"created": _EPOCH, "created_by": title} for title in titles],
    }
    text = json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(text).hexdigest()
    return ModelImage(f"trimtab/{version.model}:{digest[:16]}", f"sha256:{digest}", text, base, tuple(layers))


def write_archive(image: ModelImage, known: int, base_layers: Mapping[str, Path], target: Path) -> None:
    """Write the archive that ``docker load`` reads.

    Parameters
    ----------
    image
        What to write.
    known
        How many of the image's layers, from the bottom, the engine has: they are named, but not sent again.
    base_layers
        Files of the base's layers by digest; needed for those that are sent.
    target
        File to write.
    """
    files = {**base_layers, **{layer.diff_id: Path(layer.path) for layer in image.layers}}
    names = {diff_id: f"{diff_id.removeprefix('sha256:')}/layer.tar" for diff_id in image.diff_ids}
    config_name = f"{image.digest.removeprefix('sha256:')}.json"
    manifest = [
        {"Config": config_name, "RepoTags": [image.reference], "Layers": [names[item] for item in image.diff_ids]}
    ]
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        _add(archive, config_name, image.config)
        _add(archive, "manifest.json", json.dumps(manifest).encode())
        for diff_id in image.diff_ids[known:]:
            entry = tarfile.TarInfo(names[diff_id])
            entry.size = files[diff_id].stat().st_size
            with files[diff_id].open("rb") as content:
                archive.addfile(entry, content)


def _arguments(version: Version, candidate: Candidate) -> list[str]:
    return [
        *("--artifact", f"/{ARTIFACT}"),
        *("--expected-digest", candidate.artifact_digest),
        *("--version", version.version),
        *("--host", "0.0.0.0"),  # noqa: S104 - inside a container; who reaches it is the publisher's choice
        *("--port", str(CONTAINER_PORT)),
    ]


def _environment(base: Sequence[str]) -> list[str]:
    own = {
        "PYTHONPATH": f"/{CODE}:/{SITE}",
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    inherited = [entry for entry in base if entry.partition("=")[0] not in own]
    return [*inherited, *(f"{name}={value}" for name, value in own.items())]


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
