"""Evidently's own workspace, a project a model and a run a window: for those who know Evidently's UI.

``evidently ui --workspace <home>/evidently`` shows it. It keeps the newest windows of each model. No record rests on
it: deleted, it starts anew with the next window.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, UUID, uuid5

if TYPE_CHECKING:
    from evidently.core.report import Snapshot
    from evidently.ui.workspace import Workspace

_PANELS = (
    ("Share of drifted columns", "share", "by Evidently's default methods, on all rows of a window"),
    ("Drifted columns", "count", "trimtab's ruling does not follow from them: see the run's metadata"),
)


def add_run(folder: Path, model: str, window_id: str, run: Snapshot) -> UUID:
    """Put a window's run into its model's project, which is made if it is not there. Idempotent: ids follow from names.

    Parameters
    ----------
    folder
        Of the workspace; it is made if it is not there.
    model
        Names the project.
    window_id
        Names the window: a run that was added for it before is replaced.
    run
        What Evidently found.

    Returns
    -------
    UUID
        Of the run.
    """
    from evidently.ui.workspace import Workspace

    workspace = Workspace.create(str(folder))
    project_id, run_id = _id(model), _id(f"{model}/{window_id}")
    if workspace.get_project(project_id) is None:
        _make_project(workspace, project_id, model)
    # Workspace.add_run draws an id at random: the same window would stand there twice.
    workspace.state.write_snapshot(project_id, run_id, run.to_snapshot_model())
    return run_id


def keep_newest(folder: Path, model: str, window_ids: Sequence[str], count: int) -> int:
    """Delete a model's runs but those of its newest windows. Idempotent; runs that others added stay.

    Parameters
    ----------
    folder
        Of the workspace.
    model
        Names the project.
    window_ids
        Of all windows that ever had a run, oldest first.
    count
        How many of them keep theirs.

    Returns
    -------
    int
        How many runs were deleted.
    """
    from evidently.ui.workspace import Workspace

    workspace, project_id = Workspace.create(str(folder)), _id(model)
    too_old = {_id(f"{model}/{window_id}") for window_id in window_ids[: max(0, len(window_ids) - count)]}
    deleted = too_old.intersection(workspace.list_runs(project_id)) if too_old else set()
    for run_id in deleted:
        workspace.delete_run(project_id, run_id)
    return len(deleted)


def _make_project(workspace: Workspace, project_id: UUID, model: str) -> None:
    from evidently.sdk.models import DashboardModel, DashboardTabModel, PanelMetric, ProjectModel
    from evidently.sdk.panels import line_plot_panel

    panels = [
        line_plot_panel(
            title,
            [PanelMetric(legend=value, metric="DriftedColumnsCount", metric_labels={"value_type": value})],
            subtitle,
            size="half",
        )
        for title, value, subtitle in _PANELS
    ]
    # At once: Evidently's add_panel puts the second panel of a tab there twice.
    tab = DashboardTabModel(title="Drift", panels=[panel.id for panel in panels])
    description = "windows of live predictions, as watch judged them"
    workspace.add_project(ProjectModel(id=project_id, name=model, description=description))
    workspace.save_dashboard(project_id, DashboardModel(tabs=[tab], panels=panels))


def _id(name: str) -> UUID:
    return uuid5(NAMESPACE_URL, f"trimtab/{name}")
