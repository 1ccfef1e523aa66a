"""Gateways that start at once: a process that has imported everything forks one each time it is asked to.

A line on stdin starts one; its process id is answered, and its exit status once it has ended. What is killed is a whole
process with its own files and connections, as any gateway; only the second for its imports is saved.
"""

import os
import sys

# pyarrow imports it for its first array.
import pandas  # noqa: F401

from trimtab.serving.__main__ import main


def serve() -> None:
    for _ in sys.stdin:
        # fork, not a thread pool: nothing has been started yet that a fork would lose.
        pid = os.fork()
        if pid == 0:
            sys.argv[1:] = []
            os.dup2(2, 1)
            os._exit(main())
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
