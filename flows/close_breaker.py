"""open breaker → a person's word → record: what decays may be retrained again."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow

from flows.causes import moment
from tasks.lineage import open_ledger, record
from trimtab.decay.on_record import plan_closing
from trimtab.models import load_model
from trimtab.records import BreakerClosed
from trimtab.settings import Settings


@flow(flow_run_name="close the breaker of {model}", description="Say that a model may be retrained again.")
def close_breaker(model: str, reason: str, closed_by: str, as_of: datetime | None = None) -> BreakerClosed:
    """Close a model's breaker, which retrainings in vain have opened; the next loss of performance may retrain again.

    Parameters
    ----------
    model
        Name of the model.
    reason
        Why retraining may go on; it goes on record.
    closed_by
        Who says so; it goes on record.
    as_of
        Rulings from this moment on may ask for a retraining (UTC); now if left empty.
    """
    spec = load_model(Settings.from_env().models_dir, model).spec
    return record(plan_closing(spec, open_ledger(), reason, closed_by, datetime.now(UTC), moment(as_of)))
