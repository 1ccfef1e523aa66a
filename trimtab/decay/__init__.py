"""Judgement: from a window of logged predictions, its outcomes and the training reference to one ruling.

To change how columns are counted: profile.py · how far two profiles are apart: distance.py · what a model still
achieves: performance.py · how groups of people fare: fairness.py · when data is broken: faults.py (atoms.py, units.py;
what is natural: soundness.py) · which single rows are odd: anomalies.py (how odd: oddness.py) · what windows are
compared with: reference.py · what is measured on a window: measuring.py, into measurements.py · which number stands
against which threshold: signals/ · what follows from it: policy/. Values in, values out; only reference.py knows
files.
"""
