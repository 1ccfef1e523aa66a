"""``python -m trimtab.predictions.sealer FOLDER ROWS``: seal the oldest so many rows of a log, if there are so many.

The gateway starts it (serving/sealing.py): a process of its own takes no time of the event loop that answers. It may be
killed at any moment and started beside another sealer: the lock, and what the spool says, decide (sealing.py). It
gives way to whatever answers requests, but not without end: appends wait while it holds the spool for a commit.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from trimtab.errors import PredictionLogError
from trimtab.predictions.arrow import leave_out_pandas

_NICENESS = 5
"""A third of the weight of who answers. At the lowest priority an append could wait a second for one commit."""


def main(arguments: list[str] | None = None) -> int:
    """Seal, under the settings of the environment.

    Returns
    -------
    int
        1 if it cannot be sealed (said on stderr), else 0.
    """
    parser = argparse.ArgumentParser(prog="python -m trimtab.predictions.sealer", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the model's log")
    parser.add_argument("rows", type=int, help="of the segment; a log with fewer is left as it is")
    asked = parser.parse_args(arguments)
    leave_out_pandas()
    from trimtab.predictions.log import PredictionLog

    log = PredictionLog(asked.folder)
    try:
        log.seal_oldest(asked.rows)
    except PredictionLogError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        log.close()
    return 0


def _give_way() -> None:
    """Let this process take what is left of one core."""
    import pyarrow as pa

    os.nice(_NICENESS)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


if __name__ == "__main__":
    _give_way()
    sys.exit(main())
