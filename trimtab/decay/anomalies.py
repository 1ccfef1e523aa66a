"""Anomalies: the single rows of a window that lie outside the training distribution, counted, and the worst listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pyarrow as pa
from pydantic import AwareDatetime

from trimtab.decay.odd_views import (
    VIEWS,
    Oddness,
    Scale,
    cells,
    normal_scores,
    pair_surprises,
    pulls,
    surprises,
    views,
)
from trimtab.decay.rows import Coded, code_all
from trimtab.records import Value
from trimtab.spec import ModelSpec

CHUNK_ROWS = 100_000
NAMED_FEATURES = 3
_CONFIDENCE = 0.999


class OddFeature(Value):
    """A feature that makes a row odd: its value there, and what is usual."""

    feature: str
    value: str
    usual: str


class Anomaly(Value):
    """One row out of the training distribution. ``score`` above 1 is out; ``view`` says in which way (odd_views.py)."""

    prediction_id: str
    event_time: AwareDatetime
    score: float
    view: str
    features: tuple[OddFeature, ...]

    @property
    def reason(self) -> str:
        """What is odd, in a line."""
        return "; ".join(f"{one.feature} = {one.value} (usual: {one.usual})" for one in self.features)


class Anomalies(Value):
    """The anomalies of a window: how many, between which shares with 99.9 % confidence, and the worst of them.

    ``expected_share`` is that of sound rows, as few training rows let it be known.
    """

    rows: int
    count: int
    expected_share: float
    low: float
    high: float
    worst: tuple[Anomaly, ...] = ()

    @property
    def share(self) -> float:
        """Share of the rows; 0 without rows."""
        return self.count / self.rows if self.rows else 0.0


def find_anomalies(spec: ModelSpec, known: Oddness, incoming: pa.Table) -> Anomalies:
    """Score every row, in chunks of bounded memory.

    Parameters
    ----------
    spec
        The model's spec; ``spec.policy.anomalies`` says how many sound rows may be flagged and how many are listed.
    known
        What the training rows taught.
    incoming
        The window's rows: ``event_time`` and the features, and ``prediction_id`` where rows are to be named.
    """
    rule = spec.policy.anomalies
    limits = known.limits(rule.share)
    scores = [
        _scores(views(known, code_all(incoming.slice(start, CHUNK_ROWS), spec.features)), limits)
        for start in range(0, incoming.num_rows, CHUNK_ROWS)
    ]
    score = np.concatenate(scores) if scores else np.zeros(0)
    out = np.flatnonzero(score > 1)
    worst = np.sort(out[np.argsort(-score[out], kind="stable")[: rule.listed]])
    listed = list(_explained(spec, known, incoming.take(worst), limits)) if len(worst) else []
    low, high = _interval(len(out), incoming.num_rows)
    return Anomalies(
        rows=incoming.num_rows,
        count=len(out),
        expected_share=known.expected_share(rule.share),
        low=low,
        high=high,
        worst=tuple(sorted(listed, key=lambda one: -one.score)),
    )


def _scores(seen: np.ndarray, limits: np.ndarray) -> np.ndarray:
    return np.asarray((seen / np.maximum(limits, 1e-9)).max(axis=1))


def _interval(count: int, rows: int) -> tuple[float, float]:
    """Exact binomial interval of a share (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    tail = (1 - _CONFIDENCE) / 2
    low = float(betaincinv(count, rows - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, rows - count, 1 - tail)) if count < rows else 1.0
    return low, high


def _explained(spec: ModelSpec, known: Oddness, rows: pa.Table, limits: np.ndarray) -> Iterator[Anomaly]:
    columns = code_all(rows, spec.features)
    seen = views(known, columns) / np.maximum(limits, 1e-9)
    standard, found = normal_scores(known, columns), cells(known, columns)
    added = pulls(known, standard)
    ids = rows["prediction_id"].to_pylist() if "prediction_id" in rows.column_names else [b""] * rows.num_rows
    times = rows["event_time"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    for at in range(rows.num_rows):
        view = VIEWS[int(np.argmax(seen[at]))]
        if view == "far":
            odd = tuple(_far(known, columns, added[at], at))
        elif view == "pair":
            odd = tuple(_pair(known, columns, found, at))
        else:
            odd = tuple(_rare(known, columns, at))
        yield Anomaly(
            prediction_id=str(UUID(bytes=ids[at])) if ids[at] else "",
            event_time=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=times[at]),
            score=float(seen[at].max()),
            view=view,
            features=odd,
        )


def _far(known: Oddness, columns: Mapping[str, Coded], added: np.ndarray, at: int) -> Iterator[OddFeature]:
    numeric = [scale for scale in known.scales if scale.numeric]
    order = np.argsort(-added)[:NAMED_FEATURES]
    for position in order:
        # What adds little beside the first explains nothing.
        if added[position] >= added[order[0]] / 10:
            yield _odd(numeric[int(position)], columns, at)


def _pair(known: Oddness, columns: Mapping[str, Coded], found: list[np.ndarray], at: int) -> Iterator[OddFeature]:
    of_row = [cell[at : at + 1] for cell in found]
    table = max(known.pairs, key=lambda one: float(pair_surprises(one, of_row)[0]))
    for position, other in ((table.first, table.second), (table.second, table.first)):
        odd = _odd(known.scales[position], columns, at)
        partner = known.scales[other].column
        yield odd.model_copy(update={"usual": f"{odd.usual}, but not with this {partner}"})


def _rare(known: Oddness, columns: Mapping[str, Coded], at: int) -> Iterator[OddFeature]:
    rarest = max(known.scales, key=lambda scale: float(surprises(scale, columns[scale.column])[at]))
    yield _odd(rarest, columns, at)


def _odd(scale: Scale, columns: Mapping[str, Coded], at: int) -> OddFeature:
    column = columns[scale.column]
    value = float(column.values[at])
    missing = np.isnan(value)
    if scale.numeric:
        usual = f"{scale.knots[0]:.6g} to {scale.knots[-1]:.6g}"
    else:
        usual = ", ".join(scale.labels[:NAMED_FEATURES]) or "missing"
    return OddFeature(feature=scale.column, value="missing" if missing else column.name(value), usual=usual)
