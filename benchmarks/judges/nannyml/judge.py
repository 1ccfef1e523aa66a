"""NannyML: its univariate drift calculator with its default methods (Jensen-Shannon), the window as one chunk."""

import sys
import time

begun = time.perf_counter()
import nannyml
import pandas as pd
from judged import finish

imported = time.perf_counter()
reference, window = (pd.read_parquet(path) for path in sys.argv[1:3])
names = list(reference.columns)
for side in (reference, window):
    for name in names:
        if name.startswith("c"):
            side[name] = side[name].astype("category")
calculator = nannyml.UnivariateDriftCalculator(
    column_names=names,
    treat_as_categorical=[name for name in names if name.startswith("c")],
    continuous_methods=["jensen_shannon"],
    categorical_methods=["jensen_shannon"],
    chunk_number=1,
).fit(reference)
found = calculator.calculate(window).filter(period="analysis").to_df()
drifted = sum(bool(found[(name, "jensen_shannon", "alert")].iloc[0]) for name in names)
finish(begun, imported, len(names), drifted)
