"""``python -m trimtab.predictions.sealer FOLDER ROWS``: seal the oldest so many rows of a log, if there are so many.

The gateway starts it (serving/sealing.py): a process of its own takes no time of the event loop that answers. It may be
killed at any moment and started beside another sealer: the lock, and what the spool says, decide (sealing.py).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trimtab.errors import PredictionLogError
from trimtab.predictions.arrow import leave_out_pandas


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


if __name__ == "__main__":
    sys.exit(main())
