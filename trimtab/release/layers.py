"""Layers of a model image, the same bytes for the same inputs: sorted entries, no times, one owner.

Three lie over the base image, from what changes least to what changes most: the locked dependencies, the scoring code,
the artifact. Each is written once and kept by what it was made from, so that a rebuild in which only the model changed
writes only the artifact.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from trimtab.errors import ImageError
from trimtab.release.environment import find_uv, lock_digest, run_uv
from trimtab.release.pruning import prune
from trimtab.scoring.model import artifact_digest

IMAGE_PYTHON = "3.11"
SITE, CODE, ARTIFACT = (PurePosixPath("opt/trimtab") / name for name in ("site", "code", "artifact"))
"""Where a model image holds its dependencies, the scoring code and the artifact."""

_PLATFORMS = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
_RECIPE = 3
"""Raised when the way layers are written changes: layers kept from before are then not used."""


@dataclass(frozen=True, slots=True)
class Layer:
    """An uncompressed layer tar. ``diff_id`` is the SHA-256 of the file, as image configurations name it."""

    path: str
    diff_id: str
    size_bytes: int
    title: str


def dependency_layer(lock: str, architecture: str, cache: Path) -> Layer:
    """The packages of an environment lock, from wheels only.

    What a scorer never runs is left out (pruning.py). Modules come with unchecked-hash bytecode where a Python 3.11 is
    at hand (this process's own, or one that uv finds): it halves the time to the first prediction.

    Raises
    ------
    ImageError
        If the architecture is unknown, or uv cannot install the lock for it.
    """
    if architecture not in _PLATFORMS:
        raise ImageError(f"the base image is for {architecture!r}; trimtab builds for {sorted(_PLATFORMS)}")

    def stage(root: Path) -> None:
        site = root / SITE
        requirements = root / "requirements.txt"
        requirements.write_text(lock)
        target = ["--target", str(site), "--python", sys.executable, "--python-version", IMAGE_PYTHON]
        target += ["--python-platform", _PLATFORMS[architecture], "--link-mode", "copy", "--no-compile-bytecode"]
        run_uv("pip", "install", *target, "--only-binary", ":all:", "--require-hashes", "-r", str(requirements))
        requirements.unlink()
        prune(site)
        _compile(root, SITE)

    key = ["dependencies", lock_digest(lock), architecture, IMAGE_PYTHON, bool(_compiler())]
    return _kept(cache, key, "locked dependencies", stage)


def code_layer(cache: Path) -> Layer:
    """The scoring code of this trimtab."""

    def stage(root: Path) -> None:
        write_code(root / CODE)
        _compile(root, CODE)

    return _kept(cache, ["code", code_digest(), IMAGE_PYTHON, bool(_compiler())], "scoring code", stage)


def artifact_layer(folder: Path, digest: str, cache: Path) -> Layer:
    """The artifact's folder.

    Raises
    ------
    ImageError
        If the folder is missing or is not what its digest covers.
    """
    check_artifact(folder, digest)
    return _kept(cache, ["artifact", digest], "artifact", lambda root: _copy(folder, root / ARTIFACT))


def check_artifact(folder: Path, digest: str) -> None:
    """Refuse an artifact that is missing or was altered.

    Raises
    ------
    ImageError
        With both digests.
    """
    if not folder.is_dir():
        raise ImageError(f"there is no artifact in {folder}; the candidate's artifact {digest} must lie there")
    if (found := artifact_digest(folder)) != digest:
        raise ImageError(f"the artifact in {folder} has digest {found}; on record is {digest}: it was altered")


def code_files() -> dict[str, Path]:
    """What runs inside an image, by its path there: the package's root, ``wire``, and ``scoring`` without MLflow's."""
    package = Path(__file__).parents[1]
    files = [package / "__init__.py", *package.joinpath("wire").glob("*.py"), *package.joinpath("scoring").glob("*.py")]
    return {
        f"trimtab/{path.relative_to(package).as_posix()}": path for path in sorted(files) if path.name != "pyfunc.py"
    }


def code_digest() -> str:
    """SHA-256, in hex, of the scoring code."""
    covered = hashlib.sha256()
    for name, path in code_files().items():
        covered.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return covered.hexdigest()


def write_code(folder: Path) -> None:
    """Copy the scoring code to a folder that can stand on a Python path."""
    for name, path in code_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)


def ensure_code(folder: Path) -> Path:
    """The folder, named by its digest, that holds the scoring code for processes; whole or not there at all."""
    code = folder / code_digest()
    if not code.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="partial-") as partial:
            write_code(Path(partial) / "code")
            try:
                (Path(partial) / "code").rename(code)
            except OSError:
                # Another process was first: what it wrote has the same digest.
                if not code.is_dir():
                    raise
    return code


def write_tar(root: Path, target: Path) -> str:
    """Write a folder as a tar whose bytes follow from names and contents alone; return its SHA-256."""
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            entry = archive.gettarinfo(path, path.relative_to(root).as_posix())
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = 0
            # No file in our layers is a program, whatever a wheel says of it.
            entry.mode = 0o755 if entry.isdir() else 0o644
            if entry.isreg():
                with path.open("rb") as content:
                    archive.addfile(entry, content)
            else:
                archive.addfile(entry)
    with target.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _kept(cache: Path, key: list[object], title: str, stage: Callable[[Path], None]) -> Layer:
    """The layer that the cache keeps under this key, else one that ``stage`` lays out; whole or not there at all."""
    name = hashlib.sha256(json.dumps([_RECIPE, *key]).encode()).hexdigest()
    statement = cache / f"{name}.json"
    if statement.is_file() and (layer := Layer(**json.loads(statement.read_text()))) and Path(layer.path).is_file():
        return layer
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        partial = cache / "partial"
        shutil.rmtree(partial, ignore_errors=True)  # of a build that was killed
        root, tar = partial / "root", partial / "layer.tar"
        root.mkdir(parents=True)
        stage(root)
        digest = write_tar(root, tar)
        layer = Layer(str(cache / f"{name}.tar"), f"sha256:{digest}", tar.stat().st_size, title)
        tar.replace(layer.path)
        (partial / "statement").write_text(json.dumps(asdict(layer)))
        (partial / "statement").replace(statement)
        shutil.rmtree(partial)
    return layer


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=shutil.copyfile)


def _compile(root: Path, part: PurePosixPath) -> None:
    if (python := _compiler()) is None:
        return
    command = [python, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    done = subprocess.run(
        [*command, "-s", str(root), "-p", "/", str(root / part)],
        # Sets are written in the order of their hashes.
        env={"PATH": os.defpath, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise ImageError(f"the modules under /{part} do not compile: {done.stdout.strip()}")


def _compiler() -> str | None:
    """A Python of the image's version, whose bytecode is good there."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == IMAGE_PYTHON:
        return sys.executable
    command = [find_uv(), "python", "find", "--no-python-downloads", "--no-project", IMAGE_PYTHON]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or None if done.returncode == 0 else None
