"""In which order: each flow's body reads as its diagram."""

from trimtab.settings import connect, quiet_telemetry

quiet_telemetry()
connect()
