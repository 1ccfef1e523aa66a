"""How often drift alarms in windows in which nothing has changed, beside the rate that the policy states.

A reference of 50 features (populations.py) is made by ``write_reference``; then windows are drawn anew from the same
distribution, week after week, so that slow drift carries on, and go through ``measure`` and ``signals`` as in
production. As one reference is a sample that all its windows are held to, there are several, and the windows are shared
out among them. Beside the alarms stand the p-values alone, without the effect that an alarm asks for too: they tell
whether the laws of null windows hold. Evidently's defaults (decay/parity.py) judge the features of the same windows.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from benchmarks.figures import Figures, Table
from benchmarks.populations import (
    COLUMNS,
    FAMILIES,
    SCORES,
    SHARE,
    SPEC,
    Watched,
    alarms,
    draw,
    evidently,
    make_reference,
    sequences,
)
from trimtab.decay.parity import is_dataset_drifted

RULE = SPEC.policy.drift
ANY = "any drift signal"
LOOSE = 0.05
"""A level at which a few hundred windows tell whether p-values hold."""
SMALLEST_COLUMN = "a column's or the score's corrected p"
TOGETHER = "p of all features together"
STATED = {
    ANY: RULE.false_alarm_rate,
    COLUMNS: RULE.column_level,
    SCORES: RULE.column_level,
    SHARE: RULE.column_level,
    "all features together": RULE.multivariate_level,
    "slow drift": 1 / RULE.run_length,
    f"{SMALLEST_COLUMN} below {RULE.column_level:g}": RULE.column_level,
    f"{SMALLEST_COLUMN} below {LOOSE:g}": LOOSE,
    f"{TOGETHER} below {RULE.multivariate_level:g}": RULE.multivariate_level,
    f"{TOGETHER} below {LOOSE:g}": LOOSE,
}
"""By what is counted: the share of null windows that it may be true of."""
EVIDENTLY = ("Evidently: dataset drift", "Evidently: any feature")


def run(arguments: list[str]) -> Figures:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="make bench NAME=null_windows", description=__doc__)
    parser.add_argument("--windows", type=int, default=1_000, help="of each size")
    parser.add_argument("--sizes", default="500,1000,5000", help="rows of a window, with commas")
    parser.add_argument("--reference-rows", type=int, default=20_000)
    parser.add_argument("--references", type=int, default=8)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="20 windows of 500 rows: to try it, not to quote it")
    options = parser.parse_args(arguments)
    if options.quick:
        options.windows, options.sizes, options.references, options.reference_rows = 20, "500", 1, 5_000
    sizes = [int(size) for size in options.sizes.split(",")]
    tasks = [
        (number, options.reference_rows, size, count)
        for size in sizes
        for number, count in enumerate(sequences(options.windows, options.references))
    ]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        counted = list(pool.map(count_alarms, *zip(*tasks, strict=True)))
    found = {
        size: sum((one for task, one in zip(tasks, counted, strict=True) if task[2] == size), Counter())
        for size in sizes
    }
    return _figures(options, found)


def count_alarms(number: int, reference_rows: int, size: int, windows: int) -> Counter[str]:
    """Of so many null windows of that size against one reference, how many each of `STATED` and `EVIDENTLY` is true
    of; under ``drifted features`` how many features Evidently calls drifted, all in all."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        reference = make_reference(Path(folder), np.random.default_rng([number, 0]), reference_rows)
        watched, random = Watched(reference), np.random.default_rng([number, 1, size])
        for _ in range(windows):
            rows = draw(random, size)
            measured, told, of_window = watched.see(rows)
            families = alarms(told)
            found.update(families)
            found[ANY] += bool(families)
            smallest = min(one.adjusted_p for one in measured.distances)
            for level in (RULE.column_level, LOOSE):
                found[f"{SMALLEST_COLUMN} below {level:g}"] += smallest < level
            for level in (RULE.multivariate_level, LOOSE):
                together = measured.separation is not None and measured.separation.p_value < level
                found[f"{TOGETHER} below {level:g}"] += together
            judged = evidently(reference, of_window, rows)
            found[EVIDENTLY[0]] += is_dataset_drifted(judged)
            found[EVIDENTLY[1]] += any(one.drifted for one in judged)
            found["drifted features"] += sum(one.drifted for one in judged)
    return found


def _figures(options: argparse.Namespace, found: dict[int, Counter[str]]) -> Figures:
    windows = options.windows
    assert set(FAMILIES) <= set(STATED)

    def cell(count: int) -> str:
        known = binomtest(count, windows).proportion_ci(method="wilson")
        return f"{count / windows:.1%} ({known.low:.1%} to {known.high:.1%})"

    table = Table(
        f"share of {windows} null windows of each size, with its 95 % interval; {options.references} references of "
        f"{options.reference_rows:,} rows",
        ("", "stated, at most", *(f"{size:,} rows" for size in found)),
        tuple(
            (name, f"{STATED[name]:.2%}" if name in STATED else "", *(cell(one[name]) for one in found.values()))
            for name in (*STATED, *EVIDENTLY)
        ),
    )
    worst = max(one[ANY] for one in found.values()) / windows
    return Figures(
        (table,),
        {
            "windows": windows,
            "references": options.references,
            "reference_rows": options.reference_rows,
            "stated_share": STATED,
            "share_by_size": {
                size: {name: one[name] / windows for name in (*STATED, *EVIDENTLY)} for size, one in found.items()
            },
            "evidently_drifted_features_a_window": {
                size: one["drifted features"] / windows for size, one in found.items()
            },
        },
        "share of null windows that alarm, at the worst size, over the stated rate",
        worst / RULE.false_alarm_rate,
    )
