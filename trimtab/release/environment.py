"""The locked environments in which artifacts are scored.

Each artifact format has a dependency group in the project's ``uv.lock``; exported with hashes it is the environment
lock that travels with the artifact, and its digest names the environment wherever it is built.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from trimtab.errors import ImageError, TrainingError

GROUPS = {"onnx": "scorer-onnx", "skops": "scorer-sklearn"}
"""The dependency group of each artifact format that is still made."""


def project_root() -> Path:
    """The folder that holds this project's ``uv.lock``, found from this file, not from the current folder.

    Raises
    ------
    TrainingError
        If no folder above this package holds one.
    """
    for folder in Path(__file__).resolve().parents:
        if (folder / "uv.lock").is_file():
            return folder
    raise TrainingError(
        f"no folder above {Path(__file__).parent} holds a uv.lock; "
        "trimtab must run from its repository, because environments are exported from that lock"
    )


@cache
def export_lock(artifact_format: str) -> str:
    """The requirements, with hashes, under which an artifact of this format is scored.

    Parameters
    ----------
    artifact_format
        ``onnx`` or ``skops``.

    Returns
    -------
    str
        The text of a ``requirements.txt``; the same text for the same ``uv.lock``, whatever the current folder.

    Raises
    ------
    TrainingError
        If the format is unknown, or uv cannot export its group.
    """
    if artifact_format not in GROUPS:
        raise TrainingError(f"artifact format is {artifact_format!r}; it must be one of {sorted(GROUPS)}")
    command = [find_uv(), "export", "--frozen", "--only-group", GROUPS[artifact_format], "--no-emit-project"]
    done = subprocess.run(
        [*command, "--no-header", "--no-annotate", "--quiet"], cwd=project_root(), capture_output=True, text=True
    )
    if done.returncode != 0:
        raise TrainingError(f"uv cannot export the group {GROUPS[artifact_format]!r}: {done.stderr.strip()}")
    return done.stdout


def lock_digest(text: str) -> str:
    """SHA-256 of an environment lock, as hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def find_uv() -> str:
    """Path of the uv that is installed beside this project."""
    import uv

    return str(uv.find_uv_bin())


def ensure_environment(lock: str, folder: Path) -> Path:
    """The Python of the virtual environment that holds exactly this lock, built if it is not there.

    Built aside and renamed when whole, so that a killed build leaves nothing that could be used. Idempotent; a second
    builder waits for the first.

    Parameters
    ----------
    lock
        Text of a ``requirements.txt`` with hashes.
    folder
        Where environments are kept, by the lock's digest and Python's version.

    Raises
    ------
    ImageError
        If uv cannot build it; the message ends with what uv said.
    """
    environment = folder / environment_name(lock)
    python = environment / "bin" / "python"
    if python.exists():
        return python
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{environment.name}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if python.exists():
            return python
        partial = folder / f"{environment.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        run_uv("venv", "--relocatable", "--no-project", "--python", sys.executable, str(partial))
        requirements = partial / "requirements.txt"
        requirements.write_text(lock)
        options = ["--require-hashes", "--compile-bytecode", "--python", str(partial / "bin" / "python")]
        run_uv("pip", "install", *options, "-r", str(requirements))
        partial.rename(environment)
    return python


def environment_name(lock: str) -> str:
    """Folder name of an environment: the lock's digest and the Python that it is for."""
    return f"{lock_digest(lock)}-py{sys.version_info.major}{sys.version_info.minor}"


def run_uv(*arguments: str) -> None:
    """Run uv quietly.

    Raises
    ------
    ImageError
        If it fails; the message ends with what uv said.
    """
    done = subprocess.run([find_uv(), "--quiet", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise ImageError(f"`uv {' '.join(arguments[:2])}` failed with {done.returncode}:\n{done.stderr.strip()}")
