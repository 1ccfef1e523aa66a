"""alibi-detect: TabularDrift (KS for numbers, chi-square for categories, Bonferroni) on all the rows."""

import sys
import time

begun = time.perf_counter()
import numpy as np
import pandas as pd
from alibi_detect.cd import TabularDrift
from judged import finish

imported = time.perf_counter()
reference, window = (pd.read_parquet(path) for path in sys.argv[1:3])
names = list(reference.columns)
texts = {position: None for position, name in enumerate(names) if name.startswith("c")}
for position in texts:
    name = names[position]
    codes = {value: code for code, value in enumerate(sorted(set(reference[name]) | set(window[name])))}
    for side in (reference, window):
        side[name] = side[name].map(codes).astype(np.float64)
detector = TabularDrift(reference.to_numpy(np.float64), p_val=0.05, categories_per_feature=texts)
found = detector.predict(window.to_numpy(np.float64), drift_type="feature")
finish(begun, imported, len(names), int(np.sum(found["data"]["is_drift"])))
