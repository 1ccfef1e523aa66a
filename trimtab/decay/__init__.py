"""Judgement: from a window of logged predictions, its outcomes and the training reference to one ruling.

To change how columns are counted: profile.py · how far two profiles are apart: distance.py · what a model still
achieves: performance.py · how groups of people fare: fairness.py · what is measured against which threshold:
signals.py · what follows from it: policy.py. All of it is pure: values in, values out.
"""
