"""This gateway as it is run: durable log, checked requests, a scorer in its own process, a home of its own."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.peers import forms
from benchmarks.peers.environments import PeerError
from benchmarks.peers.forms import Form
from benchmarks.peers.processes import Server, free_port
from benchmarks.peers.subject import Subject, feature_names
from trimtab import __version__
from trimtab.errors import RequestError, ServiceUnavailableError
from trimtab.predictions.log import PredictionLog
from trimtab.predictions.schema import ID, TIME, log_schema, new_prediction_ids
from trimtab.serving.client import GatewayClient
from trimtab.serving.routes import Route, RouteFeature
from trimtab.settings import Settings
from trimtab.spec import Feature, ModelSpec, Target, Trainer
from trimtab.training.artifacts import Built, build_artifact

MODEL = "bench"
_INFER = f"/v2/models/{MODEL}/infer"
FORMS = (
    forms.v2_matrix(_INFER),
    forms.v2_columns(_INFER),
    forms.v2_binary(_INFER),
    forms.data_frame(f"/models/{MODEL}/invocations"),
)
_START_TIMEOUT_S = 60


@dataclass
class Ours:
    """Gateway and scorer, with the interface of `benchmarks.peers.catalog.Peer`."""

    name: str = "trimtab"
    version: str = __version__
    setup: str = "gateway with durable log, scorer in its own process"
    forms: tuple[Form, ...] = FORMS
    built: Built | None = None
    settings: Settings | None = None

    def prepare(self, subject: Subject, scratch: Path) -> None:
        """Make the artifact as a retraining would: the compiled form if it predicts what the estimator predicts."""
        count = len(subject.training)
        times = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * count, type=pa.timestamp("us", tz="UTC"))
        columns = {name: subject.training[:, at] for at, name in enumerate(feature_names())}
        table = pa.table({"event_time": times, **columns, "target": pa.array(subject.target, type=pa.int64())})
        self.built = build_artifact(_spec(), subject.estimator, table, scratch / "artifacts")
        self.setup = f"gateway with durable log, scorer ({self.built.format}) in its own process"

    def start(self, subject: Subject, scratch: Path, server: Server) -> str:
        """Start gateway and scorer together, and route one to the other; returns the address after that."""
        assert self.built is not None, "prepare comes before start"
        home = Path(tempfile.mkdtemp(dir=scratch, prefix="home-"))
        ready, url = home / "scorer.json", f"http://127.0.0.1:{free_port()}"
        self.settings = Settings.from_env({"TRIMTAB_HOME": str(home), "TRIMTAB_GATEWAY_URL": url})
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")}
        environment = {**kept, **self.settings.as_env()}
        scorer = ["--artifact", str(self.built.folder), "--expected-digest", self.built.digest, "--version", "1"]
        scorer += ["--port", "0", "--ready-file", str(ready)]
        server.start([sys.executable, "-m", "trimtab.scoring", *scorer], environment, home)
        server.start([sys.executable, "-m", "trimtab.serving"], environment, home)
        self._route(self.settings, ready, server)
        return url

    def logged_ids(self) -> pa.ChunkedArray:
        """Ids of all rows in the prediction log of the gateway that was started last."""
        assert self.settings is not None, "start comes first"
        log = PredictionLog(self.settings.predictions_dir / MODEL, self.settings)
        now = datetime.now(UTC)
        try:
            table = log.read(now - timedelta(days=1), now + timedelta(days=1), ["prediction_id"])
        finally:
            log.close()
        return table["prediction_id"]

    def _route(self, settings: Settings, ready: Path, server: Server) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        last: object = "the scorer is not ready"
        with GatewayClient(settings) as client:
            while time.monotonic() < deadline:
                server.check_alive()
                if ready.exists():
                    try:
                        client.switch(self._route_to(json.loads(ready.read_text())["url"]))
                    except (ServiceUnavailableError, RequestError, OSError) as error:
                        last = error
                    else:
                        return
                time.sleep(0.01)
        raise PeerError(f"the gateway took no route within {_START_TIMEOUT_S} s: {last}; {server.log_tail()}")

    def _route_to(self, url: str) -> Route:
        features = tuple(RouteFeature(name, "number") for name in feature_names())
        return Route(MODEL, "1", "release-bench", url, self.built.digest, "binary", features)


def record_batch(rows: np.ndarray) -> pa.RecordBatch:
    """Rows as the gateway logs them, with new ids."""
    count, now = len(rows), time.time_ns() // 1000
    names = feature_names()
    times = pa.array([now] * count, type=TIME)
    columns = [
        pa.array(new_prediction_ids(count), type=ID),
        pa.nulls(count, pa.string()),
        pa.array(["1"] * count),
        pa.array(["release-bench"] * count),
        times,
        times,
        pa.nulls(count, pa.string()),
        *(pa.array(rows[:, at]) for at in range(len(names))),
        pa.array(rows[:, 0]),
    ]
    schema = log_schema([(name, "number") for name in names])
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _spec() -> ModelSpec:
    return ModelSpec(
        name=MODEL,
        source="data:load",
        target=Target(name="target"),
        features=tuple(Feature(name=name, type="number") for name in feature_names()),
        suite=MODEL,
        trainers=(Trainer(name="boosting", function="training:boosting"),),
    )
