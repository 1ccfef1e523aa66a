"""Evidently's official report on top of our verdicts, as a watch writes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import evidently
import evidently.legacy.calculations.stattests
import evidently.presets  # noqa: F401
import pyarrow.parquet as pq

from tasks.monitoring.evidently_report import write_report
from trimtab.decay.parity import Verdict
from trimtab.spec import Feature, ModelSpec, Target, Trainer


def write(folder: Path, paths: tuple[Path, Path], found: Sequence[Verdict]) -> None:
    """The page, from the first rows of both files as samples."""
    names = pq.read_schema(paths[0]).names
    spec = ModelSpec(
        name="bench",
        source="data:load",
        target=Target(name="target"),
        features=tuple(Feature(name=name, type="number" if name.startswith("n") else "category") for name in names),
        suite="bench",
        trainers=(Trainer(name="none", function="training:none"),),
    )
    reference, window = (pq.ParquetFile(path).read_row_group(0).slice(0, 20_000) for path in paths)
    write_report(
        spec,
        reference,
        window,
        found,
        folder / "drift.html",
        title="bench",
        ruling="",
        at=datetime(2024, 1, 1, tzinfo=UTC),
    )
