"""Our own ways to judge a window, each run in a process of its own: ``python -m benchmarks.judges.trimtab WAY ...``.

``verdicts``: the window is profiled on the stored reference's bins, and compared: distances, p-values, and what
Evidently says by default. ``report``: the same, then Evidently's official report. ``cold``: the reference is profiled
first. ``hours``: as ``verdicts``, from the log's stored hourly profiles, ``days`` from the sums of its days, which
``hours`` leaves behind. ``scan``: DuckDB sums every column of a file, of texts
their lengths.
"""

from __future__ import annotations

import shutil
import sys
import time

begun = time.perf_counter()

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numba  # noqa: F401 (of the imports that wait until they are needed these are not short, and would count as judging)
import numpy as np
import pandas  # noqa: F401 (pyarrow imports it with the first list)
import pyarrow.parquet as pq
import scipy.spatial.distance
import scipy.stats  # noqa: F401

from benchmarks.judges.judged import finish
from trimtab.decay.distance import compare
from trimtab.decay.parity import Verdict, verdicts
from trimtab.decay.profile import Profile, choose_bins, profile
from trimtab.predictions import PredictionLog
from trimtab.predictions.profiles import window_profile

MONDAY, WEEK = datetime(2026, 1, 5, tzinfo=UTC), timedelta(days=7)
"""When the log's week begins."""


def types_of(path: Path) -> dict[str, str]:
    """The columns of a file: those that begin with n are numbers, the others categories."""
    names = pq.read_schema(path).names
    return {name: "number" if name.startswith("n") else "category" for name in names}


def make_reference(path: Path) -> Profile:
    """Bins and counts of a reference, in two scans."""
    return profile(path, choose_bins(path, types_of(path)))


def judge(reference: Profile, window: Profile, paths: tuple[Path, Path]) -> tuple[Verdict, ...]:
    """Our distances and Evidently's verdicts; returns the latter."""
    compare(reference, window)

    def exact(column: str) -> tuple[np.ndarray, np.ndarray]:
        sides = [pq.read_table(path, columns=[column])[column].drop_null().to_numpy() for path in paths]
        return sides[0], sides[1]

    return verdicts(reference, window, exact)


def main(way: str, folder: Path) -> None:
    """Judge, and say how long it took."""
    reference_path, window_path = folder / "reference.parquet", folder / "window.parquet"
    paths = (reference_path, window_path)
    if way == "scan":
        import duckdb

        imported = time.perf_counter()
        with duckdb.connect(config={"memory_limit": "1GB", "threads": 2}) as connection:
            sums = ", ".join(
                f"sum({name})" if name.startswith("n") else f"sum(strlen({name}))" for name in types_of(window_path)
            )
            connection.execute(f"SELECT {sums} FROM '{window_path}'").fetchall()
        finish(begun, imported, len(types_of(window_path)), 0)
        return
    if way == "report":
        from benchmarks.judges.report import write
    imported = time.perf_counter()
    if way in ("cold", "reference"):
        reference = make_reference(reference_path)
        if way == "reference":
            (folder / "reference.json").write_text(reference.model_dump_json())
    else:
        reference = Profile.model_validate_json((folder / "reference.json").read_text())
    if way in ("hours", "days"):
        for days in folder.glob("log/profiles/*/days") if way == "hours" else ():
            shutil.rmtree(days)
        # The stored reference is read once a service, not once a window.
        imported = time.perf_counter()
        window = window_profile(PredictionLog(folder / "log"), MONDAY, MONDAY + WEEK, reference.bins())
    else:
        window = profile(window_path, reference.bins())
    found = judge(reference, window, paths)
    if way == "report":
        write(folder, paths, found)
    finish(begun, imported, len(window.columns), sum(one.drifted for one in found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
