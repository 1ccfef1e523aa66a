"""A window of a model's predictions with what came true of them: as an Arrow table, or as a view in DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trimtab.predictions.log import PredictionLog
from trimtab.predictions.outcome_rows import COUNTING_SCHEMA
from trimtab.predictions.outcomes import Outcomes
from trimtab.predictions.schema import TIME, microseconds


def read_window(
    folder: Path,
    start: datetime,
    end: datetime,
    as_of: datetime,
    columns: Sequence[str] | None = None,
    release_id: str | None = None,
    maturity: timedelta | None = None,
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
    maturity
        How long after its event time an outcome is awaited.

    Returns
    -------
    pyarrow.Table
        The log's rows ordered by id, and ``outcome`` (float64) and ``observed_at``, null where unknown.
        Where ``maturity`` is given, also ``mature`` (bool): ``event_time + maturity <= as_of``, so that an outcome that
        is still missing will hardly come.
    """
    timed = () if maturity is None else ("event_time",)
    wanted = None if columns is None else list(dict.fromkeys([*columns, "prediction_id", *timed]))
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
    table = table if columns is None else table.select([*columns, "outcome", "observed_at"])
    if maturity is None:
        return table
    latest = pa.scalar(microseconds(as_of - maturity), pa.int64()).cast(TIME)
    return table.append_column("mature", pc.less_equal(rows["event_time"], latest))


def register_outcomes(connection: Any, name: str, outcomes: Outcomes, as_of: datetime) -> None:
    """Make the outcomes that were known at a time a table in DuckDB, ``name``; one that is there is replaced.

    They are copied in batches: memory is a batch's here, and DuckDB's to limit there.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
    name
        Of the table: ``prediction_id``, ``outcome``, ``observed_at``, the outcome that counts for each prediction.
    outcomes
        Of the model.
    as_of
        Outcomes observed later are not seen.
    """
    batches = pa.RecordBatchReader.from_batches(COUNTING_SCHEMA, outcomes.batches(as_of))
    connection.register("_outcome_batches", batches)
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {_quoted(name)} AS FROM _outcome_batches")
    finally:
        connection.unregister("_outcome_batches")


def register_window(
    connection: Any,
    predictions: str,
    outcomes: Outcomes,
    as_of: datetime,
    maturity: timedelta,
    name: str = "predictions_with_outcomes",
) -> None:
    """Make a view in DuckDB of a model's predictions beside their outcomes, for any SQL.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
    predictions
        Name of the model's log in that connection, as :func:`trimtab.predictions.scan.register` made it.
    outcomes
        Of the model; copied into the temporary table ``outcomes``.
    as_of
        Outcomes observed later are not seen.
    maturity
        How long after its event time an outcome is awaited.
    name
        Of the view: the columns of the log, ``outcome``, ``observed_at`` and ``mature`` as :func:`read_window` gives
        them, in no order.
    """
    register_outcomes(connection, "outcomes", outcomes, as_of)
    columns = f"p.*, o.outcome, o.observed_at, epoch_us(p.event_time) <= {microseconds(as_of - maturity)} AS mature"
    source = f"{_quoted(predictions)} p LEFT JOIN outcomes o USING (prediction_id)"
    # Names cannot be parameters in SQL; these are quoted.
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {_quoted(name)} AS SELECT {columns} FROM {source}")  # noqa: S608


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
