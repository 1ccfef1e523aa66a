"""Counting works also where nothing that is compiled can be kept, or what was kept cannot be read."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trimtab.decay.profile import counting_many

PROGRAM = """
import resource, sys
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
sys.path.insert(0, sys.argv[1])
import counting_many as counting, numpy as np
counts, sums = np.zeros(3, dtype=np.int64), np.zeros(3)
edges = np.array([0.0, 1.0])
counting.count(np.array([-1.0, 0.5, 0.5, 2.0]), counting.grid(edges, 0.0), counts, sums)
print(counts.tolist(), sums.tolist())
"""


RIGHT = "[1, 2, 1] [-1.0, 1.0, 2.0]\n"


def counted(folder: Path, *more: str, **environment: str) -> subprocess.CompletedProcess:
    """What a process says that counts by the copy of the loops in this folder."""
    command = [sys.executable, "-c", PROGRAM, str(folder), *more]
    kept = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    return subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with a copy of the loops, and nothing kept."""
    shutil.copy(counting_many.__file__, tmp_path / "counting_many.py")
    return tmp_path


def test_without_a_place_for_what_is_compiled_it_is_compiled_anew(folder: Path):
    """Neither beside the file, where a file is in the way, nor in the home, which there is not."""
    (folder / "__pycache__").touch()
    nowhere = str(folder / "__pycache__" / "home")
    said = counted(folder, HOME=nowhere, XDG_CACHE_HOME=nowhere)
    assert said.stdout == RIGHT, said.stderr


def test_on_a_full_disk_what_is_compiled_is_used_all_the_same(folder: Path):
    """A place that takes no more bytes than this is as good as none."""
    said = counted(folder, "2000")
    assert said.stdout == RIGHT, said.stderr
    assert "each process compiles its own" in said.stderr


def test_what_was_kept_and_cut_short_stops_nobody(folder: Path):
    """As after a power cut: files that end too soon, or are empty."""
    counted(folder)
    for suffix, share in (("nbc", 0.5), ("nbi", 0)):
        files = list((folder / "__pycache__").glob(f"*.{suffix}"))
        assert files
        for file in files:
            os.truncate(file, int(share * file.stat().st_size))
        said = counted(folder)
        assert said.stdout == RIGHT, said.stderr
        assert "each process compiles its own" in said.stderr
