"""Each peer's own packages, in ``.benchmarks/envs/<peer>``: installed once for one list of pins.

A peer is a folder with a ``requirements.txt``, here by default.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENVIRONMENTS = ROOT / ".benchmarks" / "envs"
_UV = Path(sys.executable).with_name("uv")
_SHOWN = 800


class PeerError(Exception):
    """A peer could not be installed, started or asked; the message says why."""


def python_of(peer: str, folder: Path = HERE) -> Path:
    """The peer's interpreter, after its packages are installed.

    Raises
    ------
    PeerError
        If they cannot be.
    """
    requirements = folder / peer / "requirements.txt"
    pins = requirements.read_bytes()
    home = ENVIRONMENTS / peer
    mark = home / ".installed"
    digest = hashlib.sha256(pins).hexdigest()
    interpreter = home / "bin" / "python"
    if mark.is_file() and mark.read_text() == digest:
        return interpreter
    print(f"{peer}: installing its packages into {home.relative_to(ROOT)}")
    _uv(peer, "venv", "--quiet", "--clear", "--python", sys.executable, str(home))
    _uv(peer, "pip", "sync", "--quiet", "--python", str(interpreter), str(requirements))
    mark.write_text(digest)
    return interpreter


def version_of(peer: str, package: str, folder: Path = HERE) -> str:
    """The pinned version of a package."""
    for line in (folder / peer / "requirements.txt").read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line.split("==")[1].split()[0]
    raise PeerError(f"{package} is not pinned in {peer}'s requirements.txt")


def _uv(peer: str, *arguments: str) -> None:
    done = subprocess.run([str(_UV), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeerError(f"{peer} cannot be installed: uv {arguments[0]} says {done.stderr.strip()[-_SHOWN:]}")
