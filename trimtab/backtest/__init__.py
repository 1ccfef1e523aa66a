"""Replaying history through the policy, with no side effects: what it would have ruled, retrained and saved.

The rows, in memory: rows.py · from a CSV or Parquet file: files.py · cells that need a word: cells.py · a spec from a
few lines, and thresholds to try: small_spec.py · what serves in the replay, and how it is retrained: workshop.py · the
order of the replay: simulate.py · one window of it: judge.py · what it is held against: always.py · what came of it:
results.py, plot.py · the trainer of files: trainers.py.

Windows are measured by `trimtab.decay.measuring.measure` and ruled by `trimtab.decay.policy.rule`; retrainings train on
the spans of trimtab/training/windows.py, are judged by trimtab/training/judging.py and decided by `trimtab.gates`: all
as in production. What production does by itself is left out: no artifact is compiled, and a retraining takes no time.
"""
