"""What runs, and where: environment.py (locks), layers.py and images.py (reproducible images), runtimes.py (the port),
processes.py (local processes; containers are in tasks/rollout/), history.py (what to go back to)."""
