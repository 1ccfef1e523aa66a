"""How far the reference's own windows are from the rest of it: what is usual for data whose rows come in clusters.

A week of weather is far from the year it belongs to, however many rows it has; an alarm threshold that only counts rows
would page every week. So the training rows are cut into windows of the model's length, and each is held against all the
others. What was usual then is not news now.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from trimtab.decay.distance import groups, psi
from trimtab.decay.multivariate import separation
from trimtab.decay.profile import Profile, profile
from trimtab.records import Value
from trimtab.spec import ModelSpec

MINIMUM_WINDOWS = 4
MAXIMUM_WINDOWS = 52
"""The newest are looked at."""


class OwnWindows(Value):
    """Of ``windows`` windows of the training rows, by feature: ``mean`` and ``largest`` PSI against the others, less
    what PSI is by chance at so many rows; and the largest AUC of `separation`. Empty where there are less than
    `MINIMUM_WINDOWS`. Stored as JSON; fields are only ever added, with a default."""

    format_version: int = 1
    windows: int = 0
    mean: dict[str, float] = Field(default_factory=dict)
    largest: dict[str, float] = Field(default_factory=dict)
    largest_auc: float = 0.5


def own_windows(spec: ModelSpec, training: pa.Table, reference: Profile) -> OwnWindows:
    """What is usual, from the training rows.

    Parameters
    ----------
    spec
        The model's; its ``window`` is the length, and windows with less than ``policy.minimum_rows`` do not count.
    training
        The features; with the spec's event time column, else nothing is known.
    reference
        The profile of these rows.
    """
    if spec.event_time not in training.column_names or not training.num_rows:
        return OwnWindows()
    windows = _cut(training, spec.event_time, spec.window, spec.policy.minimum_rows)
    if len(windows) < MINIMUM_WINDOWS:
        return OwnWindows()
    bins = reference.bins(*spec.feature_names)
    found = np.array([_distances(reference, profile(rows, bins)) for rows, _ in windows])
    told = [separation(spec.features, rest, rows) for rows, rest in windows] if spec.policy.drift.multivariate else []
    return OwnWindows(
        windows=len(windows),
        mean=dict(zip(spec.feature_names, found.mean(axis=0).tolist(), strict=True)),
        largest=dict(zip(spec.feature_names, found.max(axis=0).tolist(), strict=True)),
        largest_auc=max((one.auc for one in told if one is not None), default=0.5),
    )


def _cut(rows: pa.Table, column: str, length: timedelta, minimum_rows: int) -> list[tuple[pa.Table, pa.Table]]:
    """Windows back from the newest row, each beside a sample of the others."""
    seconds = pc.cast(pc.cast(rows[column], pa.timestamp("us", tz="UTC")), pa.int64()).to_numpy() / 1e6
    age = np.floor((seconds.max() - seconds) / length.total_seconds()).astype(int)
    # The oldest, which is cut short, is no window: three days lack four weekdays.
    whole = (seconds.max() - seconds.min()) // length.total_seconds()
    numbers, counts = np.unique(age[age < whole], return_counts=True)
    random = np.random.default_rng(0)
    found = []
    for number in numbers[counts >= minimum_rows][:MAXIMUM_WINDOWS]:
        others = np.flatnonzero(age != number)
        if len(others):
            drawn = np.sort(random.choice(others, min(len(others), 4_000), replace=False))
            found.append((rows.filter(pa.array(age == number)), rows.take(drawn)))
    return found


def _distances(reference: Profile, window: Profile) -> list[float]:
    """PSI of each column against the reference without the window, less its mean in null windows."""
    found = []
    for column in window.columns:
        of_all = reference.column(column.bins.column)
        if not column.valid or column.valid >= of_all.valid:
            found.append(0.0)
            continue
        ours, theirs, _ = groups(of_all, column)
        rest = np.maximum(ours - theirs, 0.0)
        by_chance = (len(ours) - 1) * (1 / rest.sum() + 1 / theirs.sum())
        found.append(max(psi(rest, theirs) - by_chance, 0.0))
    return found
