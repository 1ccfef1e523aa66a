"""Counting works also where nothing that is compiled can be kept."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from trimtab.decay.profile import counting_many

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import counting_many as counting, numpy as np
counts, sums = np.zeros(3, dtype=np.int64), np.zeros(3)
edges = np.array([0.0, 1.0])
counting.count(np.array([-1.0, 0.5, 0.5, 2.0]), counting.grid(edges, 0.0), counts, sums)
print(counts.tolist(), sums.tolist())
"""


def test_without_a_place_for_what_is_compiled_it_is_compiled_anew(tmp_path: Path):
    """Neither beside the file, where a file is in the way, nor in the home, which there is not."""
    shutil.copy(counting_many.__file__, tmp_path / "counting_many.py")
    (tmp_path / "__pycache__").touch()
    nowhere = str(tmp_path / "__pycache__" / "home")
    environment = {**os.environ, "HOME": nowhere, "XDG_CACHE_HOME": nowhere}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert said.stdout == "[1, 2, 1] [-1.0, 1.0, 2.0]\n", said.stderr
