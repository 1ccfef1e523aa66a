"""prediction id → log → ledger → the whole chain, as Prefect artifacts and as a page that opens offline."""

from __future__ import annotations

from prefect import flow

from tasks.dossier import publish_dossier, trace_prediction


@flow(flow_run_name="dossier of {prediction_id}")
def dossier(prediction_id: str) -> str:
    """Show everything that led to one prediction.

    Parameters
    ----------
    prediction_id
        The id that the prediction was answered with: a UUID.

    Returns
    -------
    str
        Address of the page.

    Raises
    ------
    UnknownPredictionError
        If no prediction of that id is on record.
    LedgerTamperedError
        If the ledger's chain of hashes is broken: nothing that it says can be trusted then.
    """
    chain = trace_prediction(prediction_id)
    return publish_dossier(chain)
