"""What a benchmark found, and where it was found."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

_PACKAGES = ("trimtab", "prefect", "mlflow", "great-expectations", "evidently", "scikit-learn", "numpy", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for people."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """Tables, the same numbers by name (units in the names), and the last line's ratio; None: it was not measured."""

    tables: tuple[Table, ...]
    values: dict[str, Any]
    ratio_name: str
    ratio: float | None
    notes: tuple[str, ...] = field(default=())


def versions() -> dict[str, str]:
    """Python, the packages that matter, and the commit."""
    root = Path(__file__).parents[1]
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    ).stdout.strip()
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **packages, "commit": commit or "unknown"}


def machine() -> dict[str, Any]:
    """Cores, memory, load and system."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
    }
