"""What came of a replay, beside never and always retraining, on the very same rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from pydantic import AwareDatetime, Field

from trimtab.backtest.rows import PastRows
from trimtab.backtest.simulate import Replay, Step
from trimtab.decay.performance import measurable
from trimtab.decay.signals.names import BREAKER, OUTCOMES
from trimtab.metrics import compare
from trimtab.records import Ruling, Value, higher_is_better
from trimtab.spec import ModelSpec

POLICY, NEVER, ALWAYS = "policy", "never", "always"


class BacktestWindow(Value):
    """One window: the ruling, what followed from it, and what each way to keep the model achieved on its rows.

    ``metrics`` is the policy metric of the window's own rows by way, with all outcomes known: in hindsight. ``judged``
    is what the ruling saw, of the rows a label maturity before; None where that could not be said.
    """

    ruling: Ruling
    rows: int
    version: str
    outcome: str
    metrics: dict[str, float | None]
    judged: float | None = None


class Way(Value):
    """A way to keep the model, over the whole period: its metrics, and what they took."""

    name: str
    retrainings: int
    releases: int
    rows: int
    metrics: dict[str, float | None]


class Backtest(Value):
    """A replay of [start, end). Stored as JSON; fields are only ever added, with a default.

    ``kept``, by metric, is the share of what always retraining gains over never that the policy gains; None where that
    gains nothing.
    """

    format_version: int = 1
    name: str
    start: AwareDatetime
    end: AwareDatetime
    metric: str
    windows: tuple[BacktestWindow, ...]
    ways: tuple[Way, ...]
    kept: dict[str, float | None] = Field(default_factory=dict)
    policy: dict[str, Any] = Field(default_factory=dict)
    policy_digest: str = ""
    notes: tuple[str, ...] = ()

    def way(self, name: str) -> Way | None:
        """The way of that name, if it was tried."""
        return next((one for one in self.ways if one.name == name), None)

    @property
    def unjudged(self) -> tuple[BacktestWindow, ...]:
        """The windows of too few mature outcomes to say anything of performance."""
        return tuple(
            window
            for window in self.windows
            if any(signal.name == OUTCOMES and signal.breached for signal in window.ruling.signals)
        )

    @property
    def breaker_opened(self) -> BacktestWindow | None:
        """The first window that was ruled on with the breaker open, if any was; nobody closes it in a replay."""
        opened = (
            window
            for window in self.windows
            if any(signal.name == BREAKER and signal.breached for signal in window.ruling.signals)
        )
        return next(opened, None)

    @property
    def actions(self) -> dict[str, int]:
        """How often each action was ruled."""
        return dict(Counter(str(window.ruling.action) for window in self.windows))


def summarise(
    rows: PastRows,
    windows: Sequence[tuple[datetime, datetime]],
    replay: Replay,
    others: Mapping[str, tuple[np.ndarray, int]],
    notes: Sequence[str] = (),
) -> Backtest:
    """Measure every way on every window and on the whole period.

    Parameters
    ----------
    rows, windows, replay
        The history, its windows, and the policy's replay of them.
    others
        Scores of all rows of the history and number of retrainings of the other ways, by name.
    notes
        What a reader should know besides.
    """
    spec, start, end = rows.spec, windows[0][0], windows[-1][1]
    retrained = [step.retrained for step in replay.steps if step.retrained is not None]
    taken = {POLICY: (replay.scores, len(retrained)), **others}
    released = {name: count for name, (_, count) in others.items()}
    released[POLICY] = sum(one.deployment is not None for one in retrained)
    whole = rows.place(start, end)
    ways = tuple(
        Way(
            name=name,
            retrainings=count,
            releases=released[name],
            rows=int(np.sum(~np.isnan(rows.outcomes[whole]))),
            metrics=_metrics(spec, rows.outcomes[whole], scores[whole]),
        )
        for name, (scores, count) in taken.items()
    )
    told = tuple(_window(rows, step, {name: scores for name, (scores, _) in taken.items()}) for step in replay.steps)
    return Backtest(
        name=spec.name,
        start=start,
        end=end,
        metric=spec.policy_metric,
        windows=told,
        ways=ways,
        kept=_kept(ways),
        policy=spec.policy.model_dump(mode="json"),
        policy_digest=spec.policy_digest,
        notes=tuple(notes),
    )


def _window(rows: PastRows, step: Step, scores: Mapping[str, np.ndarray]) -> BacktestWindow:
    spec, ruling = rows.spec, step.ruling
    where = rows.place(ruling.start, ruling.end)
    metrics = {
        name: _metrics(spec, rows.outcomes[where], said[where]).get(spec.policy_metric) for name, said in scores.items()
    }
    judged = next((one.value for one in ruling.signals if one.name == f"performance.{spec.policy_metric}"), None)
    return BacktestWindow(
        ruling=ruling,
        rows=where.stop - where.start,
        version=step.served.release.version,
        outcome=_outcome(step),
        metrics=metrics,
        judged=judged,
    )


def _outcome(step: Step) -> str:
    if step.restored is not None:
        return f"version {step.restored.release.version} serves again"
    if step.retrained is None:
        return ""
    if step.retrained.failed:
        return f"the retraining failed: {step.retrained.failed}"
    made = step.retrained.deployment
    return f"version {made.release.version} serves from here on" if made else "retrained, and the champion is kept"


def _metrics(spec: ModelSpec, outcomes: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """Every metric of the kind on the rows that have an outcome and a score; empty where nothing can be said."""
    said = ~np.isnan(scores) if scores.ndim == 1 else ~np.isnan(scores).any(axis=1)
    known = ~np.isnan(outcomes) & said
    if not measurable(spec, outcomes[known]):
        return {}
    threshold = spec.serving.decision_threshold
    found = compare(spec.target.kind, outcomes[known], {"": scores[known]}, threshold=threshold, resamples=0).scores[""]
    return {name: metric.value if math.isfinite(metric.value) else None for name, metric in found.items()}


def _kept(ways: Sequence[Way]) -> dict[str, float | None]:
    by_name = {way.name: way.metrics for way in ways}
    if ALWAYS not in by_name:
        return {}
    kept: dict[str, float | None] = {}
    for metric in by_name[POLICY]:
        own, never, always = (by_name[name].get(metric) for name in (POLICY, NEVER, ALWAYS))
        if own is None or never is None or always is None:
            kept[metric] = None
            continue
        sign = 1 if higher_is_better(metric) else -1
        gain = sign * (always - never)
        kept[metric] = sign * (own - never) / gain if gain > 0 else None
    return kept
