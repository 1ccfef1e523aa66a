"""A stack that starts or stops does not wait for what only flows need."""

from __future__ import annotations

import subprocess
import sys

import pytest

_MODULES = "import sys, tasks.rollout.{name}; print(*{{name.partition('.')[0] for name in sys.modules}})"


@pytest.mark.parametrize(
    ("name", "not_needed"),
    [
        ("restoring", {"prefect", "mlflow", "sklearn", "pandas"}),
        ("scorers", {"prefect", "mlflow", "sklearn", "pandas", "numpy", "pyarrow", "sqlalchemy", "pydantic", "docker"}),
    ],
)
def test_what_a_stack_runs_on_releases_imports_little(name: str, not_needed: set[str]) -> None:
    """Each is a process of its own, and Prefect alone would keep its user waiting for a second."""
    run = subprocess.run([sys.executable, "-c", _MODULES.format(name=name)], capture_output=True, text=True, check=True)
    assert not not_needed & set(run.stdout.split())
