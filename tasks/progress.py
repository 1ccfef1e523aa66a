"""How far a run has come, as a progress artifact in the Prefect UI."""

from __future__ import annotations

from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.runtime import flow_run

_shown: dict[str, tuple[UUID, float]] = {}


def show_progress(key: str, percent: float, description: str) -> None:
    """Show that this flow run has come that far; it never goes back.

    Parameters
    ----------
    key
        Key of the artifact, one a model and flow.
    percent
        From 0 to 100.
    description
        What the bar is about.
    """
    run_id = flow_run.get_id()
    if run_id is None:
        return
    artifact_id, reached = _shown.get(run_id, (None, -1.0))
    if artifact_id is None:
        made = create_progress_artifact(progress=percent, key=key, description=description)
        _shown[run_id] = (made, percent)  # type: ignore[assignment]
    elif percent > reached:
        update_progress_artifact(artifact_id=artifact_id, progress=percent)
        _shown[run_id] = (artifact_id, percent)
