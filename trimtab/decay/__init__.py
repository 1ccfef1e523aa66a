"""Judgement: from a window of logged predictions, its outcomes and the training reference to one ruling.

Where to go to change:

How columns are counted
    profile/ · which values single-row rules see: rows.py
What a model said, and what came true, as arrays
    answers.py (the names of its columns: trimtab/answers.py)
What windows are compared with
    reference.py · how far its own windows went: own_windows.py, soundness.py · what the model owes to each feature:
    importance.py
How far a window is from it
    distance.py (wasserstein.py) · what that is worth by chance: null_windows.py · all features together:
    multivariate.py · over many windows: sequential.py · what Evidently says of it: parity.py
What a model still achieves
    performance.py · by slice: slice_performance.py (slices.py, standard_error.py) · calibration.py · before outcomes:
    estimated.py (classifiers: estimation.py; regressions: loss_estimation.py)
How groups of people fare
    fairness.py (which groups: bias.py)
When data is broken
    faults.py (atoms.py, units.py)
Which single rows are odd
    anomalies.py (how odd: odd_views.py, learned in oddness.py)
What is measured on a window, and what that is
    measuring.py · measurements.py
Which number stands against which limit
    signals/
What follows from it
    policy/ · what of the ledger it reads, and whether a run may act: on_record.py

Values in, values out; only reference.py knows files, and only on_record.py the ledger.
"""
