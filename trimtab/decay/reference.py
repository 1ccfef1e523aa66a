"""What windows are compared with: made once for a candidate, when it wins, and kept beside its artifact.

A folder of files (`FILES`), the profile written last: where it stands, all stands.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.decay.answers import answer_arrays, answer_types, outcome_places
from trimtab.decay.importance import Predict, permutation_importance
from trimtab.decay.odd_views import Oddness
from trimtab.decay.oddness import fit
from trimtab.decay.own_windows import OwnWindows, own_windows
from trimtab.decay.profile import Profile, reference_profile
from trimtab.decay.rows import code_all
from trimtab.decay.soundness import Soundness, soundness
from trimtab.spec import ModelSpec

PROFILE, TRAINING, JUDGED = "profile.json", "training.parquet", "judged.parquet"
OWN_WINDOWS, IMPORTANCE = "own_windows.json", "importance.json"
SOUNDNESS, ODDNESS = "soundness.json", "oddness.json"
FILES = (PROFILE, TRAINING, JUDGED, OWN_WINDOWS, IMPORTANCE, SOUNDNESS, ODDNESS)
TRAINING_ROWS, JUDGED_ROWS = 20_000, 50_000
OUTCOME = "outcome"


@dataclass(frozen=True)
class Reference:
    """The reference of one candidate, in its folder; files are read when they are asked for, once."""

    folder: Path

    @cached_property
    def profile(self) -> Profile:
        """Features of all training rows, and the candidate's scores on all evaluation rows."""
        return Profile.model_validate_json((self.folder / PROFILE).read_text())

    @cached_property
    def training(self) -> pa.Table:
        """The features of `TRAINING_ROWS` training rows at most, drawn at random."""
        return pq.read_table(self.folder / TRAINING)

    @cached_property
    def judged(self) -> pa.Table:
        """`JUDGED_ROWS` evaluation rows at most, drawn at random: the features, what the candidate said (``score``) and
        ``outcome`` (float64; what happened). The candidate was not trained on them."""
        return pq.read_table(self.folder / JUDGED)

    @cached_property
    def own_windows(self) -> OwnWindows:
        """How far the own windows of the training rows, and of what was said of the evaluation rows, are apart."""
        return OwnWindows.model_validate_json((self.folder / OWN_WINDOWS).read_text())

    @cached_property
    def importance(self) -> dict[str, float]:
        """What the candidate owes to each feature, adding up to 1; empty where it is not known."""
        found: dict[str, float] = json.loads((self.folder / IMPORTANCE).read_text())
        return found

    @cached_property
    def soundness(self) -> Soundness:
        """How far the training rows themselves went, in each span of a window's length."""
        return Soundness.model_validate_json((self.folder / SOUNDNESS).read_text())

    @cached_property
    def oddness(self) -> Oddness:
        """What tells a row that is out of the training distribution."""
        return Oddness.model_validate_json((self.folder / ODDNESS).read_text())

    @cached_property
    def estimators(self) -> dict[str, Any]:
        """What was fitted to the judged rows, by spec; kept as long as this value."""
        return {}

    @property
    def columns(self) -> tuple[str, ...]:
        """The features, and what the candidate said: of several classes the columns of those that it knows."""
        return tuple(column.bins.column for column in self.profile.columns)

    @property
    def plotted(self) -> pa.Table:
        """Features of training rows beside the scores of judged ones: a row's do not belong together."""
        rows = min(self.training.num_rows, self.judged.num_rows)
        said = [name for name in self.judged.column_names if name not in (*self.training.column_names, OUTCOME)]
        plotted = self.training.slice(0, rows)
        for name in said:
            plotted = plotted.append_column(name, self.judged[name].slice(0, rows))
        return plotted

    @property
    def is_complete(self) -> bool:
        """Whether all of it was written, in today's form."""
        return all((self.folder / name).is_file() for name in FILES)


def write_reference(
    folder: Path,
    spec: ModelSpec,
    training: pa.Table,
    judged: pa.Table,
    score: np.ndarray,
    predict: Predict | None = None,
) -> Reference:
    """Make the reference in that folder. The same rows give the same files.

    Parameters
    ----------
    folder
        Made if it is not there.
    spec
        The model's spec.
    training, judged
        The rows that the candidate was trained and evaluated on: event time, features and target.
    score
        What the candidate said of ``judged``, of shape (judged rows,); of several classes (judged rows, classes).
    predict
        What the candidate says of rows like ``judged``; without it the features' importance stays unknown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sampled = _sample(training.select(spec.feature_names), TRAINING_ROWS)
    pq.write_table(sampled, folder / TRAINING)
    (folder / SOUNDNESS).write_text(soundness(spec, training).model_dump_json())
    (folder / ODDNESS).write_text(fit(spec.features, code_all(sampled, spec.features)).model_dump_json())
    answers = pa.table(answer_arrays(spec.target.classes, score))
    scored = judged.select(spec.feature_names)
    for name in spec.answer_names:
        scored = scored.append_column(name, answers[name])
    outcome = outcome_places(spec, judged[spec.target.name])
    pq.write_table(_sample(scored.append_column(OUTCOME, outcome), JUDGED_ROWS), folder / JUDGED)
    profile = reference_profile(training, spec.features, answers, answer_types(spec))
    timed = answers
    if spec.event_time in judged.column_names:
        timed = answers.append_column(spec.event_time, judged[spec.event_time])
    (folder / OWN_WINDOWS).write_text(own_windows(spec, training, timed, profile).model_dump_json())
    importance = (
        permutation_importance(predict, spec.target.kind, spec.feature_names, judged, outcome.to_numpy())
        if predict is not None
        else {}
    )
    (folder / IMPORTANCE).write_text(json.dumps(importance))
    unfinished = folder / f"{PROFILE}.tmp"
    unfinished.write_text(profile.model_dump_json())
    unfinished.replace(folder / PROFILE)
    return Reference(folder)


def _sample(table: pa.Table, rows: int) -> pa.Table:
    if table.num_rows <= rows:
        return table
    return table.take(np.sort(np.random.default_rng(0).choice(table.num_rows, rows, replace=False)))
