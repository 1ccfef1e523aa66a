"""The rows of a history, in memory, in the order of their event time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.decay.answers import answer_arrays, outcome_places
from trimtab.decay.reference import OUTCOME
from trimtab.spec import ModelSpec

EVENT_TIME, RELEASE_ID = "event_time", "release_id"


@dataclass(frozen=True)
class PastRows:
    """Rows as a snapshot has them, sorted by event time; the target may be null where it never became known.

    With a column ``score`` (of several classes one each), what a deployed model said of them, and with ``release_id``
    which release that was. An outcome counts as known a label maturity after its event time, as `watch` has it.
    """

    spec: ModelSpec
    table: pa.Table

    @cached_property
    def times(self) -> np.ndarray:
        """Event times, datetime64[us] of shape (rows,)."""
        return np.asarray(self.table[self.spec.event_time].to_numpy().astype("datetime64[us]"))

    @cached_property
    def outcomes(self) -> np.ndarray:
        """What happened, float64 of shape (rows,), of several classes its place; NaN where it is not known."""
        return np.asarray(outcome_places(self.spec, self.table[self.spec.target.name]).to_numpy(), dtype=np.float64)

    @property
    def beginning(self) -> datetime:
        """The first event time."""
        first: datetime = self.times[0].astype(object)
        return first.replace(tzinfo=UTC)

    @property
    def last(self) -> datetime:
        """The last event time."""
        last: datetime = self.times[-1].astype(object)
        return last.replace(tzinfo=UTC)

    def place(self, start: datetime, end: datetime) -> slice:
        """Where the rows of [start, end) are."""
        low, high = np.searchsorted(self.times, [_instant(start), _instant(end)], side="left")
        return slice(int(low), int(max(low, high)))

    def between(self, start: datetime, end: datetime) -> pa.Table:
        """The rows of [start, end) whose target is known, as a snapshot has them."""
        rows = self._slice(self.place(start, end))
        return rows.filter(pc.is_valid(rows[self.spec.target.name]))

    def logged(self, where: slice, scores: np.ndarray) -> pa.Table:
        """Rows as the prediction log has them: ``event_time``, the features, the answer, ``outcome``, and
        ``release_id`` if the history has it.

        Parameters
        ----------
        where
            Of the rows (`place`).
        scores
            What was said of all rows, of shape (rows of the history,) or (rows of the history, classes).
        """
        rows = self._slice(where)
        named = [*self.spec.feature_names, *([RELEASE_ID] if RELEASE_ID in rows.column_names else [])]
        columns = {EVENT_TIME: rows[self.spec.event_time]} | {name: rows[name] for name in named}
        outcomes = pa.array(self.outcomes[where], from_pandas=True)
        return pa.table({**columns, **answer_arrays(self.spec.target.classes, scores[where]), OUTCOME: outcomes})

    def _slice(self, where: slice) -> pa.Table:
        return self.table.slice(where.start, where.stop - where.start)


def _instant(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
