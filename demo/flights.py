"""The flights of the replay: what is asked of the gateway, and what came of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.models import Model

_DATATYPES = {"number": "FP64", "integer": "INT64", "category": "BYTES", "boolean": "BOOL"}


@dataclass(frozen=True)
class Flights:
    """Rows in order of departure; all arrays have shape (rows,).

    ``late`` is 0 or 1, NaN for flights that never arrived; times are microseconds since 1970, ``known_at`` 0 for those.
    """

    model: Model
    table: pa.Table
    event_time: np.ndarray
    known_at: np.ndarray
    late: np.ndarray

    def bodies(self, rows: range) -> list[bytes]:
        """The V2 request of each row, as JSON."""
        part = self.table.slice(rows.start, len(rows))
        columns = [
            (feature.name, _DATATYPES[feature.type], part[feature.name].to_pylist())
            for feature in self.model.spec.features
        ]
        times = [moment.isoformat() for moment in part["event_time"].to_pylist()]
        encode = msgspec.json.Encoder().encode
        return [
            encode(
                {
                    "id": identity,
                    "parameters": {"event_time": times[row]},
                    "inputs": [
                        {"name": name, "shape": [1], "datatype": datatype, "data": [values[row]]}
                        for name, datatype, values in columns
                    ],
                }
            )
            for row, identity in enumerate(part["flight_id"].to_pylist())
        ]


def read_flights(model: Model, start: datetime, end: datetime) -> Flights:
    """All flights with event_time in [start, end), those that never arrived too."""
    table = model.function("data:all_flights")()
    moments = table["event_time"]
    inside = pc.and_(
        pc.greater_equal(moments, pa.scalar(start, moments.type)), pc.less(moments, pa.scalar(end, moments.type))
    )
    table = table.filter(inside).combine_chunks()
    return Flights(
        model=model,
        table=table,
        event_time=pc.cast(table["event_time"], pa.int64()).to_numpy(),
        known_at=pc.fill_null(pc.cast(table["known_at"], pa.int64()), 0).to_numpy(),
        late=pc.cast(table["late"], pa.float64()).to_numpy(),
    )


def moment(microseconds: int) -> datetime:
    """The time that is so many microseconds after 1970."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
