"""How far the reference's own windows are from the rest of it: what is usual for data whose rows come in clusters.

A week of weather is far from the year it belongs to, however many rows it has; an alarm threshold that only counts rows
would page every week. So the training rows are cut into windows of the model's length, and each is held against all the
others. What was usual then is not news now. The answers' windows are those of the evaluation rows: on its training rows
a model is surer of itself than live.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from trimtab.decay.distance import groups, psi
from trimtab.decay.multivariate import separation
from trimtab.decay.profile import ColumnProfile, Profile, profile
from trimtab.records import Value
from trimtab.spec import ModelSpec

MINIMUM_WINDOWS = 4
MAXIMUM_WINDOWS = 52
"""The newest are looked at."""
OTHERS = 4_000
"""Rows of the other windows, at most, that all features of one are held against together."""


class OwnWindows(Value):
    """Of ``windows`` windows of the training rows, by feature, and of ``judged_windows`` of the evaluation rows, by
    answer: ``mean`` and ``largest`` PSI against the others, less what PSI is by chance at so many rows; and the largest
    AUC of `separation`. Of less than `MINIMUM_WINDOWS` nothing is told. Stored as JSON; fields are only ever added,
    with a default."""

    format_version: int = 1
    windows: int = 0
    judged_windows: int = 0
    mean: dict[str, float] = Field(default_factory=dict)
    largest: dict[str, float] = Field(default_factory=dict)
    largest_auc: float = 0.5


def own_windows(spec: ModelSpec, training: pa.Table, judged: pa.Table, reference: Profile) -> OwnWindows:
    """What is usual, from the rows that a candidate was trained and evaluated on.

    Parameters
    ----------
    spec
        The model's; its ``window`` is the length, and windows with less than ``policy.minimum_rows`` do not count.
    training, judged
        The features of the training rows, and the answers to the evaluation rows; each with the spec's event time
        column, else nothing is known of it.
    reference
        The profile of these rows.
    """
    found, of_answers = _windows(spec, training), _windows(spec, judged)
    distances = _distances(reference, training, found, spec.feature_names)
    distances |= _distances(reference, judged, of_answers, spec.answer_names)
    return OwnWindows(
        windows=len(found),
        judged_windows=len(of_answers),
        mean={name: float(np.mean(values)) for name, values in distances.items()},
        largest={name: max(values) for name, values in distances.items()},
        largest_auc=_largest_auc(spec, training, found) if spec.policy.drift.multivariate else 0.5,
    )


def _windows(spec: ModelSpec, rows: pa.Table) -> list[np.ndarray]:
    """Which rows each window has, as booleans of shape (rows,), back from the newest row; none where there are few."""
    if spec.event_time not in rows.column_names or not rows.num_rows:
        return []
    length = spec.window.total_seconds()
    seconds = pc.cast(pc.cast(rows[spec.event_time], pa.timestamp("us", tz="UTC")), pa.int64()).to_numpy() / 1e6
    age = np.floor((seconds.max() - seconds) / length).astype(int)
    # The oldest, which is cut short, is no window: three days lack four weekdays.
    whole = (seconds.max() - seconds.min()) // length
    numbers, counts = np.unique(age[age < whole], return_counts=True)
    found = [age == number for number in numbers[counts >= spec.policy.minimum_rows][:MAXIMUM_WINDOWS]]
    return found if len(found) >= MINIMUM_WINDOWS else []


def _largest_auc(spec: ModelSpec, rows: pa.Table, windows: Sequence[np.ndarray]) -> float:
    """How well the window that is told best from a sample of the others is told from it."""
    random = np.random.default_rng(0)
    largest = 0.5
    for window in windows:
        others = np.flatnonzero(~window)
        drawn = np.sort(random.choice(others, min(len(others), OTHERS), replace=False))
        found = separation(spec.features, rows.take(drawn), rows.filter(pa.array(window)))
        largest = max(largest, 0.5 if found is None else found.auc)
    return largest


def _distances(
    reference: Profile, rows: pa.Table, windows: Sequence[np.ndarray], columns: Sequence[str]
) -> dict[str, list[float]]:
    """By column, of each window: PSI against the reference without the window, less its mean in null windows."""
    if not windows:
        return {}
    bins = reference.bins(*columns)
    found = [profile(rows.filter(pa.array(window)), bins) for window in windows]
    return {name: [_distance(reference, window.column(name)) for window in found] for name in columns}


def _distance(reference: Profile, window: ColumnProfile) -> float:
    of_all = reference.column(window.bins.column)
    if not window.valid or window.valid >= of_all.valid:
        return 0.0
    ours, theirs, _ = groups(of_all, window)
    rest = np.maximum(ours - theirs, 0.0)
    by_chance = (len(ours) - 1) * (1 / rest.sum() + 1 / theirs.sum())
    return float(max(psi(rest, theirs) - by_chance, 0.0))
