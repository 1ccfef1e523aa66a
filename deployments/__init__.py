"""When, where and for which model: specs become Prefect deployments, schedules and automations."""
