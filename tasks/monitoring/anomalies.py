"""The odd rows of a window, for people: a table artifact of the run."""

from __future__ import annotations

from prefect.artifacts import create_table_artifact

from trimtab.decay.anomalies import Anomalies


def show_anomalies(model: str, found: Anomalies | None) -> None:
    """Make the table ``<model>-anomalies``: the oddest rows by prediction id, and what is odd in them."""
    if found is None or not found.worst:
        return
    create_table_artifact(
        key=f"{model}-anomalies",
        description=f"{found.count:,} of {found.rows:,} rows lie outside the training distribution ({found.share:.3%}; "
        f"{found.expected_share:.3%} are expected of sound rows); the oddest {len(found.worst)}",
        table=[
            {
                "prediction": one.prediction_id,
                "event time": f"{one.event_time:%Y-%m-%d %H:%M:%S}",
                "score": round(one.score, 2),
                "odd": one.reason,
            }
            for one in found.worst
        ],
    )
