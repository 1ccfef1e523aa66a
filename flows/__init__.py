"""In which order: each flow's body reads as its diagram."""

from trimtab.settings import quiet_telemetry

quiet_telemetry()
