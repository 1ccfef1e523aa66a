"""How each step is done: one outside system per file, with its retries and timeouts.

data.py (sources and snapshots) · validation/ (Great Expectations) · training/ · evaluation.py · registry.py (MLflow) ·
image.py (Docker) · rollout/ (gateway and runtimes) · monitoring/ (prediction log, Evidently) · lineage.py (ledger) ·
runner.py (threads, Dask) · dossier.py (pages on one prediction)
"""

from trimtab.settings import connect, quiet_telemetry

quiet_telemetry()
connect()
