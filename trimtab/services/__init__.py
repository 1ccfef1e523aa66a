"""The services of a stack on one machine: Prefect, MLflow, the gateway, a worker, and the reports' page.

definitions.py (what each is, and when it is ready) · ports.py (where they listen) · processes.py (process trees,
started and ended whole) · state.py (what a stack says about itself in its home) · prefect_api.py (what is asked of
Prefect) · absences.py (scorers that do not answer) · releases.py (what is done about them) · signals.py (Ctrl-C) ·
supervisor.py (keeps all running together). ``trimtab up`` and the demo use :class:`Supervisor`.
"""

from trimtab.services.definitions import Service, environment, stack_services
from trimtab.services.signals import stop_on_signals
from trimtab.services.supervisor import Supervisor

__all__ = ["Service", "Supervisor", "environment", "stack_services", "stop_on_signals"]
