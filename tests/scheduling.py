"""In which order, and by which of several processes, tests run."""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadFileScheduling

LONGEST_FIRST = ("loop", "flows", "contracts", "serving", "browser", "properties", "unit")
"""The folders of tests by how long a file takes: one that came last would keep one process busy and the others idle."""

ON_ONE_STACK = "tests/loop"
"""Files in here share one stack, and so one process."""


def position(node_id: str) -> int:
    """Where the folder of a test stands in `LONGEST_FIRST`."""
    return LONGEST_FIRST.index(PurePosixPath(node_id).parts[1])


class ByFile(LoadFileScheduling):
    """A file's tests run in one process, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return ON_ONE_STACK if nodeid.startswith(f"{ON_ONE_STACK}/") else super()._split_scope(nodeid)
