"""What runs inside a model image: an artifact is loaded, checked against its digest, and scored.

model.py (the artifact and its digest) · app.py (the scorer that speaks V2) · health.py (is it ready?) ·
pyfunc.py (the same artifact in MLflow) · large_batches.py (trees over many rows: quickscorer.py and bins.py, from what
forest.py and onnx_reader.py read)

Runs alone: it imports numpy and msgspec, and what the artifact's own lock holds; nothing else of trimtab.
"""
