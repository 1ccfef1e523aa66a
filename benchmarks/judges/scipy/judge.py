"""scipy: two-sample KS of every number, chi-square of every category table, p < 0.05 over their number."""

import sys
import time

begun = time.perf_counter()
import pandas as pd
from judged import finish
from scipy.stats import chi2_contingency, ks_2samp

imported = time.perf_counter()
reference, window = (pd.read_parquet(path) for path in sys.argv[1:3])
drifted = 0
for name in reference.columns:
    if name.startswith("n"):
        p_value = ks_2samp(reference[name].to_numpy(), window[name].to_numpy()).pvalue
    else:
        counts = pd.concat([side[name].value_counts() for side in (reference, window)], axis=1).fillna(0)
        p_value = chi2_contingency(counts.to_numpy()).pvalue
    drifted += bool(p_value < 0.05 / len(reference.columns))
finish(begun, imported, len(reference.columns), drifted)
