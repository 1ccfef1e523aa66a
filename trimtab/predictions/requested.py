"""Which predictions answered a request: for callers who keep their own request ids and not ours."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.predictions.listing import list_predictions
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.query import Query
from trimtab.predictions.scan import scan_parts
from trimtab.predictions.schema import ID, id_bytes
from trimtab.predictions.snapshot import Bounds

_FEW = 100
"""So many are looked up one by one in the index; for more, two columns of the log are read once."""
_COLUMNS = ["request_id", "prediction_id"]


def predictions_of(log: PredictionLog, request_ids: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The prediction that answered each request.

    Parameters
    ----------
    log
    request_ids : pyarrow.Array
        (n,) texts; null is nobody's request.

    Returns
    -------
    tuple
        (n,) prediction ids (fixed-size binary of 16; of several, one of them; null where there is none), and (n,) int64
        how many predictions have the request id. A count over 2 may be said as 2.

    Raises
    ------
    PredictionLogError
        If the log cannot be read.
    """
    asked = pc.unique(request_ids.drop_null())
    requests, ids = _few(log, asked) if len(asked) <= _FEW else _many(log, asked)
    counts = np.bincount(pc.index_in(requests, value_set=asked).to_numpy(), minlength=len(asked))
    places = pc.index_in(request_ids, value_set=asked).fill_null(-1).to_numpy(zero_copy_only=False)
    each = np.where(places < 0, 0, counts[places]) if len(asked) else np.zeros(len(request_ids), np.int64)
    return ids.take(pc.index_in(request_ids, value_set=requests, skip_nulls=True)), each


def _few(log: PredictionLog, asked: pa.Array) -> tuple[pa.Array, pa.Array]:
    requests: list[str] = []
    ids: list[bytes] = []
    for request_id in asked.to_pylist():
        after, found = None, 0
        while found < 2:
            query = Query(model=log.folder.name, request_id=request_id, limit=2, after=after)
            page = list_predictions(log.folder.parent, query)
            requests += [request_id] * len(page.predictions)
            ids += [id_bytes(record["prediction_id"]) for _, record in page.predictions]
            found, after = found + len(page.predictions), page.next_after
            if after is None:
                break
    return pa.array(requests, pa.string()), pa.array(ids, ID)


def _many(log: PredictionLog, asked: pa.Array) -> tuple[pa.Array, pa.Array]:
    requests, ids = [pa.array([], pa.string())], [pa.array([], ID)]
    with log.snapshot() as snapshot:
        for part in scan_parts(snapshot, Bounds(), _COLUMNS):
            found = part.filter(pc.is_in(part["request_id"], value_set=asked, skip_nulls=True))
            requests += found["request_id"].chunks
            ids += found["prediction_id"].cast(ID).chunks
    return pa.concat_arrays(requests), pa.concat_arrays(ids)
