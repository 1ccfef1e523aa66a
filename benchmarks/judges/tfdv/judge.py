"""TensorFlow Data Validation: statistics of each side, and Jensen-Shannon comparators of 0.1 on every feature."""

import sys
import time

begun = time.perf_counter()
import pandas as pd
import tensorflow_data_validation as tfdv
from judged import finish

imported = time.perf_counter()
reference, window = (pd.read_parquet(path) for path in sys.argv[1:3])
before, now = (tfdv.generate_statistics_from_dataframe(side) for side in (reference, window))
schema = tfdv.infer_schema(before)
for name in reference.columns:
    tfdv.get_feature(schema, name).drift_comparator.jensen_shannon_divergence.threshold = 0.1
found = tfdv.validate_statistics(now, schema, previous_statistics=before)
drifted = sum(
    any(str(reason.type).endswith("32") or "divergence" in reason.description for reason in anomaly.reason)
    for anomaly in found.anomaly_info.values()
)
finish(begun, imported, len(reference.columns), drifted)
