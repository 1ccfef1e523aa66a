"""Whether the MLflow server answers, asked once before MLflow's own client would wait for it for minutes."""

from __future__ import annotations

import os
from collections.abc import Mapping

import httpx

from trimtab.errors import ServiceUnavailableError

IMPATIENT: Mapping[str, str] = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # The artifact's own lock is what the model needs, not the whole project's.
    "MLFLOW_UV_AUTO_DETECT": "false",
    # Progress bars and hints are for people at a terminal.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's client gives up in seconds instead of minutes: Prefect's retries stand above it."""

_PING_TIMEOUT_S = 5.0


def require_mlflow(url: str) -> None:
    """Check that MLflow answers, and make its client impatient.

    Raises
    ------
    ServiceUnavailableError
        If it does not answer, within 5 s; names the address.
    """
    for name, value in IMPATIENT.items():
        os.environ.setdefault(name, value)
    try:
        answer = httpx.get(f"{url}/health", timeout=_PING_TIMEOUT_S)
    except httpx.HTTPError as error:
        raise ServiceUnavailableError(
            f"MLflow does not answer at {url}: {error}; start it with `trimtab up`, or set TRIMTAB_MLFLOW_URL"
        ) from error
    if answer.status_code != httpx.codes.OK:
        raise ServiceUnavailableError(f"MLflow at {url} answers /health with {answer.status_code}; 200 is expected")
