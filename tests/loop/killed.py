"""Run the retrain flow again and again, each time dead of SIGKILL right after a number of its steps.

``python -m tests.loop.killed AS_OF KEY`` reads a number of steps a line, and answers each with a line of JSON: the exit
status of a process that retrained the loan model until so many steps had ended, and the names of those steps. A step is
a task of the flow; the process dies between the end of one and the start of the next, where a machine that loses its
power would. Each run is a fork of this process, which has imported everything: that saves ten seconds a run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import great_expectations  # noqa: F401
import mlflow  # noqa: F401
import sklearn.ensemble  # noqa: F401
import treelite  # noqa: F401
from prefect import Task

from flows.retrain import retrain


def until_killed(steps: int, as_of: str, key: str, ended: int) -> None:
    """Retrain, and die after that many steps; writes the name of each step that ended to the descriptor."""
    done = 0
    call = Task.__call__

    def counted(task: Task[Any, Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal done
        result = call(task, *args, **kwargs)
        done += 1
        os.write(ended, f"{task.name}\n".encode())
        if done == steps:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Task.__call__ = counted  # type: ignore[method-assign]
    retrain("loan", as_of=as_of, reason="killed and run again", cause={"key": key})


def main(as_of: str, key: str) -> None:
    """Answer each line of the standard input."""
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            status = 1
            try:
                until_killed(int(line), as_of, key, write)
                status = 0
            finally:
                os._exit(status)
        os.close(write)
        with os.fdopen(read) as steps:
            names = steps.read().splitlines()
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), "steps": names}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
