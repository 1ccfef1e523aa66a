"""A small world to watch: the synthetic loan model released once, its traffic logged, its outcomes known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.loan_artifact import make_artifact, records_of
from trimtab.ledger import Ledger
from trimtab.metrics import compare
from trimtab.models import Model, load_model
from trimtab.predictions import Outcome, Outcomes, PredictionLog, log_schema, new_prediction_ids
from trimtab.predictions.schema import id_text
from trimtab.records import Image, Release, Snapshot, content_id
from trimtab.scoring.model import Artifact
from trimtab.settings import Settings
from trimtab.training.snapshots import conform, feature_columns, write_table

ROOT = Path(__file__).parents[2]
RELEASED = datetime(2024, 2, 20, tzinfo=UTC)
OTHERS_WARNINGS = [
    pytest.mark.filterwarnings(f"ignore::{category}")
    for category in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
]
"""Marks of what watches: what Evidently, Great Expectations, Prefect and Dask import warns of its own future."""


def environment(home: Path) -> dict[str, str]:
    """Variables of a world in that folder."""
    return {
        "TRIMTAB_HOME": str(home),
        "TRIMTAB_MODELS_DIR": str(ROOT / "tests" / "models"),
        "TRIMTAB_SUITES_DIR": str(ROOT / "tests" / "expectations"),
    }


@dataclass
class World:
    """Settings, ledger and log of the loan model, and what serves."""

    settings: Settings
    model: Model
    ledger: Ledger
    log: PredictionLog
    releases: list[Release]

    @property
    def release(self) -> Release:
        """What serves."""
        return self.releases[-1]

    def rows(self, start: datetime, end: datetime) -> pa.Table:
        """Loans of that span, as a snapshot has them."""
        load = self.model.function(self.model.spec.source)
        return conform(self.model.spec, load(start, end, end + timedelta(days=1)), start, end, 1)

    def traffic(
        self,
        start: datetime,
        end: datetime,
        outcomes: bool = True,
        changes: Mapping[str, Callable[[Any], Any]] | None = None,
        answer: Callable[[np.ndarray], np.ndarray] = np.asarray,
        came: Callable[[np.ndarray], np.ndarray] = np.asarray,
    ) -> list[str]:
        """Log the span's loans as answered by what serves, with their outcomes; returns the prediction ids.

        ``changes`` are made to the features, by name, ``answer`` to the scores, and ``came`` to the outcomes.
        """
        rows = self.rows(start, end)
        target = came(np.array(rows["repaid"].to_pylist(), float)).tolist()
        for name, change in (changes or {}).items():
            at = rows.column_names.index(name)
            values = [change(value) for value in rows[name].to_pylist()]
            rows = rows.set_column(at, name, pa.array(values, rows.schema.field(name).type))
        ids = new_prediction_ids(rows.num_rows)
        self.log.append(self._batch(rows, ids, answer))
        known = [id_text(key) for key in ids]
        if outcomes:
            times = rows["event_time"].to_pylist()
            Outcomes(self.log.folder).add(
                [
                    Outcome(key, float(value), time + timedelta(hours=2))
                    for key, value, time in zip(known, target, times, strict=True)
                ]
            )
        return known

    def _batch(self, rows: pa.Table, ids: list[bytes], answer: Callable[[np.ndarray], np.ndarray]) -> pa.RecordBatch:
        spec = self.model.spec
        artifact = Artifact.load(self.settings.artifacts_dir / self.release.artifact_digest)
        count = rows.num_rows
        columns = {
            "prediction_id": ids,
            "request_id": [""] * count,
            "version": [self.release.version] * count,
            "release_id": [self.release.id] * count,
            "event_time": rows["event_time"].to_pylist(),
            "logged_at": rows["event_time"].to_pylist(),
            "caller": [""] * count,
            **feature_columns(spec, rows),
            "score": answer(artifact.predict(artifact.encode(feature_columns(spec, rows)))),
        }
        schema = log_schema((feature.name, feature.type) for feature in spec.features)
        arrays = [pa.array(columns[field.name], field.type) for field in schema]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def release_artifact(self, digest: str, since: datetime, trigger: str = "manual") -> Release:
        """State the whole chain of records of a release of that artifact."""
        number = len(self.releases) + 1
        chain, version, candidate, cause = records_of(digest, number, trigger)
        training = self._snapshot("training", since - timedelta(days=17), since - timedelta(days=3))
        judged = self._snapshot("evaluation", since - timedelta(days=3), since)
        artifact = Artifact.load(self.settings.artifacts_dir / digest)
        rows = self.rows(judged.start, judged.end)
        scores = artifact.predict(artifact.encode(feature_columns(self.model.spec, rows)))
        found = compare("binary", np.array(rows["repaid"].to_pylist(), float), {candidate.id: scores})
        candidate = candidate.model_copy(update={"snapshot_id": training.id})
        for record in (training, judged, *chain):
            if record.kind == "candidate":
                record = candidate
            if record.kind == "evaluation":
                record = record.model_copy(update={"snapshot_id": judged.id, "scores": found.scores})
            self.ledger.append(record)
        image = Image(
            id=content_id("image", number),
            model="loan",
            version_id=version.id,
            runtime="process",
            digest="0",
            reference="",
            base="",
            environment_digest="0",
            artifact_digest=digest,
            size_bytes=0,
        )
        release = Release(
            id=content_id("release", number),
            model="loan",
            version=str(number),
            version_id=version.id,
            candidate_id=candidate.id,
            image_id=image.id,
            artifact_digest=digest,
            runtime="process",
            endpoint="",
            cause_id=cause.id,
            since=since,
            previous_id=self.releases[-1].id if self.releases else None,
        )
        self.ledger.append(image)
        self.ledger.append(release)
        self.releases.append(release)
        return release

    def _snapshot(self, purpose: Any, start: datetime, end: datetime) -> Snapshot:
        rows = self.rows(start, end)
        digest, path = write_table(rows, self.settings.snapshots_dir)
        return Snapshot(
            id=content_id("snapshot", "loan", digest, start, end, end, purpose),
            model="loan",
            digest=digest,
            uri=str(path),
            rows=rows.num_rows,
            start=start,
            end=end,
            as_of=end,
            purpose=purpose,
            columns={},
            source="data:load",
        )


def make_world(home: Path, released: bool = True) -> World:
    """A world in an empty folder; its first release serves from `RELEASED` on."""
    settings = Settings.from_env(environment(home))
    world = World(
        settings,
        load_model(settings.models_dir, "loan"),
        Ledger(settings.ledger),
        PredictionLog(settings.predictions_dir / "loan"),
        [],
    )
    if released:
        world.release_artifact(make_artifact(settings.artifacts_dir), RELEASED)
    return world
