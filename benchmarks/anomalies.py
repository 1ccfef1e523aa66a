"""Odd rows: how many of them are found, and how fast, here and by an isolation forest.

Training rows are correlated, curved, discrete and zero-inflated numbers, and categories that depend on each other. In
each kind of anomaly every row has one broken value or combination, drawn from values that occur by themselves. Both
detectors flag one sound row in a thousand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.figures import Figures, Table
from trimtab.decay.odd_views import views
from trimtab.decay.oddness import fit
from trimtab.decay.rows import Coded
from trimtab.spec import Feature

TRAINING_ROWS, SOUND_ROWS, ODD_ROWS, SHARE = 20_000, 200_000, 2_000, 0.001
NUMBERS = ("income", "amount", "noise", "square", "age", "rain")
CATEGORIES = ("product", "branch", "adult")
FEATURES = (
    *(Feature(name=name, type="number") for name in NUMBERS),
    *(Feature(name=name, type="category") for name in CATEGORIES),
)
Rows = dict[str, np.ndarray]


def run(arguments: Sequence[str]) -> Figures:
    """Fit both, score sound rows and each kind of odd ones. No arguments."""
    if arguments:
        raise SystemExit(f"this benchmark takes no arguments; it was given {list(arguments)}")
    training, sound = world(TRAINING_ROWS, 0), world(SOUND_ROWS, 1)
    found = [
        measured(name, make, training, sound) for name, make in (("trimtab", _ours), ("isolation forest", _forest))
    ]
    kinds = list(_broken(world(ODD_ROWS, 2)))
    table = Table(
        title=f"share found of {ODD_ROWS:,} odd rows of each kind, at one sound row in {1 / SHARE:,.0f} flagged",
        headings=("", *(name for name, _ in found)),
        rows=(
            ("rows/s", *(f"{values['rows_per_s']:,.0f}" for _, values in found)),
            *((kind, *(f"{values[kind]:.4f}" for _, values in found)) for kind in ("sound", *kinds)),
        ),
    )
    power = [float(np.mean([values[kind] for kind in kinds])) for _, values in found]
    return Figures(
        values={f"{name}: {key}": value for name, values in found for key, value in values.items()},
        tables=(table,),
        ratio_name="mean share found, here minus by an isolation forest",
        ratio=power[0] - power[1],
    )


def measured(
    name: str, make: Callable[[Rows], Callable[[Rows], np.ndarray]], training: Rows, sound: Rows
) -> tuple[str, dict[str, float]]:
    """What one detector finds of each kind, and how many rows a second it scores."""
    score = make(training)
    limit = float(np.quantile(score(world(SOUND_ROWS, 3)), 1 - SHARE))
    start = time.perf_counter()
    of_sound = score(sound)
    values = {"rows_per_s": SOUND_ROWS / (time.perf_counter() - start), "sound": float(np.mean(of_sound > limit))}
    for kind, rows in _broken(world(ODD_ROWS, 2)).items():
        values[kind] = float(np.mean(score(rows) > limit))
    return name, values


def world(rows: int, seed: int) -> Rows:
    """Sound rows; categories as whole numbers."""
    random = np.random.default_rng(seed)
    income, noise, age = random.lognormal(3.5, 0.5, rows), random.normal(size=rows), random.integers(18, 80, rows)
    product = random.integers(0, 12, rows)
    return {
        "income": income,
        "amount": income * random.normal(2, 0.2, rows),
        "noise": noise,
        "square": noise**2 + 0.2 * random.normal(size=rows),
        "age": age.astype(float),
        "rain": np.where(random.random(rows) < 0.85, 0.0, random.exponential(1, rows)),
        "product": product.astype(float),
        "branch": ((product * 3 + random.integers(0, 2, rows)) % 7).astype(float),
        "adult": ((age > 40) & (random.random(rows) < 0.9)).astype(float),
    }


def _broken(rows: Rows) -> Mapping[str, Rows]:
    count, random = len(rows["income"]), np.random.default_rng(4)
    return {
        "extreme": rows | {"income": np.quantile(rows["income"], 0.999) * random.uniform(2, 5, count)},
        "two numbers": rows | {"income": np.full(count, 20.0), "amount": random.uniform(100, 200, count)},
        "on a curve": rows | {"noise": random.normal(0, 0.2, count), "square": random.uniform(3, 6, count)},
        "two categories": rows | {"branch": (rows["product"] * 3 + 3) % 7},
        "both": rows | {"age": random.uniform(18, 35, count), "adult": np.ones(count)},
        "new category": rows | {"product": np.full(count, 12.0)},
    }


def _ours(training: Rows) -> Callable[[Rows], np.ndarray]:
    known = fit(FEATURES, _coded(training))
    limits = known.limits(SHARE)
    return lambda rows: np.asarray((views(known, _coded(rows)) / limits).max(axis=1))


def _forest(training: Rows) -> Callable[[Rows], np.ndarray]:
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=100, random_state=0).fit(np.column_stack(list(training.values())))
    return lambda rows: np.asarray(-forest.score_samples(np.column_stack([rows[name] for name in training])))


def _coded(rows: Rows) -> dict[str, Coded]:
    labels = tuple(str(value) for value in range(13))
    return {name: Coded(values, labels if name in CATEGORIES else None) for name, values in rows.items()}
