"""Evidently: its DataDriftPreset with its defaults, as a person would call it; no HTML."""

import sys
import time
import warnings

begun = time.perf_counter()
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
from judged import finish

imported = time.perf_counter()
warnings.simplefilter("ignore")
reference, window = (pd.read_parquet(path) for path in sys.argv[1:3])
names = list(reference.columns)
definition = DataDefinition(
    numerical_columns=[name for name in names if name.startswith("n")],
    categorical_columns=[name for name in names if name.startswith("c")],
)
sides = [Dataset.from_pandas(side, data_definition=definition) for side in (window, reference)]
found = Report([DataDriftPreset()]).run(*sides).dict()
finish(begun, imported, len(names), int(found["metrics"][0]["value"]["count"]))
