"""What a replay is held against: a model that is retrained at fixed moments, whatever its windows show."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from trimtab.backtest.rows import PastRows
from trimtab.backtest.simulate import Progress
from trimtab.backtest.workshop import Deployment, Workshop
from trimtab.decay.answers import unsaid
from trimtab.errors import SourceError, TrainingError
from trimtab.training.windows import least_rows, require_rows, training_span


def retrain_always(
    rows: PastRows,
    windows: Sequence[tuple[datetime, datetime]],
    moments: Sequence[datetime],
    first: Deployment,
    workshop: Workshop,
    progress: Progress,
) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """Scores of a model that is trained anew at each moment, without a gate; how often that was; and what failed.

    Each time by the first trainer on the default window, as a cron job would have it; a training that fails leaves
    what served.
    """
    scores, score, retrainings = unsaid(rows.spec, rows.table.num_rows), first.score, 0
    failed: list[str] = []
    begin, end = windows[0][0], windows[-1][1]
    marks = [begin, *(moment for moment in moments if begin < moment < end), end]
    for number, (since, until) in enumerate(itertools.pairwise(marks)):
        progress(number, len(marks) - 1, f"always retraining, {since:%Y-%m-%d}")
        if number:
            span, least = training_span(rows.spec, since), least_rows(rows.spec, "training")
            table = rows.between(*span)
            try:
                require_rows(rows.spec, table, span, least, ())
                score = workshop.train(rows.spec.trainers[0], table)
                retrainings += 1
            except (SourceError, TrainingError) as error:
                failed.append(f"always retraining failed on {since:%Y-%m-%d}: {error}")
        where = rows.place(since, until)
        if where.stop > where.start:
            scores[where] = score(rows.table.slice(where.start, where.stop - where.start))
    return scores, retrainings, tuple(failed)
