"""window → segments without a profile → count, a chunk a task → stored: what windows are then judged from."""

from __future__ import annotations

from datetime import datetime

from prefect import flow, get_run_logger

from flows.causes import moment
from tasks import monitoring
from tasks.progress import show_progress
from tasks.runner import task_runner


@flow(flow_run_name="profile {model}", description="Count a model's sealed predictions on what serves' reference.")
def profile(model: str, start: datetime | None = None, end: datetime | None = None) -> int:
    """Count sealed predictions once, so that no window of them is ever read again to be judged; returns their number.

    ``watch`` does so for its own window: this is for the time before, such as a year that is to be backtested. Cut
    short, it goes on where it was when it is run again.

    Parameters
    ----------
    model
        Name of the model.
    start
        Predictions with an event time from here on (UTC); from the first by default.
    end
        Predictions with an event time before this moment; to the last by default.
    """
    window = monitoring.open_window(model, moment(None))
    if window is None:
        get_run_logger().info("%s has no release yet: there is no reference to count on", model)
        return 0
    since, until = (None if time is None else moment(time) for time in (start, end))
    label = f"{model}: sealed segments that are profiled"
    return monitoring.store_profiles(
        window, since, until, task_runner(), lambda percent: show_progress(f"profile-{model}", percent, label)
    )
