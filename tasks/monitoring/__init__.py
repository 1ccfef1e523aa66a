"""Watching live traffic: what is read, measured, drawn and announced for a ruling.

window.py (which rows are judged) · reference.py (what they are compared with) · profiling.py (segments counted once) ·
measure.py (numbers) · anomalies.py (odd rows) · report.py, evidently_report.py and plots.py (what people look at) ·
announce.py (events, and what they missed) · tell.py (messages to people) · retention.py (what of the log is kept)
"""

from tasks.monitoring.announce import announce, payload, reconcile
from tasks.monitoring.measure import measure, profile_of
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
    "profile_of",
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
