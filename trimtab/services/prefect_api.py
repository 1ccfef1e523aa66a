"""What the supervisor asks of the Prefect server, over its REST API."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx

from trimtab.serving.tls import public_tls
from trimtab.settings import Settings


def is_local(url: str) -> bool:
    """Whether the address is this machine's own, so that the service is ours to start."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def worker_is_online(settings: Settings, worker: str) -> bool:
    """Whether Prefect has seen the worker of that name in the work pool."""
    address = f"{settings.prefect_api_url}/work_pools/{settings.work_pool}/workers/filter"
    try:
        found = httpx.post(address, json={}, timeout=3, trust_env=False, verify=public_tls())
    except httpx.HTTPError:
        return False
    return found.is_success and any(each["name"] == worker and each["status"] == "ONLINE" for each in found.json())


def close_interrupted_runs(settings: Settings, say: Callable[[str], None]) -> None:
    """Mark as crashed the runs that a stopped stack left half-way, so that they hold no concurrency slot.

    Only on a server of this machine, and only before its worker starts: then nothing of the work pool can be running.
    """
    if not is_local(settings.prefect_url):
        return
    unfinished = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    wanted = {"flow_runs": unfinished, "work_pools": {"name": {"any_": [settings.work_pool]}}}
    state = {"type": "CRASHED", "message": "the stack was stopped while this ran; run it again"}
    with httpx.Client(base_url=settings.prefect_api_url, timeout=30, trust_env=False) as api:
        for run in api.post("/flow_runs/filter", json=wanted).raise_for_status().json():
            api.post(f"/flow_runs/{run['id']}/set_state", json={"state": state, "force": True}).raise_for_status()
            say(f"flow run {run['name']} was cut off when the stack stopped: marked as crashed")
