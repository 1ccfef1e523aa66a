"""Following the run that an automation starts for a ruling, from the ruling to what came of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import httpx

from demo.errors import DemoError
from trimtab.records import Action, Ruling
from trimtab.settings import Settings

_POLL_S = 0.5
_APPEAR_WITHIN_S = 90.0
_END_WITHIN_S = 600.0
FLOWS = {Action.RETRAIN: "retrain", Action.ROLLBACK: "rollback"}


@dataclass(frozen=True, slots=True)
class Chased:
    """A run that a ruling started: seconds from the ruling to the run, and to its end; who made the run."""

    ruling: Ruling
    run_id: str
    name: str
    appeared_s: float
    ended_s: float
    created_by: str


async def chase(settings: Settings, ruling: Ruling) -> Chased:
    """Wait for the run of this ruling, and for its end.

    Raises
    ------
    DemoError
        If no run appears, it fails, or it does not end; the message ends with the run's own words.
    """
    began = time.monotonic()
    deployment = f"{FLOWS[ruling.action]}/{ruling.model}"
    appeared_s = None
    async with httpx.AsyncClient(base_url=settings.prefect_api_url, timeout=30, trust_env=False) as api:
        found = (await api.get(f"/deployments/name/{deployment}")).raise_for_status().json()
        query = {"flow_runs": {"deployment_id": {"any_": [found["id"]]}}, "sort": "EXPECTED_START_TIME_DESC"}
        while True:
            runs = (await api.post("/flow_runs/filter", json=query)).raise_for_status().json()
            run = next((one for one in runs if _cause(one) == ruling.id), None)
            waited = time.monotonic() - began
            if run is not None:
                appeared_s = waited if appeared_s is None else appeared_s
                if run["state_type"] == "COMPLETED":
                    created_by = (run["created_by"] or {}).get("type") or "unknown"
                    return Chased(ruling, run["id"], run["name"], appeared_s, waited, created_by.lower())
                if run["state_type"] in ("FAILED", "CRASHED", "CANCELLED"):
                    raise DemoError(await _told(settings, api, deployment, run))
            elif waited > _APPEAR_WITHIN_S:
                raise DemoError(
                    f"{ruling.id} asked for {ruling.action} {waited:.0f} s ago, and no run of {deployment} has it as "
                    f"its cause: did its automation fire? See {settings.prefect_url}/automations"
                )
            if waited > _END_WITHIN_S:
                raise DemoError(f"run {run and run['name']} of {deployment} did not end within {waited:.0f} s")
            await asyncio.sleep(_POLL_S)


def _cause(run: dict[str, Any]) -> str:
    return str((run["parameters"].get("cause") or {}).get("ruling_id", ""))


async def _told(settings: Settings, api: httpx.AsyncClient, deployment: str, run: dict[str, Any]) -> str:
    query = {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "sort": "TIMESTAMP_DESC", "limit": 15}
    logs = (await api.post("/logs/filter", json=query)).raise_for_status().json()
    lines = "\n".join(str(line["message"])[-800:] for line in reversed(logs))
    return (
        f"run {run['name']} of {deployment} ended as {run['state_name']}: {(run['state'] or {}).get('message')}\n"
        f"{lines}\nsee {settings.flow_run_url(run['id'])}"
    )
