"""When, where and for which model.

plan.py (specs → deployments, schedules, automations; pure) · form.py (their parameters, for people) · apply.py (make
the Prefect server match) · runs.py (start a run and follow it) · models/<name>/ (a model: spec.py and its code)
"""
