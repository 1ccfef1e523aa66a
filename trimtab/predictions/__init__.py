"""The prediction log and the outcomes: one folder a model.

Where to go to change ...

=============================================  =================================================
columns, ids and their forms                   ``schema.py``
how a batch becomes durable, and what is read  ``log.py``
the files that sealed spans become             ``sealing.py``, ``segments.py``, ``footers.py``
where those live: a folder, S3                 ``homes.py``, ``homes_*.py``
how long they are kept, and legal holds        ``retention.py``, ``holds.py``, ``tombstones.py``
finding one prediction                         ``lookup.py``
listing them, by caller, request, time ...     ``listing.py``, ``visiting.py``, ``query.py``
where a request id stands in a segment         ``request_index.py``
a window as a stream, or as a DuckDB table     ``scan.py``
one moment of a log, piece by piece            ``snapshot.py``
a window of them with their outcomes           ``window.py``
a window's profile, from stored ones           ``profiles.py``, ``profile_days.py``, ``profile_files.py``
what came true                                 ``outcomes.py``, ``outcome_rows.py``
the rule for outcomes that come again          ``statements.py``
files of outcomes                              ``bulk.py``, ``outcome_files.py``, ``outcome_cells.py``, ``rejects.py``
which predictions a request has                ``requested.py``
how far outcomes have come in                  ``outcome_status.py``
what was answered and could not be logged      ``gaps.py``
how SQLite is used                             ``spool.py``, ``spool_format.py``, ``database.py``
=============================================  =================================================

Stored formats are promises: columns are only ever added, and what an older version wrote is read for ever.
"""

from trimtab.predictions.listing import Page, list_predictions
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.lookup import find_prediction
from trimtab.predictions.outcomes import Outcome, Outcomes, Receipt
from trimtab.predictions.query import Query
from trimtab.predictions.scan import open_scan, register
from trimtab.predictions.schema import log_schema, new_prediction_ids
from trimtab.predictions.segments import SealedSpan
from trimtab.predictions.window import read_window

__all__ = [
    "Outcome",
    "Outcomes",
    "Page",
    "PredictionLog",
    "Query",
    "Receipt",
    "SealedSpan",
    "find_prediction",
    "list_predictions",
    "log_schema",
    "new_prediction_ids",
    "open_scan",
    "read_window",
    "register",
]
