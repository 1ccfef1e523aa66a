"""Rows of 50 features to try detectors on, with and without a known change, and the reference that they are held to.

Forty numbers of several shapes and ten categories of up to 500 values; rows are independent of each other. No benchmark
itself: null_windows.py and power.py draw from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.decay.measurements import Measurements
from trimtab.decay.measuring import WindowRows, measure
from trimtab.decay.parity import Verdict, verdicts
from trimtab.decay.profile import SCORE, Profile, profile
from trimtab.decay.reference import Reference, write_reference
from trimtab.decay.signals import signals
from trimtab.decay.signals.names import DRIFT, DRIFTED_SHARE, MULTIVARIATE, SLOW_DRIFT
from trimtab.records import Action, Ruling, Signal
from trimtab.spec import Feature, ModelSpec, Target, Trainer

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = timedelta(days=7)
REFERENCE_WEEKS = 13
CORRELATION = 0.8
PAIRS = 5
"""Of correlated normal columns: n00 with n01 to n08 with n09. What is shifted are their first ones."""
BINARY_SHARE = 0.3
VALUES = (2, 2, 3, 5, 8, 12, 30, 60, 150, 500)
"""Of each category; from the third on by Zipf's law."""
FEATURES = tuple(
    [Feature(name=f"n{at:02}", type="integer" if 28 <= at < 32 else "number") for at in range(40)]
    + [Feature(name=f"c{at}", type="category") for at in range(len(VALUES))]
)
SPEC = ModelSpec(
    name="fifty-features",
    source="benchmarks.populations:rows",
    target=Target(name="y", kind="binary"),
    features=FEATURES,
    suite="fifty_features",
    trainers=(Trainer(name="given", function="benchmarks.populations:rows"),),
    window=WEEK,
)
FAMILIES = {"columns": DRIFT, "slow drift": SLOW_DRIFT, "all features together": MULTIVARIATE}
"""Prefixes of the signals' names; the score's drift is told apart."""
COLUMNS, SCORES, SHARE = "columns", "score", "share of features"


@dataclass(frozen=True)
class Change:
    """What is otherwise than in the reference.

    ``shift`` moves the means of the first ``columns`` pairs' first columns, in standard deviations; ``correlation`` is
    that within pairs; ``share`` that of the first category's first value.
    """

    shift: float = 0.0
    columns: int = 0
    correlation: float = CORRELATION
    share: float = BINARY_SHARE


def draw(random: np.random.Generator, count: int, change: Change = Change()) -> pa.Table:
    """So many rows: the features, ``score``, and the target ``y``, which is 1 as often as the score says."""
    normal = random.normal(size=(40, count))
    for pair in range(PAIRS):
        first, second = normal[2 * pair], normal[2 * pair + 1]
        second *= np.sqrt(1 - change.correlation**2)
        second += change.correlation * first
        first += change.shift * (pair < change.columns)
    columns = {f"n{at:02}": _shaped(random, at, normal[at]) for at in range(40)}
    columns |= {f"c{at}": _category(random, count, at, change.share) for at in range(len(VALUES))}
    logit = 0.6 * (normal[:5].sum(axis=0) + normal[10] + normal[20]) - 1.0
    score = 1 / (1 + np.exp(-logit))
    return pa.table({**columns, SCORE: score, "y": (random.random(count) < score).astype(float)})


def _shaped(random: np.random.Generator, at: int, normal: np.ndarray) -> pa.Array:
    """The column at that place: normal, lognormal, heavy-tailed, uniform, counts, mostly zero, rounded with gaps."""
    if at < 10:
        return pa.array(normal)
    if at < 18:
        return pa.array(np.exp(normal))
    if at < 23:
        return pa.array(random.standard_t(3, size=len(normal)))
    if at < 28:
        return pa.array(random.random(len(normal)))
    if at < 32:
        return pa.array(random.poisson(at - 26, size=len(normal)))
    if at < 36:
        return pa.array(np.where(random.random(len(normal)) < 0.6, 0.0, random.exponential(size=len(normal))))
    return pa.array(np.round(normal, 1), mask=random.random(len(normal)) < 0.05)


def _category(random: np.random.Generator, count: int, at: int, share: float) -> pa.Array:
    names = pa.array([f"v{number}" for number in range(VALUES[at])])
    if at < 2:
        first = share if at == 0 else 0.05
        shares = np.array([first, 1 - first])
    else:
        shares = 1 / np.arange(1, VALUES[at] + 1)
    cumulated = np.cumsum(shares / shares.sum())
    found = names.take(pa.array(np.minimum(np.searchsorted(cumulated, random.random(count)), len(names) - 1)))
    return pc.if_else(pa.array(random.random(count) < 0.1), None, found) if at == 4 else found


def make_reference(folder: Path, random: np.random.Generator, count: int) -> Reference:
    """A reference of so many training rows, over `REFERENCE_WEEKS` weeks, and half as many that the model scored."""
    training = _timed(draw(random, count), START - REFERENCE_WEEKS * WEEK, REFERENCE_WEEKS * WEEK)
    judged = draw(random, count // 2)
    return write_reference(folder, SPEC, training, judged, judged[SCORE].to_numpy())


def _timed(rows: pa.Table, start: datetime, length: timedelta) -> pa.Table:
    after = np.linspace(0, length.total_seconds(), rows.num_rows, endpoint=False) * 1e6
    first = int(start.timestamp() * 1e6)
    times = pa.array(first + after.astype(np.int64)).cast(pa.timestamp("us", tz="UTC"))
    return rows.append_column(SPEC.event_time, times)


class Watched:
    """Windows of one reference, week after week, each judged as the watch flow judges it: ``measure``, ``signals``."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._bins = reference.profile.bins(*SPEC.feature_names, SCORE)
        self._earlier: list[Ruling] = []
        self._rows_before: tuple[int, ...] = ()
        self._start = START

    def see(self, rows: pa.Table) -> tuple[Measurements, tuple[Signal, ...], Profile]:
        """The next week: what was measured, its signals, and its profile."""
        end = self._start + WEEK
        of_window = profile(rows, self._bins)
        found = measure(
            SPEC,
            self.reference,
            WindowRows(
                start=self._start,
                end=end,
                as_of=end,
                incoming=_timed(rows.drop_columns(["y"]), self._start, WEEK),
                profile=of_window,
                mature=pa.table({SCORE: pa.array([], pa.float64()), "outcome": pa.array([], pa.float64())}),
                rows_before=self._rows_before,
            ),
        )
        told = signals(SPEC, found, self._earlier)
        ruling = Ruling(
            id=f"{end:%Y%m%d}",
            model=SPEC.name,
            release_id="release",
            validation_id=None,
            start=self._start,
            end=end,
            as_of=end,
            action=Action.NONE,
            reason="",
            signals=told,
            policy_digest=SPEC.policy_digest,
        )
        # What slow drift has gathered stands in the newest ruling alone.
        self._earlier, self._start, self._rows_before = [ruling], end, (*self._rows_before[-4:], rows.num_rows)
        return found, told, of_window


def alarms(told: tuple[Signal, ...]) -> set[str]:
    """Which families of drift signals alarm: those of `FAMILIES`, the score, and the share of features."""
    found = set()
    for signal in told:
        if signal.breached and signal.name == DRIFT + SCORE:
            found.add(SCORES)
        elif signal.breached and signal.name == DRIFTED_SHARE:
            found.add(SHARE)
        elif signal.breached:
            found |= {family for family, prefix in FAMILIES.items() if signal.name.startswith(prefix)}
    return found


def evidently(reference: Reference, of_window: Profile, rows: pa.Table) -> tuple[Verdict, ...]:
    """What Evidently's defaults say of the features of the same rows (trimtab/decay/parity.py)."""
    numeric = {feature.name for feature in FEATURES if feature.type in ("number", "integer")}

    def values(column: str) -> tuple[np.ndarray, np.ndarray]:
        ours, theirs = (pc.drop_null(side[column]) for side in (reference.training, rows))
        kind = np.float64 if column in numeric else np.str_
        return np.asarray(ours.to_numpy()).astype(kind), np.asarray(theirs.to_numpy()).astype(kind)

    features = tuple(one for one in of_window.columns if one.bins.column != SCORE)
    return verdicts(reference.profile, Profile(columns=features), values)


def sequences(windows: int, references: int) -> Iterator[int]:
    """How many windows each of so many references gets, all together ``windows``."""
    for number in range(references):
        yield windows // references + (number < windows % references)
