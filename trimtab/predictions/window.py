"""A window of a model's predictions with what came true of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from trimtab.predictions.log import PredictionLog
from trimtab.predictions.outcomes import Outcomes
from trimtab.predictions.schema import TIME


def read_window(
    folder: Path,
    start: datetime,
    end: datetime,
    as_of: datetime,
    columns: Sequence[str] | None = None,
    release_id: str | None = None,
) -> pa.Table:
    """A window of a model's log with the outcomes that were known at ``as_of``.

    Parameters
    ----------
    folder
        The model's log folder.
    start, end
        Event time in [start, end), timezone-aware.
    as_of
        Outcomes observed later are not seen.
    columns
        Columns of the log; all by default.
    release_id
        Only rows that this release answered.

    Returns
    -------
    pyarrow.Table
        The log's rows ordered by id, and ``outcome`` (float64) and ``observed_at``, null where unknown.
    """
    wanted = None if columns is None else list(dict.fromkeys([*columns, "prediction_id"]))
    rows = PredictionLog(folder).read(start, end, wanted, release_id)
    if len(rows):
        ids = rows["prediction_id"]
        known = Outcomes(folder).table(as_of, ids[0].as_py(), ids[-1].as_py())
        # A look-up, not a join: it keeps the order of the rows.
        places = pc.index_in(ids, value_set=known["prediction_id"].combine_chunks())
        joined = (known["outcome"].take(places), known["observed_at"].take(places))
    else:
        joined = (pa.chunked_array([], pa.float64()), pa.chunked_array([], TIME))
    table = rows.append_column("outcome", joined[0]).append_column("observed_at", joined[1])
    return table if columns is None else table.select([*columns, "outcome", "observed_at"])
