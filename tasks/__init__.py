"""How each step is done: one outside system per file, with its retries and timeouts.

data.py (sources and snapshots) · validation.py (Great Expectations) · training.py · evaluation.py · registry.py (MLflow) ·
image.py (Docker) · rollout/ (gateway and runtimes) · monitoring.py (prediction log, Evidently) · lineage.py (ledger)
"""

from trimtab.settings import connect, quiet_telemetry

quiet_telemetry()
connect()
