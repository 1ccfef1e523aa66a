"""What a person would do with a running stack and the synthetic loan model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import httpx
import pandas as pd

from trimtab.ledger import Ledger
from trimtab.models import Model
from trimtab.records import Retraining
from trimtab.serving.client import GatewayClient
from trimtab.settings import Settings

T = TypeVar("T")
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass
class Stack:
    """The services, and what a person would do with them."""

    settings: Settings
    ledger: Ledger
    gateway: GatewayClient
    http: httpx.Client
    model: Model

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.spec.name

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the Prefect server; one that is busy answers 503 and is asked again, as Prefect's own client does."""

        def ask() -> httpx.Response:
            return self.http.request(method, f"{self.settings.prefect_api_url}{path}", json=body)

        answer = until(ask, lambda answer: answer.status_code != 503, f"{method} {path}")
        answer.raise_for_status()
        return answer.json()

    def start(self, flow: str, **parameters: Any) -> dict[str, Any]:
        """Have the worker run the model's deployment of a flow."""
        return self.api("POST", f"/deployments/{self._deployment_id(flow)}/create_flow_run", {"parameters": parameters})

    def wait_for_run(self, run_id: str) -> dict[str, Any]:
        return until(
            lambda: self.api("GET", f"/flow_runs/{run_id}"), lambda run: run["state_type"] in FINAL, f"run {run_id}"
        )

    def succeed(self, flow: str, **parameters: Any) -> dict[str, Any]:
        """Run it to its end, which must be a good one."""
        run = self.wait_for_run(self.start(flow, **parameters)["id"])
        assert run["state_type"] == "COMPLETED", f"{flow}: {run['state']['message']}\n{self.logs(run['id'])}"
        return run

    def logs(self, run_id: str) -> str:
        body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "limit": 200}
        return "\n".join(line["message"] for line in self.api("POST", "/logs/filter", body))

    def runs_of(self, flow: str) -> list[dict[str, Any]]:
        wanted = {"deployment_id": {"any_": [self._deployment_id(flow)]}}
        return self.api("POST", "/flow_runs/filter", {"flow_runs": wanted})

    def _deployment_id(self, flow: str) -> str:
        return str(self.api("GET", f"/deployments/name/{flow}/{self.name}")["id"])

    def traffic(self, start: datetime, end: datetime) -> pd.DataFrame:
        """Send the loans of a span through the gateway, 40 at a time; returns them with their prediction ids."""
        loans = self.model.function("data:load")(start, end, end + pd.Timedelta(days=1))
        ids: list[str] = []
        for first in range(0, len(loans), 40):
            ids += self.predict(loans.iloc[first : first + 40])["prediction_id"]
        return loans.assign(prediction_id=ids)

    def predict(self, loans: pd.DataFrame) -> dict[str, Any]:
        columns = {name: loans[name].tolist() for name in self.model.spec.feature_names}
        return self.gateway.infer(self.name, columns, [time.to_pydatetime() for time in loans["event_time"]])

    def settle(self, loans: pd.DataFrame) -> None:
        """Post what became of these loans, two hours after each."""
        known = loans["event_time"] + pd.Timedelta(hours=2)
        self.gateway.outcomes(
            self.name,
            [
                {"prediction_id": prediction_id, "value": float(value), "observed_at": time.isoformat()}
                for prediction_id, value, time in zip(loans["prediction_id"], loans["repaid"], known, strict=True)
            ],
        )

    def retrainings(self) -> list[Retraining]:
        return self.ledger.records(Retraining, self.name)

    def champion_alias(self) -> str:
        answer = self.http.get(
            f"{self.settings.mlflow_url}/api/2.0/mlflow/registered-models/alias",
            params={"name": self.name, "alias": "champion"},
        )
        answer.raise_for_status()
        return answer.json()["model_version"]["version"]


def until(look: Callable[[], T], good: Callable[[T], bool], what: str, within_s: float = 300) -> T:
    """Look until it is good; fail with what was seen last."""
    deadline = time.monotonic() + within_s
    while not good(seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s; last seen: {seen}"
        time.sleep(0.5)
    return seen
