"""Figures: ``make bench NAME=loop``.

Each benchmark is a module here with ``run(arguments) -> Figures``. It prints a table, its figures go to .benchmarks/ as
JSON with versions and machine, and the last line is the one ratio that matters. What a benchmark compares against it
installs in environments of its own.
"""
