"""When, where and for which model.

plan.py (specs → deployments, schedules, automations; pure) · apply.py (make the Prefect server match) · runs.py (start
a deployment's run and follow it) · models/<name>/ (one folder a model: spec.py and its code)
"""
