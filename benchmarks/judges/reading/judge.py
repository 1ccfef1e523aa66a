"""Merely reading the two files, into pandas as the peers do."""

import sys
import time

begun = time.perf_counter()
import pandas as pd
from judged import finish

imported = time.perf_counter()
reference, window = (pd.read_parquet(path) for path in sys.argv[1:3])
finish(begun, imported, len(reference.columns), 0)
