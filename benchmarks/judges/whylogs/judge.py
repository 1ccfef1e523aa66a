"""whylogs: a profile of each side, and its drift scores of the two (KS for numbers, chi-square for the rest)."""

import sys
import time

begun = time.perf_counter()
import pandas as pd
import whylogs
from judged import finish
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

imported = time.perf_counter()
reference, window = (pd.read_parquet(path) for path in sys.argv[1:3])
profiles = [whylogs.log(pandas=side).view() for side in (window, reference)]
scores = calculate_drift_scores(target_view=profiles[0], reference_view=profiles[1], with_thresholds=True)
drifted = sum(1 for one in scores.values() if one is not None and one.get("drift_category") == "DRIFT")
finish(begun, imported, len(reference.columns), drifted)
