"""What runs many tasks of one flow at once: threads here, or Dask where one machine is outgrown."""

from __future__ import annotations

import os
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from trimtab.errors import SpecError
from trimtab.settings import Settings


def task_runner(settings: Settings | None = None) -> TaskRunner[Any]:
    """The task runner that ``TRIMTAB_TASK_RUNNER`` names, not yet started: ``with task_runner() as runner``.

    Workers of a Dask cluster must be able to import trimtab and see its home (``TRIMTAB_HOME``) under the same path.

    Raises
    ------
    SpecError
        If Dask is asked for and not installed.
    """
    chosen = (settings or Settings.from_env()).task_runner
    if chosen == "threads":
        return ThreadPoolTaskRunner(max_workers=os.cpu_count())
    try:
        from prefect_dask import DaskTaskRunner
    except ModuleNotFoundError as error:
        raise SpecError(
            f"TRIMTAB_TASK_RUNNER is {chosen!r}, and {error.name} is not installed: pip install 'trimtab[dask]'"
        ) from error
    return DaskTaskRunner() if chosen == "dask" else DaskTaskRunner(address=chosen)
