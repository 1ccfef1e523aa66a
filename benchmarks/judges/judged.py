"""What every judge says at its end: one line of JSON. It runs in each peer's own environment, with nothing of ours."""

import json
import re
import time
from pathlib import Path


def finish(begun: float, imported: float, columns: int, drifted: int) -> None:
    """Print seconds of imports and of the judgement (reading included), and the most memory of the process.

    The memory is Linux's own high-water mark of what was executed; that of ``getrusage`` would also count the parent
    that it was forked from.
    """
    ended = time.perf_counter()
    [peak_kib] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    said = {"import_s": imported - begun, "judge_s": ended - imported, "memory_mib": int(peak_kib) / 1024}
    said["cpu_s"] = time.process_time()
    print(json.dumps({**said, "columns": columns, "drifted": drifted}))
