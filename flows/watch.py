"""window → profile → validate → measure → rule → record → announce → publish → tell."""

from __future__ import annotations

from datetime import datetime

from prefect import flow, get_run_logger

from flows.causes import moment
from tasks import lineage, monitoring
from tasks.runner import task_runner
from tasks.validation import validate_window
from trimtab.decay.policy import rule
from trimtab.records import Ruling


@flow(flow_run_name="watch {model}", description="Judge the latest window of a model's live predictions.")
def watch(model: str, as_of: datetime | None = None) -> Ruling | None:
    """Judge the window of a model that ends at ``as_of`` (now by default), once.

    A window that was judged before is not judged again: its ruling is returned, and nothing is announced. Before the
    first release there is nothing to judge: None. What earlier rulings asked for and no run came of, and changes of the
    model's state that people were not told of, are made up for.
    """
    stands_at = moment(as_of)
    monitoring.acknowledge_segments(model, [lineage.record(segment) for segment in monitoring.seal_log(model)])
    monitoring.prune_log(model, stands_at)
    window = monitoring.open_window(model, stands_at)
    if window is None:
        get_run_logger().info("%s has no release yet: there is nothing to watch", model)
        return None
    monitoring.reconcile(window, moment(None))
    if known := lineage.recorded(Ruling, window.ruling_id):
        monitoring.tell_changes(model, moment(None))
        return known
    monitoring.store_profiles(window, window.start, window.end, task_runner())
    incoming, profile = monitoring.read_incoming(window), monitoring.profile_of(window)
    validation = lineage.record(validate_window(model, incoming, window.release.id)) if incoming.num_rows else None
    measured = monitoring.measure(window, incoming, profile, validation)
    history = monitoring.read_history(model)
    ruling = lineage.record(rule(window.spec, window.release, measured, history, monitoring.report_path(window)))
    monitoring.announce(ruling)
    monitoring.publish(window, incoming, profile, measured.performance, ruling, history.rulings)
    monitoring.tell_changes(model, moment(None))
    return ruling
