"""What serves in the benchmark ``serving``, how it is started, and how it is loaded.

subject.py (the model and the rows) · forms.py (request bodies) · catalog.py (who takes part) · environments.py (each
peer's own packages) · processes.py (start, first answer, memory, stop) · ours.py (this gateway and its scorer) · wrk.py
with wrk.lua (the load) · limits.py (what could be reached at most)

A folder a peer: what it needs (``requirements.in``, pinned in ``requirements.txt``) and how it serves (``serve.py``),
written as its users would who want speed. To renew the pins:
``.venv/bin/uv pip compile --no-header --python-version 3.11 requirements.in -o requirements.txt``.
"""
