"""Which changes drift alarms find, in how many windows and by which detector, beside Evidently's defaults.

Against a reference of 50 features (populations.py) come ``--sequences`` rows of windows of each size after each change,
``--windows`` in a row, through ``measure`` and ``signals`` as in production. The share of windows that alarm is of all
of them; the delay is the number of the first window that does, 1 being the first after the change, over the sequences
that alarm at all. Evidently's verdict (decay/parity.py) is that on its dataset, as its users get it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.figures import Figures, Table
from benchmarks.populations import (
    BINARY_SHARE,
    FAMILIES,
    Change,
    Watched,
    alarms,
    draw,
    evidently,
    make_reference,
)
from trimtab.decay.parity import is_dataset_drifted

CHANGES = {
    **{
        f"{shift:g} sigma in {columns} of 50": Change(shift=shift, columns=columns)
        for columns in (1, 5)
        for shift in (0.1, 0.2, 0.3, 0.5, 1.0)
    },
    **{f"correlation .8 to {after:g}": Change(correlation=after) for after in (0.5, 0.0)},
    **{f"a category's share {BINARY_SHARE:g} to {after:g}": Change(share=after) for after in (0.4, 0.55)},
}
ANY, EVIDENTLY, EVIDENTLY_ANY = "any", "Evidently, dataset", "Evidently, any feature"
DETECTORS = (*FAMILIES, "score")
_SHORT = {"slow drift": "slow", "all features together": "together", EVIDENTLY: "Evidently", EVIDENTLY_ANY: "its any"}


@dataclass(frozen=True)
class Found:
    """Of one change at one size: which share of the windows each of `ANY`, `DETECTORS` and Evidently's alarm in, and
    the mean delay of ours, in windows; None where no sequence alarms."""

    shares: dict[str, float]
    delay_windows: float | None
    alarmed: int


def run(arguments: list[str]) -> Figures:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="make bench NAME=power", description=__doc__)
    parser.add_argument("--windows", type=int, default=20, help="in a row after a change")
    parser.add_argument("--sequences", type=int, default=5, help="of each change and size")
    parser.add_argument("--sizes", default="500,1000,5000", help="rows of a window, with commas")
    parser.add_argument("--reference-rows", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="one sequence of 3 windows of 500 rows: to try it")
    options = parser.parse_args(arguments)
    if options.quick:
        options.windows, options.sequences, options.sizes, options.reference_rows = 3, 1, "500", 5_000
    sizes = [int(size) for size in options.sizes.split(",")]
    tasks = [(size, number) for size in sizes for number in range(options.sequences)]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(watch, number, options.reference_rows, size, options.windows) for size, number in tasks]
        seen = {task: future.result() for task, future in zip(tasks, futures, strict=True)}
    found = {
        size: {name: _summary([seen[size, number][name] for number in range(options.sequences)]) for name in CHANGES}
        for size in sizes
    }
    return _figures(options, found)


def watch(number: int, reference_rows: int, size: int, windows: int) -> dict[str, list[set[str]]]:
    """By change, what alarms in each of so many windows after it, against the reference of that number."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        reference = make_reference(Path(folder), np.random.default_rng([number, 0]), reference_rows)
        for at, (name, change) in enumerate(CHANGES.items()):
            watched, random = Watched(reference), np.random.default_rng([number, 2, size, at])
            found[name] = [_alarms(watched, draw(random, size, change)) for _ in range(windows)]
    return found


def _alarms(watched: Watched, rows: pa.Table) -> set[str]:
    _, told, of_window = watched.see(rows)
    families = alarms(told)
    judged = evidently(watched.reference, of_window, rows)
    if families:
        families.add(ANY)
    if is_dataset_drifted(judged):
        families.add(EVIDENTLY)
    if any(one.drifted for one in judged):
        families.add(EVIDENTLY_ANY)
    return families


def _summary(sequences: list[list[set[str]]]) -> Found:
    windows = [one for sequence in sequences for one in sequence]
    names = (ANY, *DETECTORS, EVIDENTLY, EVIDENTLY_ANY)
    firsts = [
        [ANY in one for one in sequence].index(True) + 1 for sequence in sequences if any(ANY in s for s in sequence)
    ]
    return Found(
        shares={name: sum(name in one for one in windows) / len(windows) for name in names},
        delay_windows=float(np.mean(firsts)) if firsts else None,
        alarmed=len(firsts),
    )


def _figures(options: argparse.Namespace, found: dict[int, dict[str, Found]]) -> Figures:
    names = (ANY, *DETECTORS, EVIDENTLY, EVIDENTLY_ANY)
    tables = tuple(
        Table(
            f"share of windows of {size:,} rows that alarm; {options.sequences} sequences of {options.windows}",
            ("after", *(_SHORT.get(name, name) for name in names), "delay"),
            tuple(
                (change, *(f"{one.shares[name]:.0%}" for name in names), _delay(one, options.sequences))
                for change, one in by_change.items()
            ),
        )
        for size, by_change in found.items()
    )
    everything = [one for by_change in found.values() for one in by_change.values()]
    ours, theirs = (float(np.mean([one.shares[name] for one in everything])) for name in (ANY, EVIDENTLY))
    return Figures(
        tables,
        {
            "windows": options.windows,
            "sequences": options.sequences,
            "reference_rows": options.reference_rows,
            "by_size": {
                size: {
                    change: {"share": one.shares, "delay_windows": one.delay_windows, "sequences_alarmed": one.alarmed}
                    for change, one in by_change.items()
                }
                for size, by_change in found.items()
            },
        },
        "share of changed windows that alarm, minus Evidently's dataset drift",
        ours - theirs,
    )


def _delay(found: Found, sequences: int) -> str:
    if found.delay_windows is None:
        return "never"
    return f"{found.delay_windows:.1f}" + ("" if found.alarmed == sequences else f" ({found.alarmed} of {sequences})")
