"""Watching live traffic: what is read, measured, drawn and announced for a ruling.

window.py (which rows are judged) · reference.py (what they are compared with) · measure.py (numbers) · profiling.py
(segments counted once) · anomalies.py (odd rows) · report.py (Evidently's report and the run's artifacts) · plots.py (pictures) · announce.py (events, and
what they missed) · tell.py (messages to people) · retention.py (what of the log is kept)
"""

from tasks.monitoring.announce import announce, payload, reconcile
from tasks.monitoring.measure import measure
from tasks.monitoring.profiling import store_profiles
from tasks.monitoring.reference import make_reference
from tasks.monitoring.report import publish
from tasks.monitoring.retention import prune_log
from tasks.monitoring.tell import tell_changes
from tasks.monitoring.window import (
    Window,
    acknowledge_segments,
    open_window,
    read_history,
    read_incoming,
    report_path,
    seal_log,
)

__all__ = [
    "Window",
    "acknowledge_segments",
    "announce",
    "make_reference",
    "measure",
    "open_window",
    "payload",
    "prune_log",
    "publish",
    "read_history",
    "read_incoming",
    "reconcile",
    "report_path",
    "seal_log",
    "store_profiles",
    "tell_changes",
]
