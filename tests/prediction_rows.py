"""Rows for tests of the prediction log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from trimtab.predictions import log_schema, new_prediction_ids
from trimtab.predictions.schema import BASE_FIELDS

T0 = datetime(2024, 1, 1, tzinfo=UTC)
LATER = T0 + timedelta(days=3650)
FEATURES = (("income", "number"), ("age", "integer"), ("region", "category"), ("employed", "boolean"))
_VALUES = {"number": 1.5, "integer": 30, "category": "north", "boolean": True}


def make_rows(
    n: int,
    at: datetime = T0,
    features: tuple[tuple[str, str], ...] = FEATURES,
    release_id: str = "release-1",
    **columns: list,
) -> pa.RecordBatch:
    """A batch of n new predictions, a second of event time apart; ``columns`` stand in for the usual values."""
    schema = log_schema(features)
    usual = {
        "prediction_id": new_prediction_ids(n),
        "request_id": [None] * n,
        "version": ["1"] * n,
        "release_id": [release_id] * n,
        "event_time": [at + timedelta(seconds=i) for i in range(n)],
        "logged_at": [at] * n,
        "caller": ["test"] * n,
        "score": [i / max(n, 1) for i in range(n)],
        **{name: [_VALUES[type_]] * n for name, type_ in features},
        **columns,
    }
    assert {field.name for field in BASE_FIELDS} <= usual.keys()
    return pa.record_batch([pa.array(usual[field.name], field.type) for field in schema], schema=schema)
