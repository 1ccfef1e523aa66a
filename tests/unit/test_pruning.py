"""What an image leaves out of packages is not missed by those that stay."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from trimtab.release.pruning import prune, strip


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of packages with one real one, which has an extension module."""
    shutil.copytree(Path(msgspec.__file__).parent, tmp_path / "msgspec")
    for name in ("msgspec/tests/test_x.py", "msgspec/core.c", "msgspec-1.dist-info/RECORD", "google/protobuf/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "msgspec-1.dist-info" / "LICENSE").write_text("as you like")
    return tmp_path


def test_what_is_never_run_goes_and_licences_stay(site: Path) -> None:
    """Tests, sources of extension modules, an installer's notes and packages of no use are gone; the rest works."""
    prune(site)
    left = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert "msgspec-1.dist-info/LICENSE" in left
    assert not [name for name in left if name.endswith((".c", ".pyi", "RECORD")) or "/tests/" in name]
    assert not (site / "google").exists()
    code = "import msgspec; assert msgspec.json.decode(b'[1]') == [1]; print(msgspec.__file__)"
    variables = {"PYTHONPATH": str(site), "PATH": os.defpath}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(site))


def test_a_shared_library_is_cut_behind_what_is_loaded_of_it_and_only_once(site: Path) -> None:
    """It gets smaller; cut again it stays as it is."""
    (library,) = (site / "msgspec").glob("_core*.so")
    before = library.read_bytes()
    strip(library)
    cut = library.read_bytes()
    assert len(cut) < len(before)
    strip(library)
    assert library.read_bytes() == cut


def test_a_file_that_is_no_shared_library_is_left(tmp_path: Path) -> None:
    """What has only the name of one keeps its bytes."""
    path = tmp_path / "script.so"
    path.write_bytes(b"INPUT(-lm)")
    strip(path)
    assert path.read_bytes() == b"INPUT(-lm)"
